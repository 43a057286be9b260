//! The two headers of the flattened format: `struct makedumpfile_header` and
//! `struct makedumpfile_data_header`.
//!
//! Source: makedumpfile `IMPLEMENTATION`, "The flattened format". Both headers are big-endian for
//! every guest; the data has the guest's byte order.
//!
//! Readers: crash, drgn and makedumpfile, some of them by `makedumpfile -R`; see docs/readers.md.
#![forbid(unsafe_code)]

use std::mem::{offset_of, size_of};

use zerocopy::byteorder::big_endian::I64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::abi::{FieldOverflow, Narrow};

/// `signature` of the file header.
pub const SIGNATURE: [u8; 16] = *b"makedumpfile\0\0\0\0";
/// `type` of the file header.
pub const TYPE_FLAT_HEADER: i64 = 1;
/// `version` of the file header.
pub const VERSION_FLAT_HEADER: i64 = 1;
/// Offset and length of the end record.
pub const END_FLAG_FLAT_HEADER: i64 = -1;

/// `struct makedumpfile_header`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawFileHeader {
    signature: [u8; 16],
    kind: I64,
    version: I64,
}

/// `struct makedumpfile_data_header`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawRecordHeader {
    offset: I64,
    buf_size: I64,
}

// 16 + 2 × 8; 2 × 8.
const _: () = assert!(offset_of!(RawFileHeader, kind) == 16);
const _: () = assert!(offset_of!(RawFileHeader, version) == 24);
const _: () = assert!(size_of::<RawFileHeader>() == FileHeader::FIELDS);
const _: () = assert!(offset_of!(RawRecordHeader, buf_size) == 8);
const _: () = assert!(size_of::<RawRecordHeader>() == RecordHeader::SIZE);

/// The file header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileHeader {
    /// `type`.
    pub kind: i64,
    /// `version`.
    pub version: i64,
}

impl FileHeader {
    /// The length of the header in bytes. Zeroes follow its fields.
    pub const SIZE: usize = 4096;

    /// The length of the fields in bytes, which is all that [`decode`](Self::decode) needs.
    pub const FIELDS: usize = 32;

    /// The header of the one type and version that exists.
    pub const CURRENT: Self = Self {
        kind: TYPE_FLAT_HEADER,
        version: VERSION_FLAT_HEADER,
    };

    /// Appends the header's bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let header = RawFileHeader {
            signature: SIGNATURE,
            kind: self.kind.into(),
            version: self.version.into(),
        };
        out.extend_from_slice(header.as_bytes());
        out.resize(out.len() + (Self::SIZE - Self::FIELDS), 0);
    }

    /// Decodes the header at the beginning of `bytes`. `None` if the signature is another or the
    /// bytes are fewer than [`FIELDS`](Self::FIELDS).
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (header, _) = RawFileHeader::read_from_prefix(bytes).ok()?;
        (header.signature == SIGNATURE).then(|| Self {
            kind: header.kind.get(),
            version: header.version.get(),
        })
    }
}

/// The header of a record, which its data follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// The offset of the data in the raw file, in bytes.
    pub offset: i64,
    /// The length of the data in bytes.
    pub len: i64,
}

/// A record header that no writer writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a record of the flattened format has offset {} and length {}", .0.offset, .0.len)]
pub struct BadRecord(pub RecordHeader);

impl RecordHeader {
    /// The length of the header in bytes.
    pub const SIZE: usize = 16;

    /// The header of the end record, which has no data.
    pub const END: Self = Self {
        offset: END_FLAG_FLAT_HEADER,
        len: END_FLAG_FLAT_HEADER,
    };

    /// The header of the record with `len` bytes of data at `offset`. Readers take a record without
    /// data for damage.
    ///
    /// # Errors
    ///
    /// [`FieldOverflow`] if the data ends past 63 bits.
    pub fn new(offset: u64, len: u64) -> Result<Self, FieldOverflow> {
        let narrow = Narrow("makedumpfile_data_header");
        let header = Self {
            offset: narrow.i64("offset", offset)?,
            len: narrow.i64("buf_size", len)?,
        };
        narrow.i64("offset", offset.saturating_add(len))?;
        Ok(header)
    }

    /// Appends the header's bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_bytes());
    }

    /// The header's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        zerocopy::transmute!(RawRecordHeader {
            offset: self.offset.into(),
            buf_size: self.len.into(),
        })
    }

    /// Decodes the header at the beginning of `bytes`; `None` if they are too few.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (raw, _) = RawRecordHeader::read_from_prefix(bytes).ok()?;
        Some(Self {
            offset: raw.offset.get(),
            len: raw.buf_size.get(),
        })
    }

    /// Offset and length of the record's data; `None` for the end record.
    ///
    /// # Errors
    ///
    /// [`BadRecord`] if there is no data, or it does not end at a possible file offset.
    pub fn data(&self) -> Result<Option<(u64, u64)>, BadRecord> {
        if *self == Self::END {
            return Ok(None);
        }
        let (offset, len) = (u64::try_from(self.offset), u64::try_from(self.len));
        match (offset, len) {
            (Ok(offset), Ok(len @ 1..)) if self.offset.checked_add(self.len).is_some() => {
                Ok(Some((offset, len)))
            }
            _ => Err(BadRecord(*self)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn encoded_file_header_has_big_endian_fields_and_zeroes() {
        let mut bytes = Vec::new();
        FileHeader::CURRENT.encode(&mut bytes);
        assert_eq!(bytes.len(), 4096);
        assert_eq!(&bytes[..16], b"makedumpfile\0\0\0\0");
        assert_eq!(
            bytes[16..32],
            [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]
        );
        assert!(bytes[32..].iter().all(|b| *b == 0));
        assert_eq!(FileHeader::decode(&bytes), Some(FileHeader::CURRENT));
        assert_eq!(FileHeader::decode(&bytes[..31]), None);
        assert_eq!(FileHeader::decode(b"KDUMP   "), None);
    }

    #[test]
    fn encoded_record_header_has_big_endian_fields() {
        let header = RecordHeader {
            offset: 0x0102,
            len: 0x03,
        };
        let bytes = [0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 3];
        assert_eq!(header.to_bytes(), bytes);
        assert_eq!(RecordHeader::new(0x0102, 3), Ok(header));
        assert_eq!(RecordHeader::END.to_bytes(), [0xff; 16]);
        assert_eq!(RecordHeader::END.data(), Ok(None));
    }

    #[test]
    fn data_that_ends_past_63_bits_is_refused() {
        let last = i64::MAX as u64;
        assert!(RecordHeader::new(last - 1, 1).is_ok());
        for (offset, len) in [
            (last + 1, 0),
            (last, 1),
            (0, last + 1),
            (u64::MAX, u64::MAX),
        ] {
            assert!(RecordHeader::new(offset, len).is_err(), "{offset} {len}");
        }
        for (offset, len) in [(-2, 5), (-1, 5), (5, 0), (5, -1), (i64::MAX, 5)] {
            let header = RecordHeader { offset, len };
            assert_eq!(header.data(), Err(BadRecord(header)));
        }
    }

    proptest! {
        #[test]
        fn decoding_what_was_encoded_gives_the_headers(a in any::<i64>(), b in any::<i64>()) {
            let mut bytes = Vec::new();
            let header = FileHeader { kind: a, version: b };
            header.encode(&mut bytes);
            prop_assert_eq!(bytes.len(), FileHeader::SIZE);
            prop_assert_eq!(FileHeader::decode(&bytes), Some(header));
            bytes.clear();
            let header = RecordHeader { offset: a, len: b };
            header.encode(&mut bytes);
            prop_assert_eq!(bytes.len(), RecordHeader::SIZE);
            prop_assert_eq!(RecordHeader::decode(&bytes), Some(header));
            prop_assert_eq!(RecordHeader::decode(&bytes[1..]), None);
        }
    }
}

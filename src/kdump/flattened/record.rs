//! The bytes of the flattened format: a header of 4096 bytes, then records
//! of offset, length and data, then an end record.
//!
//! Source: makedumpfile `IMPLEMENTATION`, "The flattened format". Both
//! headers are big-endian for every guest; the data has the guest's order.
#![forbid(unsafe_code)]

use std::mem::{offset_of, size_of};

use zerocopy::byteorder::big_endian::I64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `signature` of the file header.
pub const SIGNATURE: [u8; 16] = *b"makedumpfile\0\0\0\0";
/// `type` of the file header.
pub const TYPE_FLAT_HEADER: i64 = 1;
/// `version` of the file header.
pub const VERSION_FLAT_HEADER: i64 = 1;
/// Offset and length of the end record.
pub const END_FLAG_FLAT_HEADER: i64 = -1;
/// Bytes that the file header takes, zeroes behind its fields.
pub const FILE_HEADER_SIZE: usize = 4096;

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
const _: () = assert!(size_of::<RawFileHeader>() == 32);
const _: () = assert!(offset_of!(RawRecordHeader, buf_size) == 8);
const _: () = assert!(size_of::<RawRecordHeader>() == RecordHeader::SIZE);

/// The file header's bytes, zeroes up to 4096 included.
#[must_use]
pub fn encode_file_header() -> Vec<u8> {
    let header = RawFileHeader {
        signature: SIGNATURE,
        kind: TYPE_FLAT_HEADER.into(),
        version: VERSION_FLAT_HEADER.into(),
    };
    let mut bytes = header.as_bytes().to_vec();
    bytes.resize(FILE_HEADER_SIZE, 0);
    bytes
}

/// What the beginning of a file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileHeader {
    /// Not a flattened file, or too short to tell.
    Other,
    /// A flattened file of the one type and version there is.
    Flattened,
    /// A flattened file of a type or version that is not known.
    Unknown {
        /// Its `type`.
        kind: i64,
        /// Its `version`.
        version: i64,
    },
}

impl FileHeader {
    /// Decodes the header at the beginning of `bytes`.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        let Ok((header, _)) = RawFileHeader::read_from_prefix(bytes) else {
            return Self::Other;
        };
        let (kind, version) = (header.kind.get(), header.version.get());
        if header.signature != SIGNATURE {
            Self::Other
        } else if (kind, version) == (TYPE_FLAT_HEADER, VERSION_FLAT_HEADER) {
            Self::Flattened
        } else {
            Self::Unknown { kind, version }
        }
    }
}

/// What stands before each piece of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// Offset of the data in the raw file, in bytes.
    pub offset: i64,
    /// Length of the data in bytes.
    pub len: i64,
}

impl RecordHeader {
    /// Size of the header in bytes.
    pub const SIZE: usize = 16;

    /// The record behind the last one.
    pub const END: Self = Self {
        offset: END_FLAG_FLAT_HEADER,
        len: END_FLAG_FLAT_HEADER,
    };

    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::SIZE] {
        zerocopy::transmute!(RawRecordHeader {
            offset: self.offset.into(),
            buf_size: self.len.into(),
        })
    }

    /// Offset and length, if they are those of a record with data that ends
    /// at a possible file offset.
    #[must_use]
    pub fn checked(&self) -> Option<(u64, u64)> {
        let (offset, len) = (
            u64::try_from(self.offset).ok()?,
            u64::try_from(self.len).ok()?,
        );
        self.offset.checked_add(self.len)?;
        (len > 0).then_some((offset, len))
    }

    pub(crate) fn complaint(&self) -> String {
        format!(
            "a record of the flattened format has offset {} and length {}",
            self.offset, self.len
        )
    }

    /// Decodes a header.
    #[must_use]
    pub fn decode(bytes: [u8; Self::SIZE]) -> Self {
        let raw: RawRecordHeader = zerocopy::transmute!(bytes);
        Self {
            offset: raw.offset.get(),
            len: raw.buf_size.get(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_header_bytes() {
        let bytes = encode_file_header();
        assert_eq!(bytes.len(), 4096);
        assert_eq!(&bytes[..16], b"makedumpfile\0\0\0\0");
        assert_eq!(
            bytes[16..32],
            [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]
        );
        assert!(bytes[32..].iter().all(|b| *b == 0));
        assert_eq!(FileHeader::decode(&bytes), FileHeader::Flattened);
        assert_eq!(FileHeader::decode(&bytes[..31]), FileHeader::Other);
        assert_eq!(FileHeader::decode(b"KDUMP   "), FileHeader::Other);
        let mut newer = bytes;
        newer[31] = 2;
        assert_eq!(
            FileHeader::decode(&newer),
            FileHeader::Unknown {
                kind: 1,
                version: 2
            }
        );
    }

    #[test]
    fn record_header_bytes() {
        let header = RecordHeader {
            offset: 0x0102,
            len: 0x03,
        };
        let bytes = [0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 3];
        assert_eq!(header.encode(), bytes);
        assert_eq!(RecordHeader::decode(bytes), header);
        assert_eq!(RecordHeader::END.encode(), [0xff; 16]);
    }
}

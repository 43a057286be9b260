//! The header of a page bitmap, which follows the dump's header. The bitmap follows it: one bit for each
//! page frame, lowest bit of a byte first.
//!
//! Sources: kdmp-parser `structs.rs` (MIT), `BmpHeader64`, whose names are used here; volatility3 calls it
//! `_SUMMARY_DUMP`, and reads it in dumps of both word sizes.
//!
//! Readers: WinDbg, volatility3, LeechCore; see docs/readers.md.
#![forbid(unsafe_code)]

use std::mem::{offset_of, size_of};

use zerocopy::byteorder::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::windmp::VALID_DUMP_32;

/// `Signature` of a bitmap with all of the guest's memory.
pub const FULL_BITMAP: [u8; 4] = *b"FDMP";
/// `Signature` of a bitmap with the kernel's memory.
pub const KERNEL_BITMAP: [u8; 4] = *b"SDMP";

/// `BmpHeader64`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawBitmapHeader {
    signature: [u8; 4],
    valid_dump: [u8; 4],
    reserved: [u8; 24],
    first_page: U64,
    total_present_pages: U64,
    pages: U64,
}

const _: () = assert!(offset_of!(RawBitmapHeader, valid_dump) == 4);
const _: () = assert!(offset_of!(RawBitmapHeader, first_page) == 0x20);
const _: () = assert!(offset_of!(RawBitmapHeader, total_present_pages) == 0x28);
const _: () = assert!(offset_of!(RawBitmapHeader, pages) == 0x30);
const _: () = assert!(size_of::<RawBitmapHeader>() == BitmapHeader::SIZE);

/// The header of a page bitmap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BitmapHeader {
    /// [`FULL_BITMAP`] or [`KERNEL_BITMAP`].
    pub signature: [u8; 4],
    /// The offset of the first page in the dump, in bytes.
    pub first_page: u64,
    /// The number of bits that are set, which is that of pages in the dump.
    pub total_present_pages: u64,
    /// The number of bits in the bitmap.
    pub pages: u64,
}

impl BitmapHeader {
    /// The length of the header in bytes.
    pub const SIZE: usize = 0x38;

    /// Appends the header's bytes to `out`. `ValidDump` is [`VALID_DUMP_32`] in 64-bit dumps as well.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let raw = RawBitmapHeader {
            signature: self.signature,
            valid_dump: VALID_DUMP_32,
            reserved: [0; 24],
            first_page: self.first_page.into(),
            total_present_pages: self.total_present_pages.into(),
            pages: self.pages.into(),
        };
        out.extend_from_slice(raw.as_bytes());
    }

    /// Decodes the header at the beginning of `bytes`. `None` if they are too few, or `Signature` and
    /// `ValidDump` are not those of a bitmap.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (raw, _) = RawBitmapHeader::read_from_prefix(bytes).ok()?;
        let known = [FULL_BITMAP, KERNEL_BITMAP].contains(&raw.signature);
        (known && raw.valid_dump == VALID_DUMP_32).then(|| Self {
            signature: raw.signature,
            first_page: raw.first_page.get(),
            total_present_pages: raw.total_present_pages.get(),
            pages: raw.pages.get(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn encoded_header_has_the_bytes_of_the_c_struct() {
        let header = BitmapHeader {
            signature: FULL_BITMAP,
            first_page: 0x0102,
            total_present_pages: 0x03,
            pages: 0x04,
        };
        let mut bytes = Vec::new();
        header.encode(&mut bytes);
        let mut expected = [0; 0x38];
        expected[..8].copy_from_slice(b"FDMPDUMP");
        expected[0x20..0x22].copy_from_slice(&[2, 1]);
        (expected[0x28], expected[0x30]) = (3, 4);
        assert_eq!(bytes, expected);
        assert_eq!(BitmapHeader::decode(&bytes[..0x37]), None);
        bytes[4] = b'J';
        assert_eq!(BitmapHeader::decode(&bytes), None);
    }

    proptest! {
        #[test]
        fn decoding_what_was_encoded_gives_the_header(
            full in any::<bool>(),
            numbers in any::<[u64; 3]>(),
        ) {
            let header = BitmapHeader {
                signature: if full { FULL_BITMAP } else { KERNEL_BITMAP },
                first_page: numbers[0],
                total_present_pages: numbers[1],
                pages: numbers[2],
            };
            let mut bytes = Vec::new();
            header.encode(&mut bytes);
            prop_assert_eq!(bytes.len(), BitmapHeader::SIZE);
            prop_assert_eq!(BitmapHeader::decode(&bytes), Some(header));
        }
    }
}

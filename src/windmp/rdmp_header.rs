//! The header of a list of page ranges, in dumps of types 8, 9 and 10. It follows the dump's header, and
//! the ranges follow it. The list ends before the first page.
//!
//! Sources: kdmp-parser-rs 0.8.1 `structs.rs` and kdmp-parser `kdmp-parser-structs.h` (both MIT):
//! `RDMP_HEADER64`, `KERNEL_RDMP_HEADER64`, `FULL_RDMP_HEADER64`, `PfnRange`. Both parsers demand the
//! relation between `MetadataSize` and `FirstPageOffset` that [`RdmpHeader::metadata_size_of`] states.
//!
//! Readers: WinDbg, kdmp-parser.
#![forbid(unsafe_code)]

use std::mem::{offset_of, size_of};

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::windmp::{Run, VALID_DUMP_32};

/// `Signature` of the header.
const SIGNATURE: [u8; 4] = *b"RDMP";
/// `Marker` of the header.
const MARKER: u32 = 0x40;

/// `FULL_RDMP_HEADER64`. In `KERNEL_RDMP_HEADER64` the meaning of the last 16 bytes is not known.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawRdmpHeader {
    marker: U32,
    signature: [u8; 4],
    valid_dump: [u8; 4],
    reserved1: U32,
    metadata_size: U64,
    first_page_offset: U64,
    number_of_ranges: U32,
    reserved2: U32,
    total_number_of_pages: U64,
}

const _: () = assert!(offset_of!(RawRdmpHeader, signature) == 4);
const _: () = assert!(offset_of!(RawRdmpHeader, valid_dump) == 8);
const _: () = assert!(offset_of!(RawRdmpHeader, metadata_size) == 0x10);
const _: () = assert!(offset_of!(RawRdmpHeader, first_page_offset) == 0x18);
const _: () = assert!(offset_of!(RawRdmpHeader, number_of_ranges) == RdmpHeader::COUNTED_FROM);
const _: () = assert!(offset_of!(RawRdmpHeader, total_number_of_pages) == 0x28);
const _: () = assert!(size_of::<RawRdmpHeader>() == RdmpHeader::SIZE);

/// `PfnRange`: the first page frame, and the number of pages.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawPfnRange {
    page_file_number: U64,
    number_of_pages: U64,
}

const _: () = assert!(size_of::<RawPfnRange>() == RdmpHeader::RANGE_SIZE);

/// The header of a list of page ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RdmpHeader {
    /// The bytes from `NumberOfRanges` to the first page.
    pub metadata_size: u64,
    /// The offset of the first page in the dump, in bytes.
    pub first_page: u64,
    /// The number of ranges. Only a dump of type 10 states it.
    pub number_of_ranges: u32,
    /// The number of pages in the dump. Only a dump of type 10 states it.
    pub total_pages: u64,
}

impl RdmpHeader {
    /// The length of the header in bytes.
    pub const SIZE: usize = 0x30;
    /// The length of a range in bytes.
    pub const RANGE_SIZE: usize = 16;
    /// The offset in the header from which `MetadataSize` counts.
    const COUNTED_FROM: usize = 0x20;

    /// Returns the `MetadataSize` of a header at offset `at` of a dump whose first page is at offset
    /// `first_page`. `None` if the page is not after the header.
    #[must_use]
    pub const fn metadata_size_of(at: u64, first_page: u64) -> Option<u64> {
        let Some(behind) = at.checked_add(Self::SIZE as u64) else {
            return None;
        };
        if first_page < behind {
            return None;
        }
        Some(first_page - at - Self::COUNTED_FROM as u64)
    }

    /// Appends the header's bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let raw = RawRdmpHeader {
            marker: MARKER.into(),
            signature: SIGNATURE,
            valid_dump: VALID_DUMP_32,
            reserved1: 0.into(),
            metadata_size: self.metadata_size.into(),
            first_page_offset: self.first_page.into(),
            number_of_ranges: self.number_of_ranges.into(),
            reserved2: 0.into(),
            total_number_of_pages: self.total_pages.into(),
        };
        out.extend_from_slice(raw.as_bytes());
    }

    /// Decodes the header at the beginning of `bytes`. `None` if they are too few, or `Marker`,
    /// `Signature` and `ValidDump` are not those of this header.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (raw, _) = RawRdmpHeader::read_from_prefix(bytes).ok()?;
        let known =
            raw.marker == MARKER && raw.signature == SIGNATURE && raw.valid_dump == VALID_DUMP_32;
        known.then(|| Self {
            metadata_size: raw.metadata_size.get(),
            first_page: raw.first_page_offset.get(),
            number_of_ranges: raw.number_of_ranges.get(),
            total_pages: raw.total_number_of_pages.get(),
        })
    }

    /// Appends the bytes of one range to `out`.
    pub fn encode_range(range: Run, out: &mut Vec<u8>) {
        let raw = RawPfnRange {
            page_file_number: range.base_page.into(),
            number_of_pages: range.page_count.into(),
        };
        out.extend_from_slice(raw.as_bytes());
    }

    /// Decodes the ranges in `bytes`. A last range that is cut short is omitted.
    pub fn decode_ranges(bytes: &[u8]) -> impl Iterator<Item = Run> {
        bytes.chunks_exact(Self::RANGE_SIZE).filter_map(|bytes| {
            let raw = RawPfnRange::read_from_bytes(bytes).ok()?;
            Some(Run {
                base_page: raw.page_file_number.get(),
                page_count: raw.number_of_pages.get(),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn encoded_header_has_the_bytes_of_the_c_struct() {
        let header = RdmpHeader {
            metadata_size: 0x1fe0,
            first_page: 0x4000,
            number_of_ranges: 2,
            total_pages: 5,
        };
        let mut bytes = Vec::new();
        header.encode(&mut bytes);
        let mut expected = [0; 0x30];
        expected[..12].copy_from_slice(b"\x40\0\0\0RDMPDUMP");
        expected[0x10..0x12].copy_from_slice(&[0xe0, 0x1f]);
        (expected[0x19], expected[0x20], expected[0x28]) = (0x40, 2, 5);
        assert_eq!(bytes, expected);
        assert_eq!(RdmpHeader::metadata_size_of(0x2000, 0x4000), Some(0x1fe0));
        assert_eq!(RdmpHeader::metadata_size_of(0x2000, 0x202f), None);
        assert_eq!(RdmpHeader::decode(&bytes[..0x2f]), None);
        for at in [0, 4, 8] {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert_eq!(RdmpHeader::decode(&other), None);
        }
    }

    proptest! {
        #[test]
        fn decoding_what_was_encoded_gives_the_same(
            numbers in any::<[u64; 3]>(),
            number_of_ranges in any::<u32>(),
            ranges in prop::collection::vec(any::<[u64; 2]>(), 0..5),
        ) {
            let header = RdmpHeader {
                metadata_size: numbers[0],
                first_page: numbers[1],
                number_of_ranges,
                total_pages: numbers[2],
            };
            let mut bytes = Vec::new();
            header.encode(&mut bytes);
            prop_assert_eq!(bytes.len(), RdmpHeader::SIZE);
            prop_assert_eq!(RdmpHeader::decode(&bytes), Some(header));

            let run = |&[base_page, page_count]: &[u64; 2]| Run { base_page, page_count };
            let runs: Vec<Run> = ranges.iter().map(run).collect();
            let mut bytes = Vec::new();
            for run in &runs {
                RdmpHeader::encode_range(*run, &mut bytes);
            }
            bytes.push(0);
            prop_assert_eq!(RdmpHeader::decode_ranges(&bytes).collect::<Vec<_>>(), runs);
        }
    }
}

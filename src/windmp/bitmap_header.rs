//! The header of a page bitmap, behind the dump's header; the bitmap follows
//! it, one bit for each page frame, lowest bit of a byte first.
//!
//! Its names are those of kdmp-parser's `BmpHeader64`; volatility3 calls it
//! `_SUMMARY_DUMP`, and reads it in dumps of both word sizes.
#![forbid(unsafe_code)]

use std::mem::{offset_of, size_of};

use zerocopy::byteorder::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `Signature` of a bitmap with all of the guest's memory.
pub const FULL_BITMAP: [u8; 4] = *b"FDMP";
/// `Signature` of a bitmap with the kernel's memory.
pub const KERNEL_BITMAP: [u8; 4] = *b"SDMP";

/// The bitmap's header.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct BitmapHeader {
    /// [`FULL_BITMAP`] or [`KERNEL_BITMAP`].
    pub signature: [u8; 4],
    /// [`VALID_DUMP_32`](crate::windmp::VALID_DUMP_32), in 64-bit dumps as well.
    pub valid_dump: [u8; 4],
    /// Not known.
    pub reserved: [u8; 24],
    /// Where in the dump the first page begins, in bytes.
    pub first_page: U64,
    /// Bits that are set: pages in the dump.
    pub total_present_pages: U64,
    /// Bits in the bitmap.
    pub pages: U64,
}

const _: () = assert!(offset_of!(BitmapHeader, first_page) == 0x20);
const _: () = assert!(offset_of!(BitmapHeader, total_present_pages) == 0x28);
const _: () = assert!(offset_of!(BitmapHeader, pages) == 0x30);
const _: () = assert!(size_of::<BitmapHeader>() == BitmapHeader::SIZE);

impl BitmapHeader {
    /// Size of the header in bytes.
    pub const SIZE: usize = 0x38;
}

//! `struct kdump_sub_header`: block 1 of a dump.
#![forbid(unsafe_code)]

use std::mem::{offset_of, size_of};

use zerocopy::byteorder::{ByteOrder as Order, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::abi::{ByteOrder, with_order};
use crate::kdump::HeaderLayout;
use crate::kdump::constants::Le;

/// `struct kdump_sub_header` with 64-bit words.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct SubHeader64<O: Order> {
    phys_base: U64<O>,
    dump_level: U32<O>,
    split: U32<O>,
    start_pfn: U64<O>,
    end_pfn: U64<O>,
    offset_vmcoreinfo: U64<O>,
    size_vmcoreinfo: U64<O>,
    offset_note: U64<O>,
    size_note: U64<O>,
    offset_eraseinfo: U64<O>,
    size_eraseinfo: U64<O>,
    start_pfn_64: U64<O>,
    end_pfn_64: U64<O>,
    max_mapnr_64: U64<O>,
}

/// `struct kdump_sub_header` with 32-bit words, no gaps.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct SubHeader32Packed<O: Order> {
    phys_base: U32<O>,
    dump_level: U32<O>,
    split: U32<O>,
    start_pfn: U32<O>,
    end_pfn: U32<O>,
    offset_vmcoreinfo: U64<O>,
    size_vmcoreinfo: U32<O>,
    offset_note: U64<O>,
    size_note: U32<O>,
    offset_eraseinfo: U64<O>,
    size_eraseinfo: U32<O>,
    start_pfn_64: U64<O>,
    end_pfn_64: U64<O>,
    max_mapnr_64: U64<O>,
}

/// `struct kdump_sub_header` with 32-bit words, 64-bit fields aligned.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct SubHeader32Padded<O: Order> {
    phys_base: U32<O>,
    dump_level: U32<O>,
    split: U32<O>,
    start_pfn: U32<O>,
    end_pfn: U32<O>,
    gap1: [u8; 4],
    offset_vmcoreinfo: U64<O>,
    size_vmcoreinfo: U32<O>,
    gap2: [u8; 4],
    offset_note: U64<O>,
    size_note: U32<O>,
    gap3: [u8; 4],
    offset_eraseinfo: U64<O>,
    size_eraseinfo: U32<O>,
    gap4: [u8; 4],
    start_pfn_64: U64<O>,
    end_pfn_64: U64<O>,
    max_mapnr_64: U64<O>,
}

// 8, 2 × 4, then 11 × 8.
const _: () = assert!(offset_of!(SubHeader64<Le>, start_pfn) == 16);
const _: () = assert!(offset_of!(SubHeader64<Le>, offset_vmcoreinfo) == 32);
const _: () = assert!(offset_of!(SubHeader64<Le>, offset_note) == 48);
const _: () = assert!(offset_of!(SubHeader64<Le>, offset_eraseinfo) == 64);
const _: () = assert!(offset_of!(SubHeader64<Le>, start_pfn_64) == 80);
const _: () = assert!(offset_of!(SubHeader64<Le>, max_mapnr_64) == 96);
const _: () = assert!(size_of::<SubHeader64<Le>>() == 104);
// 5 × 4, 3 × (8 + 4), 3 × 8.
const _: () = assert!(offset_of!(SubHeader32Packed<Le>, offset_vmcoreinfo) == 20);
const _: () = assert!(offset_of!(SubHeader32Packed<Le>, offset_note) == 32);
const _: () = assert!(offset_of!(SubHeader32Packed<Le>, start_pfn_64) == 56);
const _: () = assert!(size_of::<SubHeader32Packed<Le>>() == 80);
// 6 × 4, 3 × (8 + 8), 3 × 8.
const _: () = assert!(offset_of!(SubHeader32Padded<Le>, offset_vmcoreinfo) == 24);
const _: () = assert!(offset_of!(SubHeader32Padded<Le>, offset_note) == 40);
const _: () = assert!(offset_of!(SubHeader32Padded<Le>, start_pfn_64) == 72);
const _: () = assert!(size_of::<SubHeader32Padded<Le>>() == 96);

/// What the sub header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SubHeader {
    /// Where the kernel's image lies, as the architecture means it.
    pub phys_base: u64,
    /// makedumpfile's `-d`: the kinds of pages that are left out.
    pub dump_level: u32,
    /// 1 if this file has only the pages from start to end page frame.
    pub split: u32,
    /// The first page frame of a split dump, low bits.
    pub start_pfn: u64,
    /// Behind the last page frame of a split dump, low bits.
    pub end_pfn: u64,
    /// File offset of VMCOREINFO's text; 0 if there is none.
    pub offset_vmcoreinfo: u64,
    /// Its length in bytes.
    pub size_vmcoreinfo: u64,
    /// File offset of the ELF notes; 0 if there are none.
    pub offset_note: u64,
    /// Their length in bytes.
    pub size_note: u64,
    /// File offset of makedumpfile's erase information; 0 if there is none.
    pub offset_eraseinfo: u64,
    /// Its length in bytes.
    pub size_eraseinfo: u64,
    /// The first page frame of a split dump.
    pub start_pfn_64: u64,
    /// Behind the last page frame of a split dump.
    pub end_pfn_64: u64,
    /// Page frames that a bitmap covers.
    pub max_mapnr_64: u64,
}

/// Fills the fields of a 32-bit sub header, packed or padded, from `$s`.
macro_rules! sub_header_32 {
    ($Raw:ident, $O:ident, $s:expr) => {{
        let mut raw = $Raw::<$O>::new_zeroed();
        raw.phys_base = ($s.phys_base as u32).into();
        raw.dump_level = $s.dump_level.into();
        raw.split = $s.split.into();
        raw.start_pfn = ($s.start_pfn as u32).into();
        raw.end_pfn = ($s.end_pfn as u32).into();
        raw.offset_vmcoreinfo = $s.offset_vmcoreinfo.into();
        raw.size_vmcoreinfo = ($s.size_vmcoreinfo as u32).into();
        raw.offset_note = $s.offset_note.into();
        raw.size_note = ($s.size_note as u32).into();
        raw.offset_eraseinfo = $s.offset_eraseinfo.into();
        raw.size_eraseinfo = ($s.size_eraseinfo as u32).into();
        raw.start_pfn_64 = $s.start_pfn_64.into();
        raw.end_pfn_64 = $s.end_pfn_64.into();
        raw.max_mapnr_64 = $s.max_mapnr_64.into();
        raw
    }};
}

/// A [`SubHeader`] of the bytes of any of the three layouts.
macro_rules! from_sub_header {
    ($Raw:ident, $O:ident, $bytes:expr) => {{
        let (raw, _) = $Raw::<$O>::read_from_prefix($bytes).ok()?;
        SubHeader {
            phys_base: raw.phys_base.into(),
            dump_level: raw.dump_level.into(),
            split: raw.split.into(),
            start_pfn: raw.start_pfn.into(),
            end_pfn: raw.end_pfn.into(),
            offset_vmcoreinfo: raw.offset_vmcoreinfo.into(),
            size_vmcoreinfo: raw.size_vmcoreinfo.into(),
            offset_note: raw.offset_note.into(),
            size_note: raw.size_note.into(),
            offset_eraseinfo: raw.offset_eraseinfo.into(),
            size_eraseinfo: raw.size_eraseinfo.into(),
            start_pfn_64: raw.start_pfn_64.into(),
            end_pfn_64: raw.end_pfn_64.into(),
            max_mapnr_64: raw.max_mapnr_64.into(),
        }
    }};
}

impl SubHeader {
    /// Appends the header's bytes to `out`.
    pub fn encode(&self, layout: HeaderLayout, order: ByteOrder, out: &mut Vec<u8>) {
        with_order!(order, O => match layout {
            HeaderLayout::Bits32Packed => {
                out.extend_from_slice(sub_header_32!(SubHeader32Packed, O, self).as_bytes());
            }
            HeaderLayout::Bits32Padded => {
                out.extend_from_slice(sub_header_32!(SubHeader32Padded, O, self).as_bytes());
            }
            HeaderLayout::Bits64 => out.extend_from_slice(SubHeader64::<O> {
                phys_base: self.phys_base.into(),
                dump_level: self.dump_level.into(),
                split: self.split.into(),
                start_pfn: self.start_pfn.into(),
                end_pfn: self.end_pfn.into(),
                offset_vmcoreinfo: self.offset_vmcoreinfo.into(),
                size_vmcoreinfo: self.size_vmcoreinfo.into(),
                offset_note: self.offset_note.into(),
                size_note: self.size_note.into(),
                offset_eraseinfo: self.offset_eraseinfo.into(),
                size_eraseinfo: self.size_eraseinfo.into(),
                start_pfn_64: self.start_pfn_64.into(),
                end_pfn_64: self.end_pfn_64.into(),
                max_mapnr_64: self.max_mapnr_64.into(),
            }.as_bytes()),
        });
    }

    /// Decodes the header at the beginning of `bytes`; `None` if they are
    /// too few. Fields newer than the dump's header version are whatever
    /// lies there.
    #[must_use]
    pub fn decode(layout: HeaderLayout, order: ByteOrder, bytes: &[u8]) -> Option<Self> {
        Some(with_order!(order, O => match layout {
            HeaderLayout::Bits32Packed => from_sub_header!(SubHeader32Packed, O, bytes),
            HeaderLayout::Bits32Padded => from_sub_header!(SubHeader32Padded, O, bytes),
            HeaderLayout::Bits64 => from_sub_header!(SubHeader64, O, bytes),
        }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sub_header_bytes() {
        let sub = SubHeader {
            phys_base: 1,
            dump_level: 2,
            split: 3,
            start_pfn: 4,
            end_pfn: 5,
            offset_vmcoreinfo: 6,
            size_vmcoreinfo: 7,
            offset_note: 8,
            size_note: 9,
            offset_eraseinfo: 10,
            size_eraseinfo: 11,
            start_pfn_64: 12,
            end_pfn_64: 13,
            max_mapnr_64: 14,
        };
        /// Offset and width of each of the fields, in order.
        type Fields<'a> = &'a [(usize, usize)];
        let layouts: [(HeaderLayout, Fields<'_>, usize); 3] = [
            (
                HeaderLayout::Bits64,
                &[
                    (0, 8),
                    (8, 4),
                    (12, 4),
                    (16, 8),
                    (24, 8),
                    (32, 8),
                    (40, 8),
                    (48, 8),
                    (56, 8),
                    (64, 8),
                    (72, 8),
                    (80, 8),
                    (88, 8),
                    (96, 8),
                ],
                104,
            ),
            (
                HeaderLayout::Bits32Packed,
                &[
                    (0, 4),
                    (4, 4),
                    (8, 4),
                    (12, 4),
                    (16, 4),
                    (20, 8),
                    (28, 4),
                    (32, 8),
                    (40, 4),
                    (44, 8),
                    (52, 4),
                    (56, 8),
                    (64, 8),
                    (72, 8),
                ],
                80,
            ),
            (
                HeaderLayout::Bits32Padded,
                &[
                    (0, 4),
                    (4, 4),
                    (8, 4),
                    (12, 4),
                    (16, 4),
                    (24, 8),
                    (32, 4),
                    (40, 8),
                    (48, 4),
                    (56, 8),
                    (64, 4),
                    (72, 8),
                    (80, 8),
                    (88, 8),
                ],
                96,
            ),
        ];
        for (layout, fields, size) in layouts {
            for order in [ByteOrder::Little, ByteOrder::Big] {
                let mut expected = vec![0u8; size];
                for (value, (at, width)) in (1u8..).zip(fields) {
                    let byte = if order == ByteOrder::Little {
                        0
                    } else {
                        width - 1
                    };
                    expected[at + byte] = value;
                }
                let mut bytes = Vec::new();
                sub.encode(layout, order, &mut bytes);
                assert_eq!(bytes, expected, "{layout:?}");
                assert_eq!(SubHeader::decode(layout, order, &bytes), Some(sub));
            }
        }
    }
}

//! The sub header, block 1 of a dump: `struct kdump_sub_header` in its three layouts.
//!
//! Sources: makedumpfile `IMPLEMENTATION` and `diskdump_mod.h` for the fields and the header version
//! that added them; libkdumpfile `src/kdumpfile/diskdump.c` for the gaps that C compilers leave, and
//! for telling the two 32-bit layouts apart.
//!
//! Readers: crash, drgn, gdb and makedumpfile with libkdumpfile; see docs/readers.md.
#![forbid(unsafe_code)]

use std::mem::{offset_of, size_of};

use zerocopy::byteorder::{ByteOrder as Order, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::abi::{Abi, Class, Encoding, FieldOverflow, Narrow, U64Align, Utsname, with_order};
use crate::kdump::constants::Le;
use crate::kdump::{HEADER_BLOCKS, MainHeader};

/// `struct kdump_sub_header` with 64-bit words.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct SubHeader64<O: Order> {
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
struct SubHeader32Packed<O: Order> {
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
struct SubHeader32Padded<O: Order> {
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

/// The sub header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SubHeader {
    /// The kernel's `phys_base`, whose meaning depends on the architecture.
    pub phys_base: u64,
    /// makedumpfile's `-d`: the kinds of pages that are excluded.
    pub dump_level: u32,
    /// 1 if this file has only the pages from start to end page frame.
    pub split: u32,
    /// The first page frame of a split dump, low bits.
    pub start_pfn: u64,
    /// The page frame after the last one of a split dump, low bits.
    pub end_pfn: u64,
    /// File offset of VMCOREINFO's text; 0 if there is none.
    pub offset_vmcoreinfo: u64,
    /// The length of VMCOREINFO's text in bytes.
    pub size_vmcoreinfo: u64,
    /// File offset of the ELF notes; 0 if there are none.
    pub offset_note: u64,
    /// The length of the ELF notes in bytes.
    pub size_note: u64,
    /// File offset of makedumpfile's erase information; 0 if there is none.
    pub offset_eraseinfo: u64,
    /// The length of the erase information in bytes.
    pub size_eraseinfo: u64,
    /// The first page frame of a split dump.
    pub start_pfn_64: u64,
    /// The page frame after the last one of a split dump.
    pub end_pfn_64: u64,
    /// Page frames that a bitmap covers.
    pub max_mapnr_64: u64,
}

/// Fills the fields of a 32-bit sub header, packed or padded, from `$s`.
macro_rules! sub_header_32 {
    ($Raw:ident, $O:ident, $s:expr) => {{
        let narrow = Narrow("kdump_sub_header");
        let mut raw = $Raw::<$O>::new_zeroed();
        raw.phys_base = narrow.u32("phys_base", $s.phys_base)?.into();
        raw.dump_level = $s.dump_level.into();
        raw.split = $s.split.into();
        raw.start_pfn = narrow.u32("start_pfn", $s.start_pfn)?.into();
        raw.end_pfn = narrow.u32("end_pfn", $s.end_pfn)?.into();
        raw.offset_vmcoreinfo = $s.offset_vmcoreinfo.into();
        raw.size_vmcoreinfo = narrow.u32("size_vmcoreinfo", $s.size_vmcoreinfo)?.into();
        raw.offset_note = $s.offset_note.into();
        raw.size_note = narrow.u32("size_note", $s.size_note)?.into();
        raw.offset_eraseinfo = $s.offset_eraseinfo.into();
        raw.size_eraseinfo = narrow.u32("size_eraseinfo", $s.size_eraseinfo)?.into();
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
    /// The length of the header in bytes.
    #[must_use]
    pub const fn size(abi: Abi) -> usize {
        match (abi.class, abi.u64_align) {
            (Class::Bits32, U64Align::Four) => size_of::<SubHeader32Packed<Le>>(),
            (Class::Bits32, U64Align::Eight) => size_of::<SubHeader32Padded<Le>>(),
            (Class::Bits64, _) => Self::MAX_SIZE,
        }
    }

    /// The length of the longest sub header, that of 64-bit guests, in bytes.
    pub const MAX_SIZE: usize = size_of::<SubHeader64<Le>>();

    /// Appends the header's bytes to `out`.
    ///
    /// # Errors
    ///
    /// [`FieldOverflow`] if a value does not fit into a 32-bit header.
    pub fn encode(&self, abi: Abi, out: &mut Vec<u8>) -> Result<(), FieldOverflow> {
        with_order!(abi.order, O => match (abi.class, abi.u64_align) {
            (Class::Bits32, U64Align::Four) => {
                out.extend_from_slice(sub_header_32!(SubHeader32Packed, O, self).as_bytes());
            }
            (Class::Bits32, U64Align::Eight) => {
                out.extend_from_slice(sub_header_32!(SubHeader32Padded, O, self).as_bytes());
            }
            (Class::Bits64, _) => out.extend_from_slice(SubHeader64::<O> {
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
        Ok(())
    }

    /// Decodes the header at the beginning of `bytes`; `None` if they are too few.
    /// A field that is newer than the dump's header version has the bytes that lie there;
    /// [`of_version`](Self::of_version) clears it.
    #[must_use]
    pub fn decode(abi: Abi, bytes: &[u8]) -> Option<Self> {
        Some(
            with_order!(abi.order, O => match (abi.class, abi.u64_align) {
                (Class::Bits32, U64Align::Four) => from_sub_header!(SubHeader32Packed, O, bytes),
                (Class::Bits32, U64Align::Eight) => from_sub_header!(SubHeader32Padded, O, bytes),
                (Class::Bits64, _) => from_sub_header!(SubHeader64, O, bytes),
            }),
        )
    }

    /// Decodes the sub header at the beginning of `bytes`, which follows the main header `main`, and
    /// finds out how 64-bit integers are aligned. Fields newer than the header's version are 0.
    /// `None` if the bytes are too few.
    #[must_use]
    pub fn find(encoding: Encoding, main: &MainHeader, bytes: &[u8]) -> Option<(Abi, Self)> {
        let abi = |u64_align| Abi {
            class: encoding.class,
            order: encoding.order,
            u64_align,
        };
        let decode = |u64_align| {
            let sub = Self::decode(abi(u64_align), bytes)?;
            Some((abi(u64_align), sub.of_version(main.header_version)))
        };
        if encoding.class == Class::Bits64 {
            return decode(U64Align::Eight);
        }
        // As in libkdumpfile, 64-bit integers are aligned to 4 bytes if VMCOREINFO then lies in
        // the blocks of the sub header.
        let (_, sub) = decode(U64Align::Four)?;
        let block = u64::from(main.block_size);
        let end = block * (HEADER_BLOCKS + u64::from(main.sub_hdr_size));
        let (offset, size) = (sub.offset_vmcoreinfo, sub.size_vmcoreinfo);
        let inside = offset > block && offset.checked_add(size).is_some_and(|e| e <= end);
        decode(match (offset, size) {
            _ if inside => U64Align::Four,
            // Without VMCOREINFO libkdumpfile takes every dump for one of i386.
            (0, 0) => align_of_uname(&Utsname::text(&main.utsname.machine)),
            _ => U64Align::Eight,
        })
    }

    /// The header with the fields that are newer than this `header_version` set to 0.
    #[must_use]
    pub fn of_version(mut self, version: u32) -> Self {
        if version < 2 {
            (self.split, self.start_pfn, self.end_pfn) = (0, 0, 0);
        }
        if version < 3 {
            (self.offset_vmcoreinfo, self.size_vmcoreinfo) = (0, 0);
        }
        if version < 4 {
            (self.offset_note, self.size_note) = (0, 0);
        }
        if version < 5 {
            (self.offset_eraseinfo, self.size_eraseinfo) = (0, 0);
        }
        if version < 6 {
            (self.start_pfn_64, self.end_pfn_64, self.max_mapnr_64) = (0, 0, 0);
        }
        self
    }
}

/// The alignment in dumps of the 32-bit machine with this `uname -m`; i386's for an unknown one.
fn align_of_uname(machine: &str) -> U64Align {
    let arm = machine.starts_with("arm") && !machine.starts_with("arm64");
    let aligned = arm || machine.starts_with("riscv32");
    if aligned {
        U64Align::Eight
    } else {
        U64Align::Four
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::abi::ByteOrder;
    use crate::abi::tests::abis;
    use proptest::prelude::*;

    #[test]
    fn encoded_header_has_the_bytes_of_each_c_struct() {
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
        let layouts: [(Class, U64Align, Fields<'_>, usize); 3] = [
            (
                Class::Bits64,
                U64Align::Eight,
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
                Class::Bits32,
                U64Align::Four,
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
                Class::Bits32,
                U64Align::Eight,
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
        for (class, u64_align, fields, size) in layouts {
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
                let abi = Abi {
                    class,
                    order,
                    u64_align,
                };
                sub.encode(abi, &mut bytes).unwrap();
                assert_eq!(bytes, expected, "{abi:?}");
                assert_eq!(SubHeader::size(abi), size);
                assert_eq!(SubHeader::decode(abi, &bytes), Some(sub));
                assert_eq!(SubHeader::decode(abi, &bytes[..size - 1]), None);
            }
        }
    }

    #[test]
    fn value_past_32_bits_is_refused_by_32_bit_headers_alone() {
        let high = SubHeader {
            phys_base: 1 << 32,
            ..SubHeader::default()
        };
        let wide = Abi::aligned(Encoding {
            class: Class::Bits64,
            order: ByteOrder::Little,
        });
        let mut bytes = Vec::new();
        for u64_align in [U64Align::Four, U64Align::Eight] {
            let narrow = Abi {
                class: Class::Bits32,
                u64_align,
                ..wide
            };
            let error = high.encode(narrow, &mut bytes).unwrap_err();
            assert_eq!((error.field, error.value), ("phys_base", 1 << 32));
        }
        assert!(bytes.is_empty());
        high.encode(wide, &mut bytes).unwrap();
    }

    proptest! {
        #[test]
        fn decoding_what_was_encoded_gives_the_header(
            words in any::<[u32; 8]>(),
            wide in any::<[u64; 6]>(),
            abi in abis(),
        ) {
            let header = SubHeader {
                phys_base: words[0].into(),
                dump_level: words[1],
                split: words[2],
                start_pfn: words[3].into(),
                end_pfn: words[4].into(),
                offset_vmcoreinfo: wide[0],
                size_vmcoreinfo: words[5].into(),
                offset_note: wide[1],
                size_note: words[6].into(),
                offset_eraseinfo: wide[2],
                size_eraseinfo: words[7].into(),
                start_pfn_64: wide[3],
                end_pfn_64: wide[4],
                max_mapnr_64: wide[5],
            };
            let mut bytes = Vec::new();
            header.encode(abi, &mut bytes).unwrap();
            prop_assert_eq!(bytes.len(), SubHeader::size(abi));
            prop_assert_eq!(SubHeader::decode(abi, &bytes), Some(header));
        }
    }
}

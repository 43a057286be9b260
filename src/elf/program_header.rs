//! Program headers: `Elf32_Phdr` and `Elf64_Phdr`.
//!
//! Source: elf(5) and the System V ABI, chapter 5.
//!
//! Readers: crash, drgn, gdb, makedumpfile, readelf; see docs/readers.md.
#![forbid(unsafe_code)]

use std::mem::{offset_of, size_of};

use zerocopy::byteorder::{ByteOrder as Order, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::abi::{Class, Encoding, FieldOverflow, Narrow, with_order};
use crate::elf::constants::Le;

/// `Elf32_Phdr`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Phdr32<O: Order> {
    p_type: U32<O>,
    p_offset: U32<O>,
    p_vaddr: U32<O>,
    p_paddr: U32<O>,
    p_filesz: U32<O>,
    p_memsz: U32<O>,
    p_flags: U32<O>,
    p_align: U32<O>,
}

/// `Elf64_Phdr`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Phdr64<O: Order> {
    p_type: U32<O>,
    p_flags: U32<O>,
    p_offset: U64<O>,
    p_vaddr: U64<O>,
    p_paddr: U64<O>,
    p_filesz: U64<O>,
    p_memsz: U64<O>,
    p_align: U64<O>,
}

const _: () = assert!(size_of::<Phdr32<Le>>() == 8 * 4);
const _: () = assert!(offset_of!(Phdr32<Le>, p_offset) == 4);
const _: () = assert!(offset_of!(Phdr32<Le>, p_paddr) == 12);
const _: () = assert!(offset_of!(Phdr32<Le>, p_flags) == 24);
const _: () = assert!(size_of::<Phdr64<Le>>() == 2 * 4 + 6 * 8);
const _: () = assert!(offset_of!(Phdr64<Le>, p_flags) == 4);
const _: () = assert!(offset_of!(Phdr64<Le>, p_offset) == 8);
const _: () = assert!(offset_of!(Phdr64<Le>, p_vaddr) == 16);
const _: () = assert!(offset_of!(Phdr64<Le>, p_paddr) == 24);
const _: () = assert!(offset_of!(Phdr64<Le>, p_filesz) == 32);
const _: () = assert!(offset_of!(Phdr64<Le>, p_memsz) == 40);
const _: () = assert!(offset_of!(Phdr64<Le>, p_align) == 48);

/// A program header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProgramHeader {
    /// `p_type`.
    pub kind: u32,
    /// `p_flags`.
    pub flags: u32,
    /// File offset of the segment.
    pub offset: u64,
    /// Guest-virtual address.
    pub vaddr: u64,
    /// Guest-physical address.
    pub paddr: u64,
    /// Bytes in the file.
    pub filesz: u64,
    /// Bytes in memory.
    pub memsz: u64,
    /// Alignment in bytes; 0 and 1 mean none.
    pub align: u64,
}

impl ProgramHeader {
    /// The length of a header in bytes.
    #[must_use]
    pub const fn size(class: Class) -> usize {
        match class {
            Class::Bits32 => size_of::<Phdr32<Le>>(),
            Class::Bits64 => size_of::<Phdr64<Le>>(),
        }
    }

    /// Appends the header's bytes to `out`.
    ///
    /// # Errors
    ///
    /// [`FieldOverflow`] if an address, offset or size does not fit into a 32-bit header.
    pub fn encode(&self, encoding: Encoding, out: &mut Vec<u8>) -> Result<(), FieldOverflow> {
        let narrow = Narrow("Elf32_Phdr");
        with_order!(encoding.order, O => match encoding.class {
            Class::Bits32 => out.extend_from_slice(Phdr32::<O> {
                p_type: self.kind.into(),
                p_offset: narrow.u32("p_offset", self.offset)?.into(),
                p_vaddr: narrow.u32("p_vaddr", self.vaddr)?.into(),
                p_paddr: narrow.u32("p_paddr", self.paddr)?.into(),
                p_filesz: narrow.u32("p_filesz", self.filesz)?.into(),
                p_memsz: narrow.u32("p_memsz", self.memsz)?.into(),
                p_flags: self.flags.into(),
                p_align: narrow.u32("p_align", self.align)?.into(),
            }.as_bytes()),
            Class::Bits64 => out.extend_from_slice(Phdr64::<O> {
                p_type: self.kind.into(),
                p_flags: self.flags.into(),
                p_offset: self.offset.into(),
                p_vaddr: self.vaddr.into(),
                p_paddr: self.paddr.into(),
                p_filesz: self.filesz.into(),
                p_memsz: self.memsz.into(),
                p_align: self.align.into(),
            }.as_bytes()),
        });
        Ok(())
    }

    /// Decodes the header at the beginning of `bytes`; `None` if they are too few.
    #[must_use]
    pub fn decode(encoding: Encoding, bytes: &[u8]) -> Option<Self> {
        Some(with_order!(encoding.order, O => match encoding.class {
            Class::Bits32 => {
                let (h, _) = Phdr32::<O>::read_from_prefix(bytes).ok()?;
                Self {
                    kind: h.p_type.get(),
                    flags: h.p_flags.get(),
                    offset: h.p_offset.get().into(),
                    vaddr: h.p_vaddr.get().into(),
                    paddr: h.p_paddr.get().into(),
                    filesz: h.p_filesz.get().into(),
                    memsz: h.p_memsz.get().into(),
                    align: h.p_align.get().into(),
                }
            }
            Class::Bits64 => {
                let (h, _) = Phdr64::<O>::read_from_prefix(bytes).ok()?;
                Self {
                    kind: h.p_type.get(),
                    flags: h.p_flags.get(),
                    offset: h.p_offset.get(),
                    vaddr: h.p_vaddr.get(),
                    paddr: h.p_paddr.get(),
                    filesz: h.p_filesz.get(),
                    memsz: h.p_memsz.get(),
                    align: h.p_align.get(),
                }
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::abi::tests::encodings;
    use crate::elf::constants::tests::{BE32, LE64};
    use crate::elf::{PF_RWX, PT_LOAD};
    use proptest::prelude::*;

    #[test]
    fn encoded_header_has_the_bytes_of_the_c_struct() {
        let load = ProgramHeader {
            kind: PT_LOAD,
            flags: PF_RWX,
            offset: 0x1000,
            vaddr: 0x2000,
            paddr: 0x3000,
            filesz: 0x4000,
            memsz: 0x5000,
            align: 0x6000,
        };
        let mut bytes = Vec::new();
        load.encode(LE64, &mut bytes).unwrap();
        #[rustfmt::skip]
        assert_eq!(bytes, [
            1, 0, 0, 0, 7, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0,
            0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0x30, 0, 0, 0, 0, 0, 0,
            0, 0x40, 0, 0, 0, 0, 0, 0, 0, 0x50, 0, 0, 0, 0, 0, 0,
            0, 0x60, 0, 0, 0, 0, 0, 0,
        ]);
        assert_eq!(ProgramHeader::decode(LE64, &bytes), Some(load));
        bytes.clear();
        load.encode(BE32, &mut bytes).unwrap();
        #[rustfmt::skip]
        assert_eq!(bytes, [
            0, 0, 0, 1, 0, 0, 0x10, 0, 0, 0, 0x20, 0, 0, 0, 0x30, 0,
            0, 0, 0x40, 0, 0, 0, 0x50, 0, 0, 0, 0, 7, 0, 0, 0x60, 0,
        ]);
        assert_eq!(ProgramHeader::decode(BE32, &bytes), Some(load));
    }

    #[test]
    fn value_past_32_bits_is_refused_by_a_32_bit_header() {
        let zero = ProgramHeader::default();
        let high = 1 << 32;
        let headers = [
            (
                "p_offset",
                ProgramHeader {
                    offset: high,
                    ..zero
                },
            ),
            (
                "p_vaddr",
                ProgramHeader {
                    vaddr: high,
                    ..zero
                },
            ),
            (
                "p_paddr",
                ProgramHeader {
                    paddr: high,
                    ..zero
                },
            ),
            (
                "p_filesz",
                ProgramHeader {
                    filesz: high,
                    ..zero
                },
            ),
            (
                "p_memsz",
                ProgramHeader {
                    memsz: high,
                    ..zero
                },
            ),
            (
                "p_align",
                ProgramHeader {
                    align: high,
                    ..zero
                },
            ),
        ];
        for (field, header) in headers {
            let mut bytes = Vec::new();
            let error = header.encode(BE32, &mut bytes).unwrap_err();
            assert_eq!((error.field, error.value), (field, high));
            assert!(bytes.is_empty());
            header.encode(LE64, &mut bytes).unwrap();
            assert_eq!(ProgramHeader::decode(LE64, &bytes), Some(header));
        }
    }

    proptest! {
        #[test]
        fn decoding_what_was_encoded_gives_the_header(
            encoding in encodings(),
            words in any::<[u32; 8]>(),
        ) {
            let header = ProgramHeader {
                kind: words[0],
                flags: words[1],
                offset: words[2].into(),
                vaddr: words[3].into(),
                paddr: words[4].into(),
                filesz: words[5].into(),
                memsz: words[6].into(),
                align: words[7].into(),
            };
            let mut bytes = Vec::new();
            header.encode(encoding, &mut bytes).unwrap();
            prop_assert_eq!(bytes.len(), ProgramHeader::size(encoding.class));
            prop_assert_eq!(ProgramHeader::decode(encoding, &bytes), Some(header));
        }
    }
}

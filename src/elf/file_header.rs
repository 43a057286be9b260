//! The ELF header: `Elf32_Ehdr` and `Elf64_Ehdr`.
//!
//! Source: elf(5) and the System V ABI, chapter 4.
//!
//! Readers: crash, drgn, gdb, makedumpfile, readelf; see docs/readers.md.
#![forbid(unsafe_code)]

use std::mem::{offset_of, size_of};

use zerocopy::byteorder::{ByteOrder as Order, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::abi::{ByteOrder, Class, Encoding, FieldOverflow, Narrow, with_order};
use crate::elf::constants::Le;
use crate::elf::{
    ELFCLASS32, ELFCLASS64, ELFDATA2LSB, ELFDATA2MSB, ELFMAG, EV_CURRENT, PN_XNUM, ProgramHeader,
};

/// `Elf32_Ehdr`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Ehdr32<O: Order> {
    e_ident: [u8; 16],
    e_type: U16<O>,
    e_machine: U16<O>,
    e_version: U32<O>,
    e_entry: U32<O>,
    e_phoff: U32<O>,
    e_shoff: U32<O>,
    e_flags: U32<O>,
    e_ehsize: U16<O>,
    e_phentsize: U16<O>,
    e_phnum: U16<O>,
    e_shentsize: U16<O>,
    e_shnum: U16<O>,
    e_shstrndx: U16<O>,
}

/// `Elf64_Ehdr`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Ehdr64<O: Order> {
    e_ident: [u8; 16],
    e_type: U16<O>,
    e_machine: U16<O>,
    e_version: U32<O>,
    e_entry: U64<O>,
    e_phoff: U64<O>,
    e_shoff: U64<O>,
    e_flags: U32<O>,
    e_ehsize: U16<O>,
    e_phentsize: U16<O>,
    e_phnum: U16<O>,
    e_shentsize: U16<O>,
    e_shnum: U16<O>,
    e_shstrndx: U16<O>,
}

// e_ident 16, then 2+2+4, three words, 4, 6 × 2.
const _: () = assert!(size_of::<Ehdr32<Le>>() == 16 + 8 + 3 * 4 + 4 + 12);
const _: () = assert!(offset_of!(Ehdr32<Le>, e_phoff) == 28);
const _: () = assert!(offset_of!(Ehdr32<Le>, e_shoff) == 32);
const _: () = assert!(offset_of!(Ehdr32<Le>, e_flags) == 36);
const _: () = assert!(offset_of!(Ehdr32<Le>, e_phnum) == 44);
const _: () = assert!(offset_of!(Ehdr32<Le>, e_shstrndx) == 50);
const _: () = assert!(size_of::<Ehdr64<Le>>() == 16 + 8 + 3 * 8 + 4 + 12);
const _: () = assert!(offset_of!(Ehdr64<Le>, e_type) == 16);
const _: () = assert!(offset_of!(Ehdr64<Le>, e_machine) == 18);
const _: () = assert!(offset_of!(Ehdr64<Le>, e_version) == 20);
const _: () = assert!(offset_of!(Ehdr64<Le>, e_entry) == 24);
const _: () = assert!(offset_of!(Ehdr64<Le>, e_phoff) == 32);
const _: () = assert!(offset_of!(Ehdr64<Le>, e_shoff) == 40);
const _: () = assert!(offset_of!(Ehdr64<Le>, e_flags) == 48);
const _: () = assert!(offset_of!(Ehdr64<Le>, e_ehsize) == 52);
const _: () = assert!(offset_of!(Ehdr64<Le>, e_phentsize) == 54);
const _: () = assert!(offset_of!(Ehdr64<Le>, e_phnum) == 56);
const _: () = assert!(offset_of!(Ehdr64<Le>, e_shentsize) == 58);
const _: () = assert!(offset_of!(Ehdr64<Le>, e_shnum) == 60);
const _: () = assert!(offset_of!(Ehdr64<Le>, e_shstrndx) == 62);

/// An ELF header, of either class and byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileHeader {
    /// Class and byte order of all that follows.
    pub encoding: Encoding,
    /// `e_type`.
    pub e_type: u16,
    /// `e_machine`.
    pub machine: u16,
    /// `e_flags`; see [`DUMP_ELF_INCOMPLETE`](crate::elf::DUMP_ELF_INCOMPLETE).
    pub flags: u32,
    /// `e_ehsize`: the length of this header in bytes.
    pub ehsize: u16,
    /// File offset of the program headers.
    pub phoff: u64,
    /// `e_phentsize`: bytes from one program header to the next.
    pub phentsize: u16,
    /// Number of program headers, or [`PN_XNUM`](crate::elf::PN_XNUM).
    pub phnum: u16,
    /// File offset of the section headers; 0 if there are none.
    pub shoff: u64,
    /// Bytes from one section header to the next.
    pub shentsize: u16,
    /// Number of section headers.
    pub shnum: u16,
    /// Number of the section with the names of sections; 0 if there is none.
    pub shstrndx: u16,
}

impl FileHeader {
    /// The header of a file without program headers and sections, whose sizes are those of `encoding`.
    #[must_use]
    pub const fn new(encoding: Encoding, e_type: u16, machine: u16) -> Self {
        Self {
            encoding,
            e_type,
            machine,
            flags: 0,
            ehsize: Self::size(encoding.class) as u16,
            phoff: 0,
            phentsize: ProgramHeader::size(encoding.class) as u16,
            phnum: 0,
            shoff: 0,
            shentsize: 0,
            shnum: 0,
            shstrndx: 0,
        }
    }

    /// The length of the header in bytes.
    #[must_use]
    pub const fn size(class: Class) -> usize {
        match class {
            Class::Bits32 => size_of::<Ehdr32<Le>>(),
            Class::Bits64 => Self::MAX_SIZE,
        }
    }

    /// The length of the longest header, that of 64-bit files, in bytes.
    pub const MAX_SIZE: usize = size_of::<Ehdr64<Le>>();

    /// Whether the number of program headers is in section header 0.
    #[must_use]
    pub const fn has_extended_numbering(&self) -> bool {
        self.phnum == PN_XNUM
    }

    /// Appends the header's bytes to `out`, in its own [`encoding`](Self::encoding).
    ///
    /// # Errors
    ///
    /// [`FieldOverflow`] if an offset does not fit into a 32-bit header.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), FieldOverflow> {
        let Encoding { class, order } = self.encoding;
        let mut e_ident = [0; 16];
        e_ident[..4].copy_from_slice(&ELFMAG);
        e_ident[4] = match class {
            Class::Bits32 => ELFCLASS32,
            Class::Bits64 => ELFCLASS64,
        };
        e_ident[5] = match order {
            ByteOrder::Little => ELFDATA2LSB,
            ByteOrder::Big => ELFDATA2MSB,
        };
        e_ident[6] = EV_CURRENT;
        let narrow = Narrow("Elf32_Ehdr");
        with_order!(order, O => match class {
            Class::Bits32 => out.extend_from_slice(Ehdr32::<O> {
                e_ident,
                e_type: self.e_type.into(),
                e_machine: self.machine.into(),
                e_version: u32::from(EV_CURRENT).into(),
                e_entry: 0.into(),
                e_phoff: narrow.u32("e_phoff", self.phoff)?.into(),
                e_shoff: narrow.u32("e_shoff", self.shoff)?.into(),
                e_flags: self.flags.into(),
                e_ehsize: self.ehsize.into(),
                e_phentsize: self.phentsize.into(),
                e_phnum: self.phnum.into(),
                e_shentsize: self.shentsize.into(),
                e_shnum: self.shnum.into(),
                e_shstrndx: self.shstrndx.into(),
            }.as_bytes()),
            Class::Bits64 => out.extend_from_slice(Ehdr64::<O> {
                e_ident,
                e_type: self.e_type.into(),
                e_machine: self.machine.into(),
                e_version: u32::from(EV_CURRENT).into(),
                e_entry: 0.into(),
                e_phoff: self.phoff.into(),
                e_shoff: self.shoff.into(),
                e_flags: self.flags.into(),
                e_ehsize: self.ehsize.into(),
                e_phentsize: self.phentsize.into(),
                e_phnum: self.phnum.into(),
                e_shentsize: self.shentsize.into(),
                e_shnum: self.shnum.into(),
                e_shstrndx: self.shstrndx.into(),
            }.as_bytes()),
        });
        Ok(())
    }

    /// Decodes the header at the beginning of `bytes`; `None` if they are no ELF header, or cut short.
    /// [`MAX_SIZE`](Self::MAX_SIZE) bytes are always enough.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.get(..4)? != ELFMAG {
            return None;
        }
        let class = match *bytes.get(4)? {
            ELFCLASS32 => Class::Bits32,
            ELFCLASS64 => Class::Bits64,
            _ => return None,
        };
        let order = match *bytes.get(5)? {
            ELFDATA2LSB => ByteOrder::Little,
            ELFDATA2MSB => ByteOrder::Big,
            _ => return None,
        };
        let encoding = Encoding { class, order };
        Some(with_order!(order, O => match class {
            Class::Bits32 => {
                let (h, _) = Ehdr32::<O>::read_from_prefix(bytes).ok()?;
                Self {
                    encoding,
                    e_type: h.e_type.get(),
                    machine: h.e_machine.get(),
                    flags: h.e_flags.get(),
                    ehsize: h.e_ehsize.get(),
                    phoff: h.e_phoff.get().into(),
                    phentsize: h.e_phentsize.get(),
                    phnum: h.e_phnum.get(),
                    shoff: h.e_shoff.get().into(),
                    shentsize: h.e_shentsize.get(),
                    shnum: h.e_shnum.get(),
                    shstrndx: h.e_shstrndx.get(),
                }
            }
            Class::Bits64 => {
                let (h, _) = Ehdr64::<O>::read_from_prefix(bytes).ok()?;
                Self {
                    encoding,
                    e_type: h.e_type.get(),
                    machine: h.e_machine.get(),
                    flags: h.e_flags.get(),
                    ehsize: h.e_ehsize.get(),
                    phoff: h.e_phoff.get(),
                    phentsize: h.e_phentsize.get(),
                    phnum: h.e_phnum.get(),
                    shoff: h.e_shoff.get(),
                    shentsize: h.e_shentsize.get(),
                    shnum: h.e_shnum.get(),
                    shstrndx: h.e_shstrndx.get(),
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
    use crate::elf::{DUMP_ELF_INCOMPLETE, ET_CORE, SectionHeader};
    use proptest::prelude::*;

    fn header(encoding: Encoding) -> FileHeader {
        FileHeader {
            flags: DUMP_ELF_INCOMPLETE,
            phoff: FileHeader::size(encoding.class) as u64,
            phnum: 0x0302,
            shoff: 0x1234,
            shentsize: SectionHeader::size(encoding.class) as u16,
            shnum: 1,
            shstrndx: 0x0102,
            ..FileHeader::new(encoding, ET_CORE, 62)
        }
    }

    #[test]
    fn encoded_header_has_the_bytes_of_the_c_struct() {
        let mut bytes = Vec::new();
        header(LE64).encode(&mut bytes).unwrap();
        #[rustfmt::skip]
        assert_eq!(bytes, [
            0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            4, 0, 62, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            64, 0, 0, 0, 0, 0, 0, 0, 0x34, 0x12, 0, 0, 0, 0, 0, 0,
            1, 0, 0, 0, 64, 0, 56, 0, 2, 3, 64, 0, 1, 0, 2, 1,
        ]);
        assert_eq!(FileHeader::decode(&bytes), Some(header(LE64)));
        bytes.clear();
        header(BE32).encode(&mut bytes).unwrap();
        #[rustfmt::skip]
        assert_eq!(bytes, [
            0x7f, b'E', b'L', b'F', 1, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            0, 4, 0, 62, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 52,
            0, 0, 0x12, 0x34, 0, 0, 0, 1, 0, 52, 0, 32, 3, 2, 0, 40,
            0, 1, 1, 2,
        ]);
        assert_eq!(FileHeader::decode(&bytes), Some(header(BE32)));
        assert_eq!(FileHeader::decode(&bytes[..51]), None);
        assert_eq!(FileHeader::decode(b"\x7fELG"), None);
    }

    #[test]
    fn offset_past_32_bits_is_refused_by_a_32_bit_header() {
        let far = FileHeader {
            shoff: 1 << 32,
            ..header(BE32)
        };
        let mut bytes = Vec::new();
        let error = far.encode(&mut bytes).unwrap_err();
        assert_eq!((error.header, error.field), ("Elf32_Ehdr", "e_shoff"));
        assert!(bytes.is_empty());
        let encoding = LE64;
        FileHeader { encoding, ..far }.encode(&mut bytes).unwrap();
    }

    proptest! {
        #[test]
        fn decoding_what_was_encoded_gives_the_header(
            encoding in encodings(),
            words in any::<[u32; 3]>(),
            halves in any::<[u16; 8]>(),
        ) {
            let header = FileHeader {
                encoding,
                e_type: halves[0],
                machine: halves[1],
                flags: words[0],
                ehsize: halves[2],
                phoff: words[1].into(),
                phentsize: halves[3],
                phnum: halves[4],
                shoff: words[2].into(),
                shentsize: halves[5],
                shnum: halves[6],
                shstrndx: halves[7],
            };
            let mut bytes = Vec::new();
            header.encode(&mut bytes).unwrap();
            prop_assert_eq!(bytes.len(), FileHeader::size(encoding.class));
            prop_assert_eq!(FileHeader::decode(&bytes), Some(header));
        }
    }
}

//! The bytes of an ELF core file's headers, 32-bit and 64-bit, in either
//! byte order.
//!
//! Source: elf(5) and the System V ABI, chapters 4 and 5; e_flags of an
//! incomplete dump: makedumpfile's `IMPLEMENTATION`, "The incomplete ELF
//! DUMPFILE".
//!
//! Readers known to accept what [`crate::elf`] writes: see the table in
//! README.md.
#![forbid(unsafe_code)]

use std::mem::{offset_of, size_of};

use zerocopy::byteorder::{ByteOrder as Order, LittleEndian, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::encoding::{ByteOrder, Class, Encoding, with_order};

/// The first four bytes of `e_ident`.
pub const ELFMAG: [u8; 4] = *b"\x7fELF";
/// `e_ident[4]`: 32-bit objects.
pub const ELFCLASS32: u8 = 1;
/// `e_ident[4]`: 64-bit objects.
pub const ELFCLASS64: u8 = 2;
/// `e_ident[5]`: little-endian.
pub const ELFDATA2LSB: u8 = 1;
/// `e_ident[5]`: big-endian.
pub const ELFDATA2MSB: u8 = 2;
/// `e_ident[6]` and `e_version`.
pub const EV_CURRENT: u8 = 1;
/// `e_type` of a core file.
pub const ET_CORE: u16 = 4;
/// `p_type` of a header that says nothing.
pub const PT_NULL: u32 = 0;
/// `p_type` of a segment with memory.
pub const PT_LOAD: u32 = 1;
/// `p_type` of the segment with notes.
pub const PT_NOTE: u32 = 4;
/// `p_flags`: readable, writable, executable. Guest RAM is all three.
pub const PF_RWX: u32 = 7;
/// `e_phnum` when the real number does not fit: it is in `sh_info` of
/// section header 0 then.
pub const PN_XNUM: u16 = 0xffff;
/// `sh_type` of section header 0.
pub const SHT_NULL: u32 = 0;
/// `sh_type` of a section whose contents are its writer's own.
pub const SHT_PROGBITS: u32 = 1;
/// `sh_type` of a section with strings.
pub const SHT_STRTAB: u32 = 3;
/// Numbers of sections are below this.
pub const SHN_LORESERVE: u16 = 0xff00;
/// `e_flags` of a dump that is not complete.
pub const DUMP_ELF_INCOMPLETE: u32 = 1;

/// `Elf32_Ehdr`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(missing_docs)] // The names are those of elf(5).
pub struct Ehdr32<O: Order> {
    pub e_ident: [u8; 16],

    pub e_type: U16<O>,
    pub e_machine: U16<O>,
    pub e_version: U32<O>,
    pub e_entry: U32<O>,
    pub e_phoff: U32<O>,

    pub e_shoff: U32<O>,
    pub e_flags: U32<O>,
    pub e_ehsize: U16<O>,
    pub e_phentsize: U16<O>,
    /// [`PN_XNUM`] if there are 65,535 program headers or more.
    pub e_phnum: U16<O>,
    pub e_shentsize: U16<O>,

    pub e_shnum: U16<O>,
    pub e_shstrndx: U16<O>,
}

/// `Elf64_Ehdr`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(missing_docs)] // The names are those of elf(5).
pub struct Ehdr64<O: Order> {
    pub e_ident: [u8; 16],

    pub e_type: U16<O>,
    pub e_machine: U16<O>,
    pub e_version: U32<O>,
    pub e_entry: U64<O>,

    pub e_phoff: U64<O>,
    pub e_shoff: U64<O>,

    pub e_flags: U32<O>,
    pub e_ehsize: U16<O>,
    pub e_phentsize: U16<O>,
    /// [`PN_XNUM`] if there are 65,535 program headers or more.
    pub e_phnum: U16<O>,
    pub e_shentsize: U16<O>,
    pub e_shnum: U16<O>,
    pub e_shstrndx: U16<O>,
}

/// `Elf32_Phdr`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(missing_docs)] // The names are those of elf(5).
pub struct Phdr32<O: Order> {
    pub p_type: U32<O>,
    pub p_offset: U32<O>,
    pub p_vaddr: U32<O>,
    pub p_paddr: U32<O>,

    pub p_filesz: U32<O>,
    pub p_memsz: U32<O>,
    pub p_flags: U32<O>,
    pub p_align: U32<O>,
}

/// `Elf64_Phdr`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(missing_docs)] // The names are those of elf(5).
pub struct Phdr64<O: Order> {
    pub p_type: U32<O>,
    pub p_flags: U32<O>,
    pub p_offset: U64<O>,

    pub p_vaddr: U64<O>,
    pub p_paddr: U64<O>,

    pub p_filesz: U64<O>,
    pub p_memsz: U64<O>,

    pub p_align: U64<O>,
}

/// `Elf32_Shdr`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(missing_docs)] // The names are those of elf(5).
pub struct Shdr32<O: Order> {
    pub sh_name: U32<O>,
    pub sh_type: U32<O>,
    pub sh_flags: U32<O>,
    pub sh_addr: U32<O>,

    pub sh_offset: U32<O>,
    pub sh_size: U32<O>,
    pub sh_link: U32<O>,
    /// In section header 0: the number of program headers, if `e_phnum` is
    /// [`PN_XNUM`].
    pub sh_info: U32<O>,

    pub sh_addralign: U32<O>,
    pub sh_entsize: U32<O>,
}

/// `Elf64_Shdr`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(missing_docs)] // The names are those of elf(5).
pub struct Shdr64<O: Order> {
    pub sh_name: U32<O>,
    pub sh_type: U32<O>,
    pub sh_flags: U64<O>,

    pub sh_addr: U64<O>,
    pub sh_offset: U64<O>,

    pub sh_size: U64<O>,
    pub sh_link: U32<O>,
    /// In section header 0: the number of program headers, if `e_phnum` is
    /// [`PN_XNUM`].
    pub sh_info: U32<O>,

    pub sh_addralign: U64<O>,
    pub sh_entsize: U64<O>,
}

/// `Elf32_Nhdr`, which `Elf64_Nhdr` equals.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Nhdr<O: Order> {
    /// Length of the name with its NUL, in bytes, without padding.
    pub n_namesz: U32<O>,
    /// Length of the descriptor in bytes, without padding.
    pub n_descsz: U32<O>,
    /// What the descriptor is; its meaning depends on the name.
    pub n_type: U32<O>,
}

type Le = LittleEndian;

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
const _: () = assert!(size_of::<Shdr32<Le>>() == 10 * 4);
const _: () = assert!(offset_of!(Shdr32<Le>, sh_flags) == 8);
const _: () = assert!(offset_of!(Shdr32<Le>, sh_offset) == 16);
const _: () = assert!(offset_of!(Shdr32<Le>, sh_size) == 20);
const _: () = assert!(offset_of!(Shdr32<Le>, sh_info) == 28);
const _: () = assert!(size_of::<Shdr64<Le>>() == 4 * 4 + 6 * 8);
const _: () = assert!(offset_of!(Shdr64<Le>, sh_flags) == 8);
const _: () = assert!(offset_of!(Shdr64<Le>, sh_offset) == 24);
const _: () = assert!(offset_of!(Shdr64<Le>, sh_size) == 32);
const _: () = assert!(offset_of!(Shdr64<Le>, sh_info) == 44);
const _: () = assert!(size_of::<Nhdr<Le>>() == 12);

/// What an ELF header of a core file says, for either class and byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileHeader {
    /// Class and byte order of all that follows.
    pub encoding: Encoding,
    /// `e_type`.
    pub e_type: u16,
    /// `e_machine`.
    pub machine: u16,
    /// `e_flags`; see [`DUMP_ELF_INCOMPLETE`].
    pub flags: u32,
    /// `e_ehsize`, in bytes. Encoding writes the right one.
    pub ehsize: u16,
    /// File offset of the program headers.
    pub phoff: u64,
    /// Bytes from one program header to the next. Encoding writes the right
    /// one.
    pub phentsize: u16,
    /// Number of program headers, or [`PN_XNUM`].
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

/// What a program header says.
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

/// What a section header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SectionHeader {
    /// `sh_name`: offset of the name in the section with the names.
    pub name: u32,
    /// `sh_type`.
    pub kind: u32,
    /// `sh_flags`.
    pub flags: u64,
    /// File offset of the contents.
    pub offset: u64,
    /// Bytes of the contents.
    pub size: u64,
    /// `sh_info`: in section header 0 the number of program headers, if
    /// `e_phnum` is [`PN_XNUM`].
    pub info: u32,
}

/// Size of the ELF header in bytes.
#[must_use]
pub const fn ehdr_size(class: Class) -> usize {
    match class {
        Class::Bits32 => size_of::<Ehdr32<Le>>(),
        Class::Bits64 => size_of::<Ehdr64<Le>>(),
    }
}

/// Size of a program header in bytes.
#[must_use]
pub const fn phdr_size(class: Class) -> usize {
    match class {
        Class::Bits32 => size_of::<Phdr32<Le>>(),
        Class::Bits64 => size_of::<Phdr64<Le>>(),
    }
}

/// Size of a section header in bytes.
#[must_use]
pub const fn shdr_size(class: Class) -> usize {
    match class {
        Class::Bits32 => size_of::<Shdr32<Le>>(),
        Class::Bits64 => size_of::<Shdr64<Le>>(),
    }
}

impl FileHeader {
    /// Appends the header's bytes to `out`. Values that a 32-bit header
    /// cannot hold are the caller's mistake; they are cut.
    pub fn encode(&self, out: &mut Vec<u8>) {
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
        let (ehsize, phentsize) = (ehdr_size(class) as u16, phdr_size(class) as u16);
        with_order!(order, O => match class {
            Class::Bits32 => out.extend_from_slice(Ehdr32::<O> {
                e_ident,
                e_type: self.e_type.into(),
                e_machine: self.machine.into(),
                e_version: u32::from(EV_CURRENT).into(),
                e_entry: 0.into(),
                e_phoff: (self.phoff as u32).into(),
                e_shoff: (self.shoff as u32).into(),
                e_flags: self.flags.into(),
                e_ehsize: ehsize.into(),
                e_phentsize: phentsize.into(),
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
                e_ehsize: ehsize.into(),
                e_phentsize: phentsize.into(),
                e_phnum: self.phnum.into(),
                e_shentsize: self.shentsize.into(),
                e_shnum: self.shnum.into(),
                e_shstrndx: self.shstrndx.into(),
            }.as_bytes()),
        });
    }

    /// Decodes the header at the beginning of `bytes`; `None` if they are
    /// not an ELF header, or cut short. Give 64 bytes or more.
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

impl ProgramHeader {
    /// Appends the header's bytes to `out`. Values that a 32-bit header
    /// cannot hold are the caller's mistake; they are cut.
    pub fn encode(&self, encoding: Encoding, out: &mut Vec<u8>) {
        with_order!(encoding.order, O => match encoding.class {
            Class::Bits32 => out.extend_from_slice(Phdr32::<O> {
                p_type: self.kind.into(),
                p_offset: (self.offset as u32).into(),
                p_vaddr: (self.vaddr as u32).into(),
                p_paddr: (self.paddr as u32).into(),
                p_filesz: (self.filesz as u32).into(),
                p_memsz: (self.memsz as u32).into(),
                p_flags: self.flags.into(),
                p_align: (self.align as u32).into(),
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
    }

    /// Decodes the header at the beginning of `bytes`; `None` if they are
    /// too few.
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

impl SectionHeader {
    /// Appends the header's bytes to `out`. Values that a 32-bit header
    /// cannot hold are the caller's mistake; they are cut.
    pub fn encode(&self, encoding: Encoding, out: &mut Vec<u8>) {
        with_order!(encoding.order, O => match encoding.class {
            Class::Bits32 => out.extend_from_slice(Shdr32::<O> {
                sh_name: self.name.into(),
                sh_type: self.kind.into(),
                sh_flags: (self.flags as u32).into(),
                sh_offset: (self.offset as u32).into(),
                sh_size: (self.size as u32).into(),
                sh_info: self.info.into(),
                ..Shdr32::new_zeroed()
            }.as_bytes()),
            Class::Bits64 => out.extend_from_slice(Shdr64::<O> {
                sh_name: self.name.into(),
                sh_type: self.kind.into(),
                sh_flags: self.flags.into(),
                sh_offset: self.offset.into(),
                sh_size: self.size.into(),
                sh_info: self.info.into(),
                ..Shdr64::new_zeroed()
            }.as_bytes()),
        });
    }

    /// Decodes the header at the beginning of `bytes`; `None` if they are
    /// too few.
    #[must_use]
    pub fn decode(encoding: Encoding, bytes: &[u8]) -> Option<Self> {
        Some(with_order!(encoding.order, O => match encoding.class {
            Class::Bits32 => {
                let (h, _) = Shdr32::<O>::read_from_prefix(bytes).ok()?;
                Self {
                    name: h.sh_name.get(),
                    kind: h.sh_type.get(),
                    flags: h.sh_flags.get().into(),
                    offset: h.sh_offset.get().into(),
                    size: h.sh_size.get().into(),
                    info: h.sh_info.get(),
                }
            }
            Class::Bits64 => {
                let (h, _) = Shdr64::<O>::read_from_prefix(bytes).ok()?;
                Self {
                    name: h.sh_name.get(),
                    kind: h.sh_type.get(),
                    flags: h.sh_flags.get(),
                    offset: h.sh_offset.get(),
                    size: h.sh_size.get(),
                    info: h.sh_info.get(),
                }
            }
        }))
    }
}

/// Appends section header 0, which holds the number of program headers when
/// `e_phnum` is [`PN_XNUM`], and nothing else.
pub fn encode_section_zero(encoding: Encoding, phnum: u32, out: &mut Vec<u8>) {
    SectionHeader {
        info: phnum,
        ..SectionHeader::default()
    }
    .encode(encoding, out);
}

/// The number of program headers in section header 0; `None` if `bytes` are
/// too few.
#[must_use]
pub fn decode_section_zero(encoding: Encoding, bytes: &[u8]) -> Option<u32> {
    SectionHeader::decode(encoding, bytes).map(|header| header.info)
}

use zerocopy::FromZeros as _;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LE64: Encoding = Encoding {
        class: Class::Bits64,
        order: ByteOrder::Little,
    };
    const BE32: Encoding = Encoding {
        class: Class::Bits32,
        order: ByteOrder::Big,
    };

    fn header(encoding: Encoding) -> FileHeader {
        FileHeader {
            encoding,
            e_type: ET_CORE,
            machine: 62,
            flags: DUMP_ELF_INCOMPLETE,
            ehsize: ehdr_size(encoding.class) as u16,
            phoff: ehdr_size(encoding.class) as u64,
            phentsize: phdr_size(encoding.class) as u16,
            phnum: 0x0302,
            shoff: 0x1234,
            shentsize: shdr_size(encoding.class) as u16,
            shnum: 1,
            shstrndx: 0x0102,
        }
    }

    #[test]
    fn file_header_bytes() {
        let mut bytes = Vec::new();
        header(LE64).encode(&mut bytes);
        #[rustfmt::skip]
        assert_eq!(bytes, [
            0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            4, 0, 62, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            64, 0, 0, 0, 0, 0, 0, 0, 0x34, 0x12, 0, 0, 0, 0, 0, 0,
            1, 0, 0, 0, 64, 0, 56, 0, 2, 3, 64, 0, 1, 0, 2, 1,
        ]);
        assert_eq!(FileHeader::decode(&bytes), Some(header(LE64)));
        bytes.clear();
        header(BE32).encode(&mut bytes);
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
    fn program_header_bytes() {
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
        load.encode(LE64, &mut bytes);
        #[rustfmt::skip]
        assert_eq!(bytes, [
            1, 0, 0, 0, 7, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0,
            0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0x30, 0, 0, 0, 0, 0, 0,
            0, 0x40, 0, 0, 0, 0, 0, 0, 0, 0x50, 0, 0, 0, 0, 0, 0,
            0, 0x60, 0, 0, 0, 0, 0, 0,
        ]);
        assert_eq!(ProgramHeader::decode(LE64, &bytes), Some(load));
        bytes.clear();
        load.encode(BE32, &mut bytes);
        #[rustfmt::skip]
        assert_eq!(bytes, [
            0, 0, 0, 1, 0, 0, 0x10, 0, 0, 0, 0x20, 0, 0, 0, 0x30, 0,
            0, 0, 0x40, 0, 0, 0, 0x50, 0, 0, 0, 0, 7, 0, 0, 0x60, 0,
        ]);
        assert_eq!(ProgramHeader::decode(BE32, &bytes), Some(load));
    }

    #[test]
    fn section_zero_bytes() {
        for (encoding, size, at) in [(LE64, 64, 44), (BE32, 40, 28)] {
            let mut bytes = Vec::new();
            encode_section_zero(encoding, 0x0001_0203, &mut bytes);
            assert_eq!(bytes.len(), size);
            let mut info = [0, 1, 2, 3];
            if encoding.order == ByteOrder::Little {
                info.reverse();
            }
            assert_eq!(bytes[at..at + 4], info);
            assert_eq!(bytes.iter().filter(|b| **b != 0).count(), 3);
            assert_eq!(decode_section_zero(encoding, &bytes), Some(0x0001_0203));
        }
    }

    #[test]
    fn section_header_bytes() {
        let header = SectionHeader {
            name: 0x11,
            kind: SHT_PROGBITS,
            flags: 0x77,
            offset: 0x2233,
            size: 0x4455,
            info: 0x66,
        };
        let mut bytes = Vec::new();
        header.encode(LE64, &mut bytes);
        let mut expected = [0; 64];
        (expected[0], expected[4], expected[44]) = (0x11, 1, 0x66);
        expected[8] = 0x77;
        expected[24..26].copy_from_slice(&[0x33, 0x22]);
        expected[32..34].copy_from_slice(&[0x55, 0x44]);
        assert_eq!(bytes, expected);
        assert_eq!(SectionHeader::decode(LE64, &bytes), Some(header));
        bytes.clear();
        header.encode(BE32, &mut bytes);
        let mut expected = [0; 40];
        (expected[3], expected[7], expected[31]) = (0x11, 1, 0x66);
        expected[11] = 0x77;
        expected[18..20].copy_from_slice(&[0x22, 0x33]);
        expected[22..24].copy_from_slice(&[0x44, 0x55]);
        assert_eq!(bytes, expected);
        assert_eq!(SectionHeader::decode(BE32, &bytes), Some(header));
        assert_eq!(SectionHeader::decode(BE32, &bytes[..39]), None);
    }
}

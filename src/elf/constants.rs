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

use std::mem::size_of;

use zerocopy::byteorder::{ByteOrder as Order, LittleEndian, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::abi::Class;
use crate::elf::{Ehdr32, Ehdr64, Phdr32, Phdr64, Shdr32, Shdr64};

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

/// Sizes do not depend on the byte order.
pub(super) type Le = LittleEndian;

const _: () = assert!(size_of::<Nhdr<Le>>() == 12);

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

#[cfg(test)]
pub(super) mod tests {
    use crate::abi::{ByteOrder, Class, Encoding};

    pub(in crate::elf) const LE64: Encoding = Encoding {
        class: Class::Bits64,
        order: ByteOrder::Little,
    };
    pub(in crate::elf) const BE32: Encoding = Encoding {
        class: Class::Bits32,
        order: ByteOrder::Big,
    };
}

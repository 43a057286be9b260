//! Numbers of ELF core files.
//!
//! Sources: elf(5) and the System V ABI, chapters 4 and 5; `e_flags` of an incomplete dump: makedumpfile
//! `IMPLEMENTATION`, "The incomplete ELF DUMPFILE".
#![forbid(unsafe_code)]

use zerocopy::byteorder::LittleEndian;

/// The byte order in const assertions, on which no size or offset depends.
pub(super) type Le = LittleEndian;

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
/// `p_type` of an unused header.
pub const PT_NULL: u32 = 0;
/// `p_type` of a segment with memory.
pub const PT_LOAD: u32 = 1;
/// `p_type` of the segment with notes.
pub const PT_NOTE: u32 = 4;
/// `p_flags`: readable, writable, executable. Guest RAM is all three.
pub const PF_RWX: u32 = 7;
/// `e_phnum` of a file with 65,535 program headers or more, whose number is in `sh_info` of section
/// header 0.
pub const PN_XNUM: u16 = 0xffff;
/// `sh_type` of section header 0.
pub const SHT_NULL: u32 = 0;
/// `sh_type` of a section whose contents only its writer defines.
pub const SHT_PROGBITS: u32 = 1;
/// `sh_type` of a section with strings.
pub const SHT_STRTAB: u32 = 3;
/// The limit below which numbers of sections are.
pub const SHN_LORESERVE: u16 = 0xff00;
/// `e_flags` of a dump that is not complete.
pub const DUMP_ELF_INCOMPLETE: u32 = 1;

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

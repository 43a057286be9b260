//! Page tables of RISC-V.
//!
//! Source: The RISC-V Instruction Set Manual, volume II, chapter
//! "Supervisor-Level ISA": satp, Sv32, Sv39, Sv48, Sv57; extensions Svnapot
//! and Svpbmt. What Linux says about its tables:
//! `arch/riscv/kernel/vmcore_info.c`.

use super::tree::{Entry, Level, Table, Tree, UpperBits};
use crate::abi::ByteOrder;
use crate::vmcoreinfo::Vmcoreinfo;

/// The page tables of a RISC-V hart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Riscv {
    /// Of a 32-bit hart, by its satp: Sv32.
    Bits32 {
        /// The register.
        satp: u32,
    },
    /// Of a 64-bit hart, by its satp: Sv39, Sv48 or Sv57.
    Bits64 {
        /// The register.
        satp: u64,
    },
}

/// The formats of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// 4-byte entries.
    Sv32,
    /// 8-byte entries: Sv39, Sv48 and Sv57.
    Wide,
}

/// Entry bits: valid; readable, writable, executable, of which none is set
/// in an entry that points to a table.
const V: u64 = 1;
const R: u64 = 1 << 1;
const W: u64 = 1 << 2;
const X: u64 = 1 << 3;
/// Svnapot: the page is one of 16 that are contiguous.
const N: u64 = 1 << 63;
/// satp's MODE of 64-bit harts, in bits 63 to 60.
const SV39: u64 = 8;
const SV48: u64 = 9;
const SV57: u64 = 10;

impl Riscv {
    /// The 64-bit Linux kernel's own page tables, which VMCOREINFO names.
    /// Those of processes are not known from there.
    pub(super) fn of_kernel(info: &Vmcoreinfo) -> Option<Self> {
        let swapper = info.symbol("swapper_pg_dir")?;
        let root = swapper.wrapping_sub(info.number("va_kernel_pa_offset")? as u64);
        let mode = match info.number("VA_BITS")? {
            39 => SV39,
            48 => SV48,
            57 => SV57,
            _ => return None,
        };
        Some(Self::Bits64 {
            satp: mode << 60 | (root >> 12 & 0xfff_ffff_ffff),
        })
    }

    /// `None` if paging is off, or of an unknown kind.
    pub(super) fn tree(&self) -> Option<Tree<Mode>> {
        match *self {
            Self::Bits32 { satp } => (satp >> 31 == 1).then(|| Tree {
                root: Table::whole(u64::from(satp & 0x003f_ffff) << 12),
                levels: Level::of_tree(32, 12, 10),
                entry_size: 4,
                order: ByteOrder::Little,
                upper_bits: UpperBits::Zeroes,
                format: Mode::Sv32,
            }),
            Self::Bits64 { satp } => {
                let address_bits = match satp >> 60 {
                    SV39 => 39,
                    SV48 => 48,
                    SV57 => 57,
                    _ => return None,
                };
                Some(Tree {
                    root: Table::whole((satp & 0xfff_ffff_ffff) << 12),
                    levels: Level::of_tree(address_bits, 12, 9),
                    entry_size: 8,
                    order: ByteOrder::Little,
                    upper_bits: UpperBits::SignExtension,
                    format: Mode::Wide,
                })
            }
        }
    }
}

/// The meaning of an entry for `vaddr`, in a table whose index begins at bit
/// `shift`.
pub(super) fn decode(mode: Mode, entry: u64, shift: u32, vaddr: u64) -> Entry {
    // Bits 53 to 10; above them are reserved bits, PBMT and N.
    let (frame, contiguous) = match mode {
        Mode::Sv32 => (entry >> 10 & 0x003f_ffff, false),
        Mode::Wide => (entry >> 10 & 0xfff_ffff_ffff, entry & N != 0),
    };
    match entry & (V | R | W | X) {
        permissions if permissions & V == 0 => Entry::Absent,
        // Reserved.
        permissions if permissions & (R | W) == W => Entry::Absent,
        V => Entry::Table(Table::whole(frame << 12)),
        // The low bits of the frame number say how many pages there are.
        _ if contiguous && shift == 12 => Entry::Page((frame & !0xf | vaddr >> 12 & 0xf) << 12),
        // A large page must be aligned to its size.
        _ if (frame << 12).trailing_zeros() < shift => Entry::Absent,
        _ => Entry::Page(frame << 12),
    }
}

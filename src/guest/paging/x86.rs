//! Page tables of x86.
//!
//! Source: Intel SDM volume 3A, chapter "Paging", sections "32-Bit Paging",
//! "PAE Paging" and "4-Level Paging and 5-Level Paging"; AMD APM volume 2,
//! chapter "Page Translation and Protection". Reserved bits are not checked.

use super::tree::{Entry, Level, Table, Tree, UpperBits};
use crate::abi::ByteOrder;
use crate::vmcoreinfo::Vmcoreinfo;

/// `CR0.PG`.
const CR0_PG: u64 = 1 << 31;
/// `CR4.PSE`.
const CR4_PSE: u64 = 1 << 4;
/// `CR4.PAE`.
const CR4_PAE: u64 = 1 << 5;
/// `CR4.LA57`.
const CR4_LA57: u64 = 1 << 12;

/// Bit 0 of an entry.
const PRESENT: u64 = 1;
/// `PS`, bit 7 of an entry: it maps a large page.
const LARGE: u64 = 1 << 7;
/// Bits 51 to 12 of an 8-byte entry and of CR3.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// Bits 31 to 12 of a 4-byte entry and of CR3.
const ADDRESS_32: u64 = 0xffff_f000;

/// The page tables of an x86 CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct X86 {
    /// CR3. Bits that are no part of the address are ignored.
    pub cr3: u64,
    /// The kind of tables.
    pub mode: X86Mode,
}

/// The kinds of page tables that x86 has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum X86Mode {
    /// 32-bit paging without PAE.
    TwoLevel {
        /// `CR4.PSE`: 4 MiB pages, whose physical addresses have up to 40
        /// bits (PSE-36).
        pse: bool,
    },
    /// 32-bit paging with PAE.
    Pae,
    /// 64-bit paging with 48-bit virtual addresses.
    FourLevel,
    /// 64-bit paging with 57-bit virtual addresses.
    FiveLevel,
}

impl X86Mode {
    /// The mode that the control registers select; `None` if paging is off.
    /// `long_mode` is `EFER.LMA`, which counts only with `CR4.PAE`.
    #[must_use]
    pub const fn of_registers(cr0: u64, cr4: u64, long_mode: bool) -> Option<Self> {
        if cr0 & CR0_PG == 0 {
            return None;
        }
        Some(if cr4 & CR4_PAE == 0 {
            Self::TwoLevel {
                pse: cr4 & CR4_PSE != 0,
            }
        } else if !long_mode {
            Self::Pae
        } else if cr4 & CR4_LA57 == 0 {
            Self::FourLevel
        } else {
            Self::FiveLevel
        })
    }
}

impl X86 {
    /// The 64-bit kernel's own page tables, which VMCOREINFO names. A CPU
    /// that runs a process may have tables without the kernel (page table
    /// isolation). `physical` gives the guest-physical address of the
    /// kernel's static data.
    pub(super) fn of_kernel(
        info: &Vmcoreinfo,
        physical: impl Fn(u64) -> Option<u64>,
    ) -> Option<Self> {
        let five_levels = info.number("pgtable_l5_enabled") == Some(1);
        Some(Self {
            cr3: physical(info.symbol("init_top_pgt")?)?,
            mode: if five_levels {
                X86Mode::FiveLevel
            } else {
                X86Mode::FourLevel
            },
        })
    }

    pub(super) fn tree(&self) -> Tree<X86Mode> {
        let (root, address_bits, table_bits, upper_bits) = match self.mode {
            X86Mode::TwoLevel { .. } => (self.cr3 & ADDRESS_32, 32, 10, UpperBits::Zeroes),
            // Four entries, aligned to their 32 bytes.
            X86Mode::Pae => (self.cr3 & 0xffff_ffe0, 32, 9, UpperBits::Zeroes),
            X86Mode::FourLevel => (self.cr3 & ADDRESS, 48, 9, UpperBits::SignExtension),
            X86Mode::FiveLevel => (self.cr3 & ADDRESS, 57, 9, UpperBits::SignExtension),
        };
        Tree {
            root: Table::whole(root),
            levels: Level::of_tree(address_bits, 12, table_bits),
            entry_size: if table_bits == 10 { 4 } else { 8 },
            order: ByteOrder::Little,
            upper_bits,
            format: self.mode,
        }
    }
}

/// The meaning of an entry of a table whose index begins at bit `shift`.
pub(super) fn decode(mode: X86Mode, entry: u64, shift: u32) -> Entry {
    if entry & PRESENT == 0 {
        return Entry::Absent;
    }
    let (address, large) = match mode {
        X86Mode::TwoLevel { pse } => (entry & ADDRESS_32, pse && shift == 22),
        X86Mode::Pae => (entry & ADDRESS, shift == 21),
        X86Mode::FourLevel | X86Mode::FiveLevel => (entry & ADDRESS, shift == 21 || shift == 30),
    };
    if shift == 12 {
        return Entry::Page(address);
    }
    if !large || entry & LARGE == 0 {
        return Entry::Table(Table::whole(address));
    }
    let page = address & (u64::MAX << shift);
    Entry::Page(match mode {
        // PSE-36: bits 39 to 32 are in bits 20 to 13.
        X86Mode::TwoLevel { .. } => page | (entry >> 13 & 0xff) << 32,
        _ => page,
    })
}

//! Page tables of 64-bit PowerPC: the radix tree of the Linux kernel.
//!
//! Defined in Power ISA version 3.0, book III, "Radix Tree Translation". Source
//! of the bits: QEMU `target/ppc/mmu-radix64.h` and Linux
//! `arch/powerpc/include/asm/book3s/64/pgtable.h`; of which tables Linux makes:
//! `radix-4k.h`, `radix-64k.h` and `radix.h` (`RADIX_PGD_VAL_BITS` and the
//! others) beside it, `arch/powerpc/mm/book3s64/radix_pgtable.c`. Entries are
//! big-endian on little-endian guests too.
//!
//! The hash MMU has no tree: where such a kernel has its memory is not found
//! by walking (`linux/vmemmap_list.rs`).

use super::tree::{Entry, Level, Table, Tree, UpperBits};
use crate::abi::ByteOrder;

/// The radix tree of a 64-bit PowerPC kernel: quadrant 3, whose addresses
/// begin with the bits 11.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ppc64Radix {
    /// Guest-physical address of the root page directory.
    pub root: u64,
    /// The kernel's page size in bytes: 4 KiB or 64 KiB.
    pub page_size: u64,
}

/// What decides how entries are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entries {
    page_shift: u32,
}

/// V and L (leaf), bits 0 and 1 of an entry.
const VALID: u64 = 1 << 63;
const LEAF: u64 = 1 << 62;
/// Real page number of a leaf, bits 7 to 51.
const RPN: u64 = 0x01ff_ffff_ffff_f000;
/// Next level base, bits 4 to 55, and next level size, bits 59 to 63: 2 to
/// the power of this many entries.
const NLB: u64 = 0x0fff_ffff_ffff_ff00;
const NLS: u64 = 0x1f;

/// Where quadrant 3 begins: the two highest bits; bits 2 to 11 are 0.
const KERNEL: u64 = 3 << 62;
/// The root has 2 to the power of 13 entries, the two levels below it 2 to
/// the power of 9, and the last one the rest.
const ROOT: Level = Level {
    shift: 39,
    bits: 13,
};
const GIGABYTE: Level = Level { shift: 30, bits: 9 };
const TWO_MEGABYTES: Level = Level { shift: 21, bits: 9 };

impl Ppc64Radix {
    /// `None` for a page size that no kernel has.
    pub(super) fn tree(&self) -> Option<Tree<Entries>> {
        let page_shift = match self.page_size {
            0x1000 => 12,
            0x1_0000 => 16,
            _ => return None,
        };
        let last = Level {
            shift: page_shift,
            bits: TWO_MEGABYTES.shift - page_shift,
        };
        Some(Tree {
            root: Table::whole(self.root),
            levels: vec![ROOT, GIGABYTE, TWO_MEGABYTES, last],
            entry_size: 8,
            order: ByteOrder::Big,
            upper_bits: UpperBits::Value(KERNEL),
            format: Entries { page_shift },
        })
    }
}

impl Entries {
    /// The meaning of an entry of a table whose index begins at bit `shift`.
    pub(super) fn decode(self, entry: u64, shift: u32) -> Entry {
        if entry & VALID == 0 {
            return Entry::Absent;
        }
        if entry & LEAF != 0 {
            // No CPU has pages of the root's size.
            return if shift < ROOT.shift {
                Entry::Page(entry & RPN & u64::MAX << shift)
            } else {
                Entry::Absent
            };
        }
        let next = match shift {
            39 => GIGABYTE.bits,
            30 => TWO_MEGABYTES.bits,
            _ => TWO_MEGABYTES.shift - self.page_shift,
        };
        // Another size is not one of Linux's tables.
        if entry & NLS == u64::from(next) {
            Entry::Table(Table::whole(entry & NLB))
        } else {
            Entry::Absent
        }
    }
}

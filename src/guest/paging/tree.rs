//! Trees of page tables, whatever the format of their entries.

use std::ops::Range;

use crate::abi::ByteOrder;

/// The meaning of an entry of a page table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    Absent,
    /// The next table.
    Table(Table),
    /// Guest-physical address of a page, of the size of the entry's level.
    Page(u64),
}

/// A table of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Table {
    /// Guest-physical address that its first entry has or would have.
    pub(super) gpa: u64,
    /// The quarters of it that there are: the first and the last one. Only
    /// z/Architecture has tables that are not whole.
    pub(super) quarters: (u8, u8),
}

impl Table {
    /// All of a table.
    pub(super) const fn whole(gpa: u64) -> Self {
        Self {
            gpa,
            quarters: (0, 3),
        }
    }

    /// The indexes of the entries that a table of `level` has.
    pub(super) fn indexes(self, level: Level) -> Range<usize> {
        let (first, last) = self.quarters;
        let entries = 1usize << level.bits;
        let start = entries * usize::from(first) / 4;
        start..(entries * (usize::from(last) + 1) / 4).max(start)
    }

    /// The guest-physical address of the entry `index`.
    pub(super) fn entry(self, index: usize, entry_size: usize) -> u64 {
        // An entry after the last address is no RAM either.
        self.gpa.saturating_add((index * entry_size) as u64)
    }
}

/// The bits of a virtual address that are the index into a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Level {
    /// The lowest of them.
    pub(super) shift: u32,
    /// How many.
    pub(super) bits: u32,
}

/// A tree of page tables whose entries are in the format `F`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tree<F> {
    /// The first table.
    pub(super) root: Table,
    /// The tables' levels, the root's first.
    pub(super) levels: Vec<Level>,
    /// Bytes of an entry, 4 or 8.
    pub(super) entry_size: usize,
    /// Byte order of entries.
    pub(super) order: ByteOrder,
    pub(super) upper_bits: UpperBits,
    pub(super) format: F,
}

/// The bits of a virtual address above those that the tables translate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UpperBits {
    Zeroes,
    Ones,
    /// Copies of the highest bit that is translated.
    SignExtension,
    /// These.
    Value(u64),
}

impl Level {
    /// The levels of a tree that translates `address_bits` bits, the root's
    /// first. Pages have 2 to the power of `page_shift` bytes, and tables 2 to
    /// the power of `table_bits` entries. The root's table may be smaller.
    pub(super) fn of_tree(address_bits: u32, page_shift: u32, table_bits: u32) -> Vec<Self> {
        let mut levels: Vec<Self> = (page_shift..address_bits)
            .step_by(table_bits as usize)
            .map(|shift| Self {
                shift,
                bits: table_bits.min(address_bits - shift),
            })
            .collect();
        levels.reverse();
        levels
    }
}

impl<F> Tree<F> {
    /// Returns the tree with another name for its format.
    pub(super) fn map_format<G>(self, name: impl FnOnce(F) -> G) -> Tree<G> {
        let Self {
            root,
            levels,
            entry_size,
            order,
            upper_bits,
            format,
        } = self;
        Tree {
            root,
            levels,
            entry_size,
            order,
            upper_bits,
            format: name(format),
        }
    }

    /// `vaddr`, whose upper bits are 0, as the CPU has it.
    pub(super) fn complete(&self, vaddr: u64) -> u64 {
        let root = self.levels[0];
        let address_bits = root.shift + root.bits;
        let above = u64::MAX.checked_shl(address_bits).unwrap_or(0);
        let sign = vaddr >> (address_bits - 1) & 1;
        let upper = match self.upper_bits {
            UpperBits::Zeroes => 0,
            UpperBits::Ones => above,
            UpperBits::SignExtension => above & 0u64.wrapping_sub(sign),
            UpperBits::Value(upper) => upper,
        };
        vaddr & !above | upper
    }

    /// The entry that these bytes are.
    pub(super) fn entry(&self, bytes: &[u8]) -> u64 {
        self.order.number(bytes)
    }

    pub(super) fn contains(&self, vaddr: u64) -> bool {
        self.complete(vaddr) == vaddr
    }
}

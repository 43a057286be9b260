//! The walk down a tree of page tables.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use crate::abi::ByteOrder;
use crate::fault::Fault;
use crate::guest::paging::{
    AddressSpace, ReadPhysical, TranslateError, aarch64, ppc64, riscv, s390x, x86,
};
use crate::memory::MemoryRange;
use crate::workers::Progress;

/// How much work a guest's page tables may make.
///
/// The default fits guests with terabytes of RAM. A hostile guest can make
/// [`mappings`] read 4 GiB of tables, which takes seconds, and use about
/// 100 MiB of memory; no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// The most mappings that are kept, 24 bytes of memory each.
    pub mappings: usize,
    /// The most bytes of page tables that are read. A table that is reached
    /// in two ways counts twice.
    pub table_bytes: u64,
}

impl Default for Budget {
    /// 1,048,576 mappings, 4 GiB of tables.
    fn default() -> Self {
        Self {
            mappings: 1 << 20,
            table_bytes: 4 << 30,
        }
    }
}

/// How often one table is walked in one address space, at different virtual
/// addresses. Kernels do share tables, to map one page of zeroes a million
/// times for example; more than this says nothing new.
const MAX_VISITS: u32 = 64;

/// RAM at a virtual address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mapping {
    /// Guest-virtual address of the first byte.
    pub vaddr: u64,
    /// Guest-physical address of the first byte.
    pub gpa: u64,
    /// Length in bytes.
    pub size: u64,
}

/// What the page tables map, and how much of that is not known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Mappings {
    /// By virtual address, then by physical address. What is contiguous in
    /// both is one mapping. Two of them share virtual addresses only if
    /// the address spaces differ there.
    pub list: Vec<Mapping>,
    /// Tables that were read.
    pub tables: u64,
    /// References to tables that were not followed, because the budget was
    /// used up or the table was walked often enough.
    pub cut_tables: u64,
    /// Bytes of pages that were found and not kept, because the budget was
    /// used up.
    pub cut_bytes: u64,
    /// References to tables that cannot be read: outside RAM for example.
    pub unreadable_tables: u64,
}

impl Mappings {
    /// Whether the budget cut anything off.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.cut_tables > 0 || self.cut_bytes > 0
    }
}

/// What an entry of a page table says.
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

    /// The entries that there are, of a table of `level`.
    fn indexes(self, level: Level) -> Range<usize> {
        let (first, last) = self.quarters;
        let entries = 1usize << level.bits;
        let start = entries * usize::from(first) / 4;
        start..(entries * (usize::from(last) + 1) / 4).max(start)
    }

    /// Guest-physical address of the entry `index`.
    fn entry(self, index: usize, entry_size: usize) -> u64 {
        // What would lie behind the last address is no RAM either.
        self.gpa.saturating_add((index * entry_size) as u64)
    }
}

/// What the entries of a tree's tables mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    X86(x86::X86Mode),
    Aarch64(aarch64::Descriptors),
    Riscv(riscv::Mode),
    S390x,
    Ppc64(ppc64::Entries),
}

impl Format {
    /// The meaning of `entry` in a table of `level`, for `vaddr`.
    fn decode(&self, entry: u64, level: Level, vaddr: u64) -> Entry {
        match self {
            Self::X86(mode) => x86::decode(*mode, entry, level.shift),
            Self::Aarch64(descriptors) => descriptors.decode(entry, level.shift),
            Self::Riscv(mode) => riscv::decode(*mode, entry, level.shift, vaddr),
            Self::S390x => s390x::decode(entry, level.shift),
            Self::Ppc64(entries) => entries.decode(entry, level.shift),
        }
    }
}

/// Which bits of a virtual address are the index into a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Level {
    /// The lowest of them.
    pub(super) shift: u32,
    /// How many.
    pub(super) bits: u32,
}

/// A tree of page tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tree {
    /// The first table.
    pub(super) root: Table,
    /// The tables' levels, the root's first.
    pub(super) levels: Vec<Level>,
    /// Bytes of an entry, 4 or 8.
    pub(super) entry_size: usize,
    /// Byte order of entries.
    pub(super) order: ByteOrder,
    pub(super) upper_bits: UpperBits,
    pub(super) format: Format,
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

impl Tree {
    /// The levels of a tree that translates `address_bits` bits with pages
    /// of 2 to the power of `page_shift` bytes and tables of 2 to the power
    /// of `table_bits` entries; the root's table may be smaller.
    pub(super) fn levels(address_bits: u32, page_shift: u32, table_bits: u32) -> Vec<Level> {
        let mut levels: Vec<Level> = (page_shift..address_bits)
            .step_by(table_bits as usize)
            .map(|shift| Level {
                shift,
                bits: table_bits.min(address_bits - shift),
            })
            .collect();
        levels.reverse();
        levels
    }

    /// `vaddr`, whose upper bits are 0, as the CPU has it.
    fn complete(&self, vaddr: u64) -> u64 {
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
    fn entry(&self, bytes: &[u8]) -> u64 {
        self.order.number(bytes)
    }

    pub(super) fn contains(&self, vaddr: u64) -> bool {
        self.complete(vaddr) == vaddr
    }

    pub(super) fn translate(
        &self,
        read: &ReadPhysical<'_>,
        vaddr: u64,
    ) -> Result<(u64, u64), TranslateError> {
        let mut table = self.root;
        for level in &self.levels {
            let index = (vaddr >> level.shift & ((1 << level.bits) - 1)) as usize;
            if !table.indexes(*level).contains(&index) {
                break;
            }
            let gpa = table.entry(index, self.entry_size);
            let mut bytes = [0; 8];
            let bytes = &mut bytes[..self.entry_size];
            read(gpa, bytes).map_err(|source| TranslateError::Table { vaddr, gpa, source })?;
            match self.format.decode(self.entry(bytes), *level, vaddr) {
                Entry::Absent => break,
                Entry::Table(next) => table = next,
                Entry::Page(gpa) => {
                    let size = 1 << level.shift;
                    let offset = vaddr & (size - 1);
                    return Ok((gpa | offset, size - offset));
                }
            }
        }
        Err(TranslateError::NotMapped { vaddr })
    }
}

/// Everything that `spaces` map, as far as it is in `ram`, which ascends.
/// Address spaces with the same tables are walked once.
///
/// Of each address space the upper half of the addresses, where kernels live,
/// is walked first, so that a budget cuts processes before the kernel.
///
/// # Errors
///
/// [`Fault::Cancelled`] if `progress` says so.
pub fn mappings(
    spaces: &[AddressSpace],
    read: &ReadPhysical<'_>,
    ram: &[MemoryRange],
    budget: Budget,
    progress: &Progress,
) -> Result<Mappings, Fault> {
    let mut walk = Walk {
        read,
        ram: joined(ram),
        budget,
        progress,
        table_bytes: 0,
        full: false,
        visits: HashMap::new(),
        walked: HashSet::new(),
        found: Mappings::default(),
    };
    let mut trees: Vec<Tree> = Vec::new();
    for tree in spaces.iter().flat_map(AddressSpace::trees) {
        if !trees.contains(&tree) {
            walk.tree(&tree)?;
            trees.push(tree);
        }
    }
    let mut found = walk.found;
    join_mappings(&mut found.list);
    Ok(found)
}

/// The ranges with those that touch made one, so that a page in many of them
/// is not many pieces.
fn joined(ranges: &[MemoryRange]) -> Vec<(u64, u64)> {
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if last.1 == range.start() => last.1 = range.end(),
            _ => joined.push((range.start(), range.end())),
        }
    }
    joined
}

/// Joins mappings that go on or repeat one another, and sorts them.
fn join_mappings(list: &mut Vec<Mapping>) {
    let distance = |m: &Mapping| m.gpa.wrapping_sub(m.vaddr);
    list.sort_unstable_by_key(|m| (distance(m), m.vaddr));
    list.dedup_by(|next, last| {
        let inside = next.vaddr - last.vaddr.min(next.vaddr);
        let joins = distance(next) == distance(last) && inside <= last.size;
        if joins {
            last.size = last.size.max(inside + next.size);
        }
        joins
    });
    list.sort_unstable();
}

struct Walk<'a> {
    read: &'a ReadPhysical<'a>,
    /// Start and end of RAM; what follows does not touch.
    ram: Vec<(u64, u64)>,
    budget: Budget,
    progress: &'a Progress,
    table_bytes: u64,
    /// No mapping can be kept any more.
    full: bool,
    /// How often each table of the present tree was walked.
    visits: HashMap<u64, u32>,
    /// Virtual address and table of each one directly below a root. Kernels
    /// share them among all address spaces.
    walked: HashSet<(u64, Table)>,
    found: Mappings,
}

impl Walk<'_> {
    fn tree(&mut self, tree: &Tree) -> Result<(), Fault> {
        self.visits.clear();
        self.table(tree, 0, tree.root, 0)
    }

    /// Walks `table`, whose first entry is for `vaddr`.
    fn table(&mut self, tree: &Tree, depth: usize, table: Table, vaddr: u64) -> Result<(), Fault> {
        if self.progress.is_cancelled() {
            return Err(Fault::Cancelled);
        }
        if depth == 1 && !self.walked.insert((tree.complete(vaddr), table)) {
            return Ok(());
        }
        let level = tree.levels[depth];
        let indexes = table.indexes(level);
        let len = tree.entry_size * indexes.len();
        let gpa = table.entry(indexes.start, tree.entry_size);
        if !self.admit(gpa, len as u64) {
            self.found.cut_tables += 1;
            return Ok(());
        }
        let mut bytes = vec![0; len];
        if (self.read)(gpa, &mut bytes).is_err() {
            self.found.unreadable_tables += 1;
            return Ok(());
        }
        self.found.tables += 1;
        let Range { start, end } = indexes;
        let middle = match depth {
            0 => (1 << level.bits >> 1).clamp(start, end),
            _ => start,
        };
        for index in (middle..end).chain(start..middle) {
            let at = (index - start) * tree.entry_size;
            let entry = tree.entry(&bytes[at..at + tree.entry_size]);
            let vaddr = vaddr | (index as u64) << level.shift;
            match tree.format.decode(entry, level, vaddr) {
                Entry::Table(next) if depth + 1 < tree.levels.len() => {
                    self.table(tree, depth + 1, next, vaddr)?;
                }
                Entry::Page(gpa) => self.page(tree.complete(vaddr), gpa, 1 << level.shift),
                Entry::Absent | Entry::Table(_) => {}
            }
        }
        Ok(())
    }

    /// Whether the budget has room for the table.
    fn admit(&mut self, gpa: u64, len: u64) -> bool {
        if self.full || self.table_bytes + len > self.budget.table_bytes {
            return false;
        }
        let visits = self.visits.entry(gpa).or_default();
        if *visits == MAX_VISITS {
            return false;
        }
        *visits += 1;
        self.table_bytes += len;
        true
    }

    /// Keeps what of a page is RAM.
    fn page(&mut self, vaddr: u64, gpa: u64, size: u64) {
        let end = gpa.saturating_add(size);
        let first = self.ram.partition_point(|ram| ram.1 <= gpa);
        let mut at = gpa;
        for i in first..self.ram.len() {
            let (start, stop) = (self.ram[i].0.max(at), self.ram[i].1.min(end));
            if start >= stop {
                break;
            }
            if !self.keep(Mapping {
                vaddr: vaddr + (start - gpa),
                gpa: start,
                size: stop - start,
            }) {
                self.found.cut_bytes = self.found.cut_bytes.saturating_add(end - start);
                break;
            }
            at = stop;
        }
    }

    fn keep(&mut self, new: Mapping) -> bool {
        let list = &mut self.found.list;
        if let Some(last) = list.last_mut() {
            let goes_on = |start: u64, next: u64| start.checked_add(last.size) == Some(next);
            if goes_on(last.vaddr, new.vaddr) && goes_on(last.gpa, new.gpa) {
                last.size += new.size;
                return true;
            }
        }
        self.full |= list.len() >= self.budget.mappings;
        if !self.full {
            list.push(new);
        }
        !self.full
    }
}

//! The walk through trees of page tables, which lists all mappings.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::address_space::AddressSpace;
use super::format::Format;
use super::physical::ReadPhysical;
use super::tree::{Entry, Table, Tree};
use crate::fault::Fault;
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
    let mut trees: Vec<Tree<Format>> = Vec::new();
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
    fn tree(&mut self, tree: &Tree<Format>) -> Result<(), Fault> {
        self.visits.clear();
        self.table(tree, 0, tree.root, 0)
    }

    /// Walks `table`, whose first entry is for `vaddr`.
    fn table(
        &mut self,
        tree: &Tree<Format>,
        depth: usize,
        table: Table,
        vaddr: u64,
    ) -> Result<(), Fault> {
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

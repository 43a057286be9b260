//! What an x86_64 Linux kernel's page tables say about where RAM is.
//!
//! The kernel maps all RAM, and nothing else, in its direct map: the lowest
//! mapping in the kernel's half of the address space.
//!
//! Source: Linux `Documentation/arch/x86/x86_64/mm.rst`.

use crate::guest::paging::{Budget, address_spaces, mappings};
use crate::guest::reader::Guest;
use crate::memory::{MIN_PAGE_SIZE, MemoryRange};
use crate::process_core::RamBlock;
use crate::vmcoreinfo::Vmcoreinfo;
use crate::workers::Progress;

/// The lowest address of the kernel's half, with any number of levels.
const KERNEL_HALF: u64 = 1 << 63;
/// Physical addresses are below this.
const PHYSICAL_END: u64 = 1 << 52;
/// What all walks of one search may take: a direct map of pages of 4 KiB of a
/// guest with 128 GiB. Larger guests have larger pages. A guest may pretend to
/// have many kernels, each with tables of its own.
pub(super) const BUDGET: Budget = Budget {
    mappings: 1 << 20,
    table_bytes: 256 << 20,
};
/// RAM of every PC.
const ONE_MIB: u64 = 1 << 20;
/// Where RAM goes on that did not fit below the PCI hole.
const HIGH: u64 = 4 << 30;

/// Whether the direct map of the kernel that `info` describes agrees with
/// the RAM `blocks`, of which `guest` may lack parts: it reaches to their
/// end, and it has nothing besides them. What lies above 4 GiB has to be
/// mapped to its last page; of what lies below, firmware may keep the end for
/// itself.
///
/// A table that cannot be read proves nothing, and may be what is wrong; nor
/// does a walk for which `budget` is not enough. The tables that were read are
/// taken off `budget`.
pub(super) fn confirms(
    guest: Guest<'_>,
    blocks: &[RamBlock],
    info: &Vmcoreinfo,
    budget: &mut Budget,
    progress: &Progress,
) -> bool {
    check(guest, blocks, info, budget, progress).unwrap_or(false)
}

fn check(
    guest: Guest<'_>,
    blocks: &[RamBlock],
    info: &Vmcoreinfo,
    budget: &mut Budget,
    progress: &Progress,
) -> Option<bool> {
    let mapped = direct_map(guest, info, budget, progress)?;
    let maps = |gpa: u64| {
        mapped
            .iter()
            .any(|range| range.contains(gpa, MIN_PAGE_SIZE))
    };
    let mut ends = blocks.iter().map(|block| block.range.end());
    let low_end = ends.rfind(|end| *end <= HIGH)?;
    let end = blocks.last()?.range.end();
    let covered = maps(ONE_MIB)
        && maps(low_end / 4 * 3 / MIN_PAGE_SIZE * MIN_PAGE_SIZE)
        && (end <= HIGH || (maps(HIGH) && maps(end - MIN_PAGE_SIZE)));
    let gap = MemoryRange::new(low_end, HIGH - low_end).ok();
    let high_end = end.max(HIGH);
    let rest = MemoryRange::new(high_end, PHYSICAL_END.checked_sub(high_end)?).ok();
    let outside = |range: &MemoryRange| {
        let outside = [gap, rest];
        let mut outside = outside.iter().flatten();
        outside.any(|part| part.intersection(range).is_some())
    };
    Some(covered && !mapped.iter().any(outside))
}

/// What the kernel's direct map has.
fn direct_map(
    guest: Guest<'_>,
    info: &Vmcoreinfo,
    budget: &mut Budget,
    progress: &Progress,
) -> Option<Vec<MemoryRange>> {
    let read = |gpa: u64, buf: &mut [u8]| guest.read(gpa, buf);
    let spaces = address_spaces(guest.machine, &[], &[], Some(info), &read).ok()?;
    let all = [MemoryRange::new(0, PHYSICAL_END).ok()?];
    // The direct map comes first in what the budget allows.
    let found = mappings(&spaces, &read, &all, *budget, progress).ok()?;
    let taken = found.tables.saturating_mul(MIN_PAGE_SIZE);
    budget.table_bytes = budget.table_bytes.saturating_sub(taken);
    if found.unreadable_tables > 0 {
        return None;
    }
    let mut kernel = found.list.iter().filter(|m| m.vaddr >= KERNEL_HALF);
    let base = kernel.next().map(|m| m.vaddr.wrapping_sub(m.gpa))?;
    let direct = found
        .list
        .iter()
        .filter(|m| m.vaddr.wrapping_sub(m.gpa) == base);
    Some(
        direct
            .filter_map(|m| MemoryRange::new(m.gpa, m.size).ok())
            .collect(),
    )
}

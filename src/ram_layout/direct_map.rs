//! The direct map of an x86_64 Linux kernel: a proof of where RAM lies.
//!
//! The kernel maps all RAM, and only RAM, in its direct map. The direct map is
//! the lowest mapping in the kernel's half of the address space.
//!
//! Source: Linux `Documentation/arch/x86/x86_64/mm.rst`.

use crate::guest::paging::{Budget, address_spaces, mappings};
use crate::guest::reader::Guest;
use crate::memory::{MIN_PAGE_SIZE, MemoryRange};
use crate::ram_layout::RamPiece;
use crate::vmcoreinfo::Vmcoreinfo;
use crate::workers::Progress;

/// The lowest address of the kernel's half, with any number of levels.
const KERNEL_HALF: u64 = 1 << 63;
/// Limit of physical addresses.
const PHYSICAL_END: u64 = 1 << 52;
/// Budget of all walks of one search: enough for a direct map in 4 KiB pages of
/// a guest with 128 GiB.
///
/// Larger guests have larger pages. A hostile guest may pretend to contain many
/// kernels, each with tables of its own.
pub(super) const BUDGET: Budget = Budget {
    mappings: 1 << 20,
    table_bytes: 256 << 20,
};
/// An address at which every PC has RAM.
const ONE_MIB: u64 = 1 << 20;
/// The size of a large page, of which at least a part has to be mapped.
const NEAR: u64 = 2 << 20;
/// The address at which RAM continues after the PCI hole.
const HIGH: u64 = 4 << 30;

/// Returns whether the direct map of the kernel that `info` describes agrees with
/// the RAM in `pieces`: it reaches their end and maps nothing else.
///
/// `guest` may lack parts of the pieces. RAM above 4 GiB must be mapped to its
/// last 2 MiB. Firmware may reserve the end of the RAM below 4 GiB.
///
/// The answer is no if a table cannot be read, or if `budget` is too small for
/// the walk. The tables that are read are subtracted from `budget`.
pub(super) fn confirms(
    guest: Guest<'_>,
    pieces: &[RamPiece],
    info: &Vmcoreinfo,
    budget: &mut Budget,
    progress: &Progress,
) -> bool {
    check(guest, pieces, info, budget, progress).unwrap_or(false)
}

fn check(
    guest: Guest<'_>,
    pieces: &[RamPiece],
    info: &Vmcoreinfo,
    budget: &mut Budget,
    progress: &Progress,
) -> Option<bool> {
    let mapped = direct_map(guest, info, budget, progress)?;
    // Single pages may be taken out of the direct map (poisoned ones, KFENCE, `memfd_secret`).
    let maps_near = |gpa: u64| {
        let near = MemoryRange::new(gpa / NEAR * NEAR, NEAR).ok();
        near.is_some_and(|near| {
            mapped
                .iter()
                .any(|range| near.intersection(range).is_some())
        })
    };
    let mut ends = pieces.iter().map(|piece| piece.range.end());
    let low_end = ends.rfind(|end| *end <= HIGH)?;
    let end = pieces.last()?.range.end();
    let covered = maps_near(ONE_MIB)
        && maps_near(low_end / 4 * 3)
        && (end <= HIGH || (maps_near(HIGH) && maps_near(end - MIN_PAGE_SIZE)));
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

/// Returns the physical memory in the kernel's direct map.
fn direct_map(
    guest: Guest<'_>,
    info: &Vmcoreinfo,
    budget: &mut Budget,
    progress: &Progress,
) -> Option<Vec<MemoryRange>> {
    let read = |gpa: u64, buf: &mut [u8]| guest.read(gpa, buf);
    let spaces = address_spaces(
        guest.machine,
        &[],
        &[],
        Some(info),
        guest.ram_start(),
        &read,
    )
    .ok()?;
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::arch::Machine;
    use crate::memory::{GuestMemory, SliceMemory};

    const MIB: u64 = 1 << 20;
    const SIZE: u64 = 16 * MIB;

    /// Whether a direct map of 16 MiB proves its RAM, if neither the pages of 4 KiB in `small` nor
    /// the large page at `large` are mapped.
    fn is_proven(small: &[u64], large: Option<u64>) -> bool {
        const TOP: u64 = 0x10_0000;
        const LARGE: u64 = 0x83;
        let mut ram = vec![0; SIZE as usize];
        let mut put = |at: u64, entry: u64| {
            ram[at as usize..][..8].copy_from_slice(&entry.to_le_bytes());
        };
        // The entry of 0xffff888000000000.
        put(TOP + 273 * 8, (TOP + 0x1000) | 3);
        put(TOP + 0x1000, (TOP + 0x2000) | 3);
        put(TOP + 0x2000, (TOP + 0x3000) | 3);
        for gpa in (NEAR..SIZE).step_by(NEAR as usize) {
            let entry = if large == Some(gpa) { 0 } else { gpa | LARGE };
            put(TOP + 0x2000 + gpa / NEAR * 8, entry);
        }
        for gpa in (0..NEAR).step_by(4096) {
            let entry = if small.contains(&gpa) { 0 } else { gpa | 3 };
            put(TOP + 0x3000 + gpa / 4096 * 8, entry);
        }
        let memory = SliceMemory::new([(0, &ram[..])]).unwrap();
        let ranges = memory.ranges();
        let guest = Guest {
            memory: &memory,
            ranges: &ranges,
            machine: Machine::X86_64,
        };
        let text = b"OSRELEASE=6.1\nSYMBOL(init_top_pgt)=ffffffff80100000\nNUMBER(phys_base)=0\n";
        let pieces = ranges.iter().map(|range| RamPiece {
            range: *range,
            offset: 0,
        });
        let pieces: Vec<_> = pieces.collect();
        let info = Vmcoreinfo::parse(text).unwrap();
        confirms(guest, &pieces, &info, &mut BUDGET.clone(), &Progress::new())
    }

    #[test]
    fn single_pages_may_be_missing_and_large_ones_not() {
        assert!(is_proven(&[], None));
        assert!(is_proven(&[MIB, MIB + 4096], None));
        assert!(is_proven(&[], Some(4 * MIB)));
        assert!(!is_proven(&[], Some(12 * MIB)));
    }
}

//! What an x86_64 Linux kernel's page tables say about where RAM ends.
//!
//! The kernel maps all RAM, and nothing else, in its direct map: the lowest
//! mapping in the kernel's half of the address space, which begins with
//! guest-physical address 0.
//!
//! Sources: Linux `Documentation/arch/x86/x86_64/mm.rst`; Intel SDM volume
//! 3, chapter 5, for the entries.

use std::ops::Range;

use zerocopy::IntoBytes;

use super::RamBlock;
use crate::guest::Guest;
use crate::memory::MIN_PAGE_SIZE;
use crate::vmcoreinfo::Vmcoreinfo;

const PRESENT: u64 = 1;
/// In an entry of level 2 or 3: a page of 2 MiB or 1 GiB.
const LARGE: u64 = 1 << 7;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const ENTRIES: usize = 512;
/// In the topmost table, the first entry of the kernel's half.
const KERNEL_ENTRY: usize = ENTRIES / 2;
/// The level whose entries map 1 GiB each.
const GIB_LEVEL: u32 = 3;
/// RAM of every PC.
const ONE_MIB: u64 = 1 << 20;
/// Where RAM goes on that did not fit below the PCI hole.
const HIGH: u64 = 4 << 30;
/// How many tables are read in search of more RAM, at most: some kernels
/// have thousands, a hostile guest's can be one another's.
const MAX_TABLES: u32 = 1 << 16;

/// The page tables of a kernel.
struct Tables<'a> {
    guest: Guest<'a>,
    /// Guest-physical address of the topmost table.
    top: u64,
    /// 4 or 5.
    levels: u32,
}

/// Whether the direct map of the kernel that `info` describes agrees with
/// the RAM `blocks`, of which `guest` may lack parts: they reach to its end,
/// and it has nothing besides them. What lies above 4 GiB has to be mapped to
/// its last page; of what lies below, firmware may keep the end for itself.
///
/// A table that cannot be read proves nothing, and may be what is wrong.
pub(super) fn confirms(guest: Guest<'_>, blocks: &[RamBlock], info: &Vmcoreinfo) -> bool {
    check(guest, blocks, info).unwrap_or(false)
}

fn check(guest: Guest<'_>, blocks: &[RamBlock], info: &Vmcoreinfo) -> Option<bool> {
    let symbol = info.symbol("swapper_pg_dir")?;
    let tables = Tables {
        guest,
        top: guest.machine.kernel_image_to_physical(symbol, info)?,
        levels: 4 + u32::from(info.number("pgtable_l5_enabled") == Some(1)),
    };
    let base = tables.lowest_gib()?;
    let maps = |gpa: u64| Some(tables.translate(base.checked_add(gpa)?)? == Some(gpa));
    let low_end = blocks
        .iter()
        .map(|b| b.range.end())
        .rfind(|end| *end <= HIGH)?;
    let end = blocks.last()?.range.end();
    let low = low_end / 4 * 3 & !(MIN_PAGE_SIZE - 1);
    let inside = maps(ONE_MIB)?
        && maps(low)?
        && (end <= HIGH || (maps(HIGH)? && maps(end - MIN_PAGE_SIZE)?));
    let gaps = [low_end..HIGH, end.max(HIGH)..u64::MAX];
    Some(inside && !maps(end.max(HIGH))? && !tables.maps_any(base, &gaps)?)
}

impl Tables<'_> {
    fn table(&self, gpa: u64) -> Option<[u64; ENTRIES]> {
        let mut entries = [0; ENTRIES];
        self.guest.read(gpa, entries.as_mut_bytes()).ok()?;
        Some(entries.map(u64::from_le))
    }

    /// The first virtual address of the kernel's half.
    const fn kernel_half(&self) -> u64 {
        u64::MAX << (shift(self.levels + 1) - 1)
    }

    /// The lowest virtual address in the kernel's half whose GiB is mapped.
    fn lowest_gib(&self) -> Option<u64> {
        let mut vaddr = self.kernel_half();
        let mut table = self.top;
        let mut first = KERNEL_ENTRY;
        for level in (GIB_LEVEL..=self.levels).rev() {
            let entries = &self.table(table)?[first..];
            let index = entries.iter().position(|entry| entry & PRESENT != 0)?;
            vaddr += (index as u64) << shift(level);
            table = entries[index] & ADDRESS;
            first = 0;
        }
        Some(vaddr)
    }

    /// The guest-physical address of the byte at `vaddr`, if there is one;
    /// `None` if a table cannot be read.
    fn translate(&self, vaddr: u64) -> Option<Option<u64>> {
        let mut table = self.top;
        for level in (1..=self.levels).rev() {
            let index = (vaddr >> shift(level)) as usize % ENTRIES;
            let entry = self.table(table)?[index];
            if entry & PRESENT == 0 {
                return Some(None);
            }
            if level == 1 || is_large(level, entry) {
                return Some(Some(page(level, entry) | vaddr & inside(level)));
            }
            table = entry & ADDRESS;
        }
        Some(None)
    }

    /// Whether the direct map that begins at `base` has a large page that
    /// begins in one of the `gaps`; `None` if there are too many tables to
    /// tell, or one cannot be read.
    fn maps_any(&self, base: u64, gaps: &[Range<u64>]) -> Option<bool> {
        let mut budget = MAX_TABLES;
        let mut rest = vec![(self.levels, self.top, self.kernel_half())];
        while let Some((level, table, vaddr)) = rest.pop() {
            budget = budget.checked_sub(1)?;
            let entries = self.table(table)?;
            let first = if level == self.levels {
                KERNEL_ENTRY
            } else {
                0
            };
            for (entry, index) in entries[first..].iter().zip(0u64..) {
                let vaddr = vaddr + (index << shift(level));
                let gpa = vaddr.wrapping_sub(base);
                if entry & PRESENT == 0 || vaddr | inside(level) < base {
                    continue;
                }
                if is_large(level, *entry) {
                    if page(level, *entry) == gpa && gaps.iter().any(|gap| gap.contains(&gpa)) {
                        return Some(true);
                    }
                } else if level > 2 {
                    rest.push((level - 1, entry & ADDRESS, vaddr));
                }
            }
        }
        Some(false)
    }
}

const fn is_large(level: u32, entry: u64) -> bool {
    (level == 2 || level == GIB_LEVEL) && entry & LARGE != 0
}

/// The guest-physical address of an entry's page.
const fn page(level: u32, entry: u64) -> u64 {
    entry & ADDRESS & !inside(level)
}

/// The bits of an address below those that an entry of `level` stands for.
const fn inside(level: u32) -> u64 {
    (1 << shift(level)) - 1
}

/// Each entry of a table of `level`, from 1 on, maps 2 to the power of this
/// many bytes.
const fn shift(level: u32) -> u32 {
    12 + 9 * (level - 1)
}

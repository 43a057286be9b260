//! The kernel's lists. Those of modules and of processes are rings; that of
//! physical memory is an array.
//!
//! A ring is visited from its head to its head. Each entry has to be linked
//! back to the one before it. So a walk can only enter a ring at the ring's
//! head, and it ends.
#![forbid(unsafe_code)]

use crate::guest::windows::discover::format::Kdbg;
use crate::guest::windows::discover::memory::VirtualMemory;
use crate::guest::windows::runs::check_runs;
use crate::guest::windows::{KernelList, ListFault, WinDmpError};
use crate::windmp::Run;

/// The most entries of a ring that are visited. Windows has some hundred
/// modules, and process identifiers for some thousand processes.
pub(crate) const MAX_ENTRIES: usize = 1 << 16;
/// The most runs of physical memory that a kernel may list.
const MAX_RUNS: usize = 1 << 12;

/// Lists the faults in the kernel's lists, to which `kdbg` leads.
pub(crate) fn damage(memory: &VirtualMemory<'_>, kdbg: &Kdbg) -> Vec<WinDmpError> {
    let rings = [
        (KernelList::Modules, kdbg.ps_loaded_module_list.get()),
        (KernelList::Processes, kdbg.ps_active_process_head.get()),
    ];
    let mut damage: Vec<WinDmpError> = rings
        .into_iter()
        .filter_map(|(list, head)| walk(memory, list, head).err())
        .collect();
    damage.extend(check_physical_memory(memory, kdbg).err());
    damage
}

/// Walks the ring with the head at `head` and checks its links.
fn walk(memory: &VirtualMemory<'_>, list: KernelList, head: u64) -> Result<(), WinDmpError> {
    let broken = |entry, fault| WinDmpError::BrokenList { list, entry, fault };
    let read = |entry: u64| {
        let is_kernels = memory.is_kernel_address(entry);
        let links = is_kernels.then(|| memory.read_list_entry(entry)).flatten();
        links.ok_or(broken(entry, ListFault::Unreadable))
    };
    let ends = read(head)?;
    let (mut before, mut entry) = (head, ends.flink.get());
    for _ in 0..MAX_ENTRIES {
        let links = if entry == head { ends } else { read(entry)? };
        if links.blink.get() != before {
            return Err(broken(entry, ListFault::NotLinkedBack { before }));
        }
        if entry == head {
            return Ok(());
        }
        (before, entry) = (entry, links.flink.get());
    }
    let max = MAX_ENTRIES;
    Err(broken(entry, ListFault::TooLong { max }))
}

/// Checks `MmPhysicalMemoryBlock`, if it can be read. It is a pointer to the
/// descriptor of the memory that Windows uses.
fn check_physical_memory(memory: &VirtualMemory<'_>, kdbg: &Kdbg) -> Result<(), WinDmpError> {
    let Some(runs) = physical_memory(memory, kdbg) else {
        return Ok(());
    };
    check_runs(runs?.into_iter(), memory.guest.ranges)
}

/// Returns the runs of a `PHYSICAL_MEMORY_DESCRIPTOR` (QEMU
/// `include/qemu/win_dump_defs.h`), or `None` if it cannot be read.
///
/// The descriptor has one word with the number of runs and one with the number
/// of pages. Two words follow for each run: its first page frame and its number
/// of pages.
fn physical_memory(
    memory: &VirtualMemory<'_>,
    kdbg: &Kdbg,
) -> Option<Result<Vec<Run>, WinDmpError>> {
    let size = memory.width().word() as u64;
    let at = memory.read_word(kdbg.mm_physical_memory_block.get())?;
    // In a 64-bit kernel the upper half is padding.
    let count = memory.read_u32(at)?;
    if count as usize > MAX_RUNS {
        let max = MAX_RUNS;
        return Some(Err(WinDmpError::RunCount { count, max }));
    }
    let first = at.checked_add(2 * size)?;
    let run = |index: u64| {
        let at = first.checked_add(index * 2 * size)?;
        let [base_page, page_count] = memory.read_words(at)?;
        Some(Run {
            base_page,
            page_count,
        })
    };
    let runs: Option<Vec<_>> = (0..count.into()).map(run).collect();
    runs.map(Ok)
}

//! The guest's memory as its CPUs see it: the page tables, and which of them
//! map the kernel.
#![forbid(unsafe_code)]

use std::collections::HashSet;

use crate::arch::{CpuState, x86_64};
use crate::guest::paging::{X86, X86Mode};
use crate::guest::reader::Guest;
use crate::guest::windows::WinDmpError;
use crate::guest::windows::WindowsError;
use crate::guest::windows::discover::kernel;
use crate::guest::windows::discover::kernel::Kernel;
use crate::guest::windows::discover::memory::{VirtualMemory, Work};
use crate::guest::windows::discover::roots;
use crate::guest::windows::discover::width::Width;
use crate::windmp::Header;
use crate::workers::Progress;

/// Returns the registers of the CPUs as those of 64-bit CPUs, with the word
/// size of the kernel if it is certain.
fn wide(cpus: &[CpuState]) -> impl Iterator<Item = (x86_64::Registers, Option<Width>)> {
    cpus.iter().filter_map(|registers| match registers {
        // A 64-bit CPU may run a 32-bit Windows.
        CpuState::X86_64(r) => Some((**r, None)),
        CpuState::I386(r) => Some(((&**r).into(), Some(Width::Bits32))),
        #[allow(unreachable_patterns)]
        _ => None,
    })
}

/// The bit `L` in a code segment's flags: its code is 64-bit (Intel SDM volume
/// 3, "Segment Descriptors").
const CODE_64: u32 = 1 << 21;

/// Returns the page tables that a CPU may have, by its control registers.
///
/// With `CR4.PAE` they are those of 64-bit mode or of PAE. The code that the
/// CPU runs may identify 64-bit mode. Otherwise both are tried, and the wrong
/// ones have no kernel.
fn page_tables(r: &x86_64::Registers) -> impl Iterator<Item = X86> {
    let mode = |long_mode| X86Mode::of_registers(r.cr0, r.cr4, long_mode);
    let long = mode(true);
    let short = mode(false).filter(|short| r.cs.flags & CODE_64 == 0 && Some(*short) != long);
    let cr3 = r.cr3;
    let modes = [long, short];
    modes
        .into_iter()
        .flatten()
        .map(move |mode| X86 { cr3, mode })
}

/// Reads CR3 of the kernel for a CPU that runs a process.
///
/// In 64-bit Windows with page table isolation it is 0x7000 bytes after the
/// KPCR's beginning. `KERNEL_GS_BASE` contains that address while a process
/// runs (QEMU `contrib/elf2dmp/main.c`).
fn kernel_cr3(memory: &VirtualMemory<'_>, r: &x86_64::Registers) -> Option<u64> {
    let is_64_bit = memory.width() == Width::Bits64;
    (is_64_bit && memory.is_kernel_address(r.kernel_gs_base)).then_some(())?;
    memory.read_word(r.kernel_gs_base.checked_add(0x7000)?)
}

/// Finds the kernel, and returns the memory through the page tables that map
/// it. If the registers do not lead to it, a scan may.
pub(crate) fn find_kernel<'a>(
    guest: Guest<'a>,
    cpus: &[CpuState],
    work: &'a Work,
    progress: &Progress,
) -> Result<(VirtualMemory<'a>, Kernel), WindowsError> {
    let error = match by_registers(guest, cpus, work, progress) {
        Err(WindowsError::WinDmp(error)) => error,
        other => return other,
    };
    if work.is_used_up() {
        return Err(error.into());
    }
    // Registers with page tables are those of a system that runs, whose own are in low memory.
    let extent = match error {
        WinDmpError::NoKernel { .. } => roots::Extent::Low,
        _ => roots::Extent::All,
    };
    let found = roots::find(guest, extent, work, progress)?;
    found.ok_or(error.into())
}

/// Finds the kernel by the registers of the CPUs.
fn by_registers<'a>(
    guest: Guest<'a>,
    cpus: &[CpuState],
    work: &'a Work,
    progress: &Progress,
) -> Result<(VirtualMemory<'a>, Kernel), WindowsError> {
    let view = |tables| VirtualMemory {
        guest,
        tables,
        work,
    };
    let mut views: Vec<(VirtualMemory<'_>, _)> = Vec::new();
    for (r, width) in wide(cpus) {
        for tables in page_tables(&r) {
            let memory = view(tables);
            if width.is_some_and(|width| memory.width() != width) {
                continue;
            }
            views.push((memory, r.idt));
            if let Some(cr3) = kernel_cr3(&memory, &r) {
                views.push((view(X86 { cr3, ..tables }), r.idt));
            }
        }
    }
    if cpus.is_empty() {
        return Err(WinDmpError::NoCpuRegisters.into());
    }
    if views.is_empty() {
        return Err(WinDmpError::NoPageTables.into());
    }
    // A process's own page tables may not map the kernel.
    views.retain(|(memory, _)| memory.translate(memory.width().shared_data()).is_some());
    let mut tried = HashSet::new();
    for (memory, idt) in &views {
        for handler in kernel::handlers(memory, *idt) {
            if !tried.insert((memory.tables.cr3, handler)) {
                continue;
            }
            if let Some(kernel) = Kernel::below(memory, handler) {
                return Ok((*memory, kernel));
            }
        }
    }
    let mut scanned = Vec::new();
    for (memory, _) in views {
        if scanned.contains(&memory.tables) {
            continue;
        }
        scanned.push(memory.tables);
        if let Some(kernel) = Kernel::by_scan(&memory, progress)? {
            return Ok((memory, kernel));
        }
    }
    let address_spaces = scanned.len();
    Err(WinDmpError::NoKernel { address_spaces }.into())
}

/// Returns the page tables that a header names.
pub(crate) fn page_tables_of(header: &Header, cpus: &[CpuState]) -> X86 {
    let is_five_level = |x86: X86| x86.mode == X86Mode::FiveLevel;
    let five_levels = || wide(cpus).any(|(r, _)| page_tables(&r).any(is_five_level));
    let mode = match header.pae_enabled() {
        // Windows without PAE uses large pages as well.
        Some(0) => X86Mode::TwoLevel { pse: true },
        Some(_) => X86Mode::Pae,
        None if five_levels() => X86Mode::FiveLevel,
        None => X86Mode::FourLevel,
    };
    let cr3 = header.directory_table_base();
    X86 { cr3, mode }
}

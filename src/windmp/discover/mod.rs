//! A dump's header from the guest itself, and where its kernel keeps the
//! contexts of its CPUs. 64-bit Windows 7 and later.
//!
//! From a CPU's registers to the page tables and the kernel's image
//! (`kernel`), in it to KDBG (`kdbg`), from there to everything else. All
//! reads go through the guest's page tables. What the guest says is checked,
//! counted and limited: an image has at most 64 MiB, a list of CPUs 2048
//! entries, and a search makes at most [`MAX_READS`] reads of [`MAX_BYTES`]
//! bytes; lists of modules and processes are not walked at all.
//!
//! docs/formats/windmp.md says which Windows versions that covers.
#![forbid(unsafe_code)]

mod cpus;
pub(crate) mod format;
mod header;
mod kdbg;
mod kernel;
mod memory;

use std::collections::HashSet;

pub use cpus::{SkipReason, SkippedCpu};

use super::error::WinDmpError;
use super::format::DumpHeader64;
use super::header::Header;
use super::options::{BugcheckData, ContextPlace};
use super::overlay::Patch;
use crate::arch::{Machine, Registers, x86_64};
use crate::error::Result;
use crate::guest::Guest;
use crate::paging::{AddressSpace, X86, X86Mode};
use crate::progress::Progress;
use format::{KUSER_SHARED_DATA, Kdbg};
use kdbg::Found;
use kernel::Kernel;
use memory::{VirtualMemory, Work};

pub(crate) use memory::{MAX_BYTES, MAX_READS};

/// What a guest's memory says about a dump of it.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Why it crashed; the code is 0 if it did not. `None` if that cannot be
    /// read.
    pub(crate) bugcheck: Option<BugcheckData>,
    pub(crate) contexts: Vec<ContextPlace>,
    pub(crate) skipped: Vec<SkippedCpu>,
    /// What differs in the dump from the guest's memory: KDBG, decoded.
    pub(crate) patches: Vec<Patch>,
}

/// Builds the header of a guest whose CPUs have these registers.
///
/// # Errors
///
/// - [`WinDmpError::WrongMachine`] for a guest that is not x86_64;
/// - [`WinDmpError::NoPageTables`] if no CPU has any;
/// - [`WinDmpError::NoKernel`] if there is no kernel of Windows;
/// - [`WinDmpError::NoKdbg`] if it has no KDBG that is known;
/// - [`WinDmpError::TooMuchWork`] if the guest makes the search too long;
/// - [`Error::Cancelled`](crate::Error::Cancelled) if `progress` says so.
pub(crate) fn discover(
    guest: Guest<'_>,
    cpus: &[Registers],
    progress: &Progress,
) -> Result<(Header, Findings)> {
    let machine = guest.machine;
    if machine != Machine::X86_64 {
        return Err(WinDmpError::WrongMachine { machine, bits: 64 }.into());
    }
    let work = Work::new();
    let result = search(guest, cpus, &work, progress);
    if work.is_used_up() {
        let (reads, bytes) = (MAX_READS, MAX_BYTES);
        return Err(WinDmpError::TooMuchWork { reads, bytes }.into());
    }
    result
}

fn search(
    guest: Guest<'_>,
    cpus: &[Registers],
    work: &Work,
    progress: &Progress,
) -> Result<(Header, Findings)> {
    let (memory, kernel, cr3) = find_kernel(guest, cpus, work, progress)?;
    let found = kdbg::find(&memory, &kernel).ok_or(WinDmpError::NoKdbg { base: kernel.base })?;
    let (memory, directory_table_base) =
        of_system_process(&memory, &kernel, &found.kdbg).unwrap_or((memory, cr3));
    let prcbs = cpus::prcbs(&memory, &found.kdbg);
    let processors = prcbs.len() as u32;
    let mut header: DumpHeader64 = header::build(
        &memory,
        &kernel,
        &found.kdbg,
        directory_table_base,
        processors,
    );
    header.kd_debugger_data_block = found.vaddr.into();
    let findings = read_kdbg(&memory, &found, &prcbs, cpus.len());
    Ok((Header::Bits64(Box::new(header)), findings))
}

/// The kernel, the memory through the page tables that have it, and their
/// CR3.
fn find_kernel<'a>(
    guest: Guest<'a>,
    cpus: &[Registers],
    work: &'a Work,
    progress: &Progress,
) -> Result<(VirtualMemory<'a>, Kernel, u64)> {
    let view = |x86: X86| VirtualMemory {
        guest,
        space: AddressSpace::X86(x86),
        work,
    };
    let cpus = cpus.iter().filter_map(|registers| match registers {
        Registers::X86_64(r) => Some(&**r),
        #[allow(unreachable_patterns)]
        _ => None,
    });
    let mut views: Vec<(VirtualMemory<'_>, &x86_64::Registers, u64)> = Vec::new();
    for r in cpus {
        let Some(x86) = page_tables(r) else { continue };
        views.push((view(x86), r, x86.cr3));
        if let Some(cr3) = kernel_cr3(&view(x86), r) {
            views.push((view(X86 { cr3, ..x86 }), r, cr3));
        }
    }
    if views.is_empty() {
        return Err(WinDmpError::NoPageTables.into());
    }
    // A process's own page tables may be without the kernel.
    views.retain(|(memory, ..)| memory.translate(KUSER_SHARED_DATA).is_some());
    let mut tried = HashSet::new();
    for (memory, r, cr3) in &views {
        for handler in kernel::handlers(memory, r.idt) {
            if !tried.insert((*cr3, handler)) {
                continue;
            }
            if let Some(kernel) = Kernel::below(memory, handler) {
                return Ok((*memory, kernel, *cr3));
            }
        }
    }
    let mut scanned = Vec::new();
    for (memory, _, cr3) in views {
        if scanned.contains(&cr3) {
            continue;
        }
        scanned.push(cr3);
        if let Some(kernel) = Kernel::by_scan(&memory, progress)? {
            return Ok((memory, kernel, cr3));
        }
    }
    let address_spaces = scanned.len();
    Err(WinDmpError::NoKernel { address_spaces }.into())
}

/// The page tables of a CPU in 64-bit mode.
fn page_tables(r: &x86_64::Registers) -> Option<X86> {
    let mode = X86Mode::of_registers(r.cr0, r.cr4, true)?;
    let is_64_bit = matches!(mode, X86Mode::FourLevel | X86Mode::FiveLevel);
    is_64_bit.then_some(X86 { cr3: r.cr3, mode })
}

/// CR3 of the kernel, of a CPU that runs a process: in Windows with page
/// table isolation it is at 0x7000 behind the KPCR's beginning, which
/// `KERNEL_GS_BASE` has meanwhile (QEMU `contrib/elf2dmp/main.c`).
fn kernel_cr3(memory: &VirtualMemory<'_>, r: &x86_64::Registers) -> Option<u64> {
    memory::is_kernel_address(r.kernel_gs_base).then_some(())?;
    memory.read_u64(r.kernel_gs_base.checked_add(0x7000)?)
}

/// The page tables of the system process, to which the kernel exports a
/// pointer, if they have the kernel; and their CR3.
fn of_system_process<'a>(
    memory: &VirtualMemory<'a>,
    kernel: &Kernel,
    kdbg: &Kdbg,
) -> Option<(VirtualMemory<'a>, u64)> {
    let variable = kernel.export(memory, "PsInitialSystemProcess")?;
    let process = memory.read_u64(variable)?;
    let offset = kdbg.offset_eprocess_directory_table_base.get();
    let cr3 = memory.read_u64(process.checked_add(offset.into())?)?;
    let AddressSpace::X86(x86) = memory.space else {
        return None;
    };
    let space = AddressSpace::X86(X86 { cr3, ..x86 });
    let systems = VirtualMemory { space, ..*memory };
    let base = memory.translate(kernel.base)?;
    (systems.translate(kernel.base) == Some(base)).then_some((systems, cr3))
}

/// What the block leads to, for a guest with `cpus` virtual CPUs.
fn read_kdbg(memory: &VirtualMemory<'_>, found: &Found, prcbs: &[u64], cpus: usize) -> Findings {
    let patches = decoded_patches(memory, found);
    let taken = patches.iter().map(|p| (p.gpa, p.bytes.len())).collect();
    let (contexts, skipped) = cpus::contexts(memory, &found.kdbg, prcbs, cpus, taken);
    Findings {
        bugcheck: header::bugcheck(memory, &found.kdbg),
        contexts,
        skipped,
        patches,
    }
}

/// The decoded block, at its place in physical memory: a debugger that has
/// no symbols yet looks for a plain one.
fn decoded_patches(memory: &VirtualMemory<'_>, found: &Found) -> Vec<Patch> {
    let Some(bytes) = &found.decoded else {
        return Vec::new();
    };
    let mut rest = bytes.as_slice();
    let pieces = memory.pieces(found.vaddr, bytes.len()).unwrap_or_default();
    let patch = |(gpa, len)| {
        let (bytes, behind) = rest.split_at(len);
        rest = behind;
        let bytes = bytes.to_vec();
        Patch { gpa, bytes }
    };
    pieces.into_iter().map(patch).collect()
}

/// Completes a header that somebody else made, by the KDBG that it names:
/// `PfnDatabase`, as QEMU does, and what else there is to find.
///
/// # Errors
///
/// - [`WinDmpError::KdbgTag`] if there is something else;
/// - [`WinDmpError::TooMuchWork`].
pub(crate) fn complete(
    guest: Guest<'_>,
    header: &mut Header,
    cpus: &[Registers],
) -> Result<Findings, WinDmpError> {
    let unknown = |why| Findings {
        skipped: (0..cpus.len()).map(|cpu| SkippedCpu { cpu, why }).collect(),
        ..Findings::default()
    };
    let Header::Bits64(fields) = header else {
        return Ok(unknown(SkipReason::Kdbg));
    };
    let five_levels = cpus.iter().any(|registers| match registers {
        Registers::X86_64(r) => page_tables(r).is_some_and(|x| x.mode == X86Mode::FiveLevel),
        #[allow(unreachable_patterns)]
        _ => false,
    });
    let mode = match five_levels {
        true => X86Mode::FiveLevel,
        false => X86Mode::FourLevel,
    };
    let cr3 = fields.directory_table_base.get();
    let work = Work::new();
    let memory = VirtualMemory {
        guest,
        space: AddressSpace::X86(X86 { cr3, mode }),
        work: &work,
    };
    let vaddr = fields.kd_debugger_data_block.get();
    let Some(kdbg) = kdbg::read_plain(&memory, vaddr) else {
        return Ok(unknown(SkipReason::Kdbg));
    };
    // Where the kernel's block is encoded, the driver leaves the address of a
    // decoded one in the first parameter (QEMU dump/win_dump.c).
    let copy = fields.bug_check_parameters[0].get();
    let plain = [(vaddr, Some(kdbg)), (copy, kdbg::read_plain(&memory, copy))];
    let plain = plain.into_iter().find_map(|(vaddr, kdbg)| {
        let kdbg = kdbg.filter(kdbg::is_tagged)?;
        let decoded = None;
        Some(Found {
            vaddr,
            kdbg,
            decoded,
        })
    });
    let modules = fields.ps_loaded_module_list.get();
    let found = plain
        .or_else(|| kdbg::read_encoded(&memory, vaddr, modules))
        .ok_or(WinDmpError::KdbgTag { vaddr })?;
    fields.kd_debugger_data_block = found.vaddr.into();
    fields.pfn_database = found.kdbg.mm_pfn_database;
    let mut prcbs = cpus::prcbs(&memory, &found.kdbg);
    prcbs.truncate(fields.number_processors.get() as usize);
    let findings = read_kdbg(&memory, &found, &prcbs, cpus.len());
    if work.is_used_up() {
        let (reads, bytes) = (MAX_READS, MAX_BYTES);
        return Err(WinDmpError::TooMuchWork { reads, bytes });
    }
    Ok(findings)
}

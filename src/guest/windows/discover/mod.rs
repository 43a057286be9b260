//! Builds a dump's header from the guest itself, and finds where its kernel
//! keeps the contexts of its CPUs. It supports Windows XP and later, 32-bit and
//! 64-bit.
//!
//! The search goes from a CPU's registers to the page tables and the kernel's
//! image (`kernel`). Without registers a scan finds the page tables (`roots`). In the image it finds KDBG (`kdbg`), which leads to
//! everything else. All reads go through the guest's page tables. The guest's
//! data is checked, counted and limited:
//!
//! - an image has at most 64 MiB;
//! - a list of CPUs has at most 2048 entries;
//! - a list of modules or processes has at most 65,536 entries;
//! - a search makes at most [`MAX_READS`] reads, of at most [`MAX_BYTES`] bytes
//!   together.
//!
//! docs/formats/windmp.md lists the Windows versions that this covers.
#![forbid(unsafe_code)]

mod cpus;
pub(crate) mod format;
mod header;
mod kdbg;
mod kernel;
mod lists;
mod memory;
mod roots;
mod view;
pub(crate) mod width;

pub use cpus::{SkipReason, SkippedCpu};

use crate::arch::{CpuState, Machine};
use crate::guest::paging::X86;
use crate::guest::reader::Guest;
use crate::guest::windows::WinDmpError;
use crate::guest::windows::WindowsError;
use crate::guest::windows::{BugcheckData, ContextPlace};
use crate::memory::Patch;
use crate::windmp::Header;
use crate::workers::Progress;
use format::Kdbg;
use kdbg::Found;
use kernel::Kernel;
use memory::{VirtualMemory, Work};

pub(crate) use memory::{MAX_BYTES, MAX_READS};

/// Facts for a dump that the guest's memory contains.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Why the guest crashed; the code is 0 if it did not. `None` if that
    /// cannot be read.
    pub(crate) bugcheck: Option<BugcheckData>,
    pub(crate) contexts: Vec<ContextPlace>,
    pub(crate) skipped: Vec<SkippedCpu>,
    /// Differences between the dump and the guest's memory: the decoded KDBG.
    pub(crate) patches: Vec<Patch>,
    /// Faults in the kernel's lists.
    pub(crate) damage: Vec<WinDmpError>,
}

/// Builds the header of a guest whose CPUs have these registers.
///
/// # Errors
///
/// - [`WinDmpError::NotX86`] for a guest that is not x86;
/// - [`WinDmpError::NoCpuRegisters`], [`WinDmpError::NoPageTables`] and
///   [`WinDmpError::NoKernel`] if neither the registers nor a scan lead to a
///   Windows kernel;
/// - [`WinDmpError::TwoKernels`] if a scan finds two;
/// - [`WinDmpError::NoKdbg`] if the kernel has no known KDBG;
/// - [`WinDmpError::TooMuchWork`] if the guest makes the search too long;
/// - [`WinDmpError::Header`] if a value does not fit into the header;
/// - [`Fault::Cancelled`](crate::Fault::Cancelled) if `progress` is cancelled.
pub(crate) fn discover(
    guest: Guest<'_>,
    cpus: &[CpuState],
    progress: &Progress,
) -> Result<(Header, Findings), WindowsError> {
    let machine = guest.machine;
    if !matches!(machine, Machine::X86_64 | Machine::I386) {
        return Err(WinDmpError::NotX86 { machine }.into());
    }
    let work = Work::new();
    let result = search(guest, cpus, &work, progress);
    if work.is_used_up() {
        return Err(too_much_work().into());
    }
    result
}

const fn too_much_work() -> WinDmpError {
    let (reads, bytes) = (MAX_READS, MAX_BYTES);
    WinDmpError::TooMuchWork { reads, bytes }
}

fn search(
    guest: Guest<'_>,
    cpus: &[CpuState],
    work: &Work,
    progress: &Progress,
) -> Result<(Header, Findings), WindowsError> {
    let (memory, kernel) = view::find_kernel(guest, cpus, work, progress)?;
    let found = kdbg::find(&memory, &kernel).ok_or(WinDmpError::NoKdbg { base: kernel.base })?;
    let memory = of_system_process(&memory, &kernel, &found.kdbg).unwrap_or(memory);
    let prcbs = cpus::prcbs(&memory, &found.kdbg);
    let header =
        header::build(&memory, &kernel, &found, prcbs.len() as u32).map_err(WinDmpError::from)?;
    let findings = read_kdbg(&memory, &found, &prcbs, cpus.len());
    Ok((header, findings))
}

/// Returns the memory through the page tables of the system process, if these
/// map the kernel. The kernel exports a pointer to that process.
fn of_system_process<'a>(
    memory: &VirtualMemory<'a>,
    kernel: &Kernel,
    kdbg: &Kdbg,
) -> Option<VirtualMemory<'a>> {
    let variable = kernel.export(memory, "PsInitialSystemProcess")?;
    let process = memory.read_word(variable)?;
    // Before Server 2003, KDBG does not contain this offset.
    let offset = kdbg.offset_eprocess_directory_table_base.get();
    (offset != 0).then_some(())?;
    let cr3 = memory.read_word(process.checked_add(offset.into())?)?;
    let tables = X86 {
        cr3,
        ..memory.tables
    };
    let systems = VirtualMemory { tables, ..*memory };
    let base = memory.translate(kernel.base)?;
    (systems.translate(kernel.base) == Some(base)).then_some(systems)
}

/// Collects what KDBG leads to, for a guest with `cpus` virtual CPUs.
fn read_kdbg(memory: &VirtualMemory<'_>, found: &Found, prcbs: &[u64], cpus: usize) -> Findings {
    let patches = decoded_patches(memory, found);
    let taken = patches.iter().map(|p| (p.gpa, p.bytes.len())).collect();
    let (contexts, skipped) = cpus::contexts(memory, &found.kdbg, prcbs, cpus, taken);
    Findings {
        bugcheck: header::bugcheck(memory, &found.kdbg),
        contexts,
        skipped,
        patches,
        damage: lists::damage(memory, &found.kdbg),
    }
}

/// Returns patches that put the decoded block at its place in physical memory.
/// A debugger without symbols looks for a plain block.
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

/// Completes a header from a note or the caller, by the KDBG that it names. As
/// in QEMU, this includes `PfnDatabase`. Nothing is found if KDBG cannot be
/// read.
///
/// # Errors
///
/// - [`WinDmpError::KdbgTag`] if the header's address leads to something else;
/// - [`WinDmpError::Header`] if a value does not fit into the header;
/// - [`WinDmpError::TooMuchWork`] if the guest makes the search too long.
pub(crate) fn complete(
    guest: Guest<'_>,
    header: &mut Header,
    cpus: &[CpuState],
) -> Result<Findings, WinDmpError> {
    let work = Work::new();
    let memory = VirtualMemory {
        guest,
        tables: view::page_tables_of(header, cpus),
        work: &work,
    };
    let vaddr = header.kd_debugger_data_block();
    let Some(kdbg) = kdbg::read_plain(&memory, vaddr) else {
        let why = SkipReason::Kdbg;
        return Ok(Findings {
            skipped: (0..cpus.len()).map(|cpu| SkippedCpu { cpu, why }).collect(),
            ..Findings::default()
        });
    };
    // If the kernel's block is encoded, the driver stores the address of a
    // decoded one in the first parameter (QEMU dump/win_dump-x86.c).
    let copy = header.bugcheck().parameters[0];
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
    let modules = header.ps_loaded_module_list();
    let found = plain
        .or_else(|| kdbg::read_encoded(&memory, vaddr, modules))
        .ok_or(WinDmpError::KdbgTag { vaddr })?;
    let width = memory.width();
    header.set_kd_debugger_data_block(width.address(found.vaddr))?;
    header.set_pfn_database(width.address(found.kdbg.mm_pfn_database.get()))?;
    let mut prcbs = cpus::prcbs(&memory, &found.kdbg);
    prcbs.truncate(header.number_processors() as usize);
    let findings = read_kdbg(&memory, &found, &prcbs, cpus.len());
    if work.is_used_up() {
        return Err(too_much_work());
    }
    Ok(findings)
}

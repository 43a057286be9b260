//! Finding the arrangement of RAM that lies in a file without headers.
#![forbid(unsafe_code)]

use std::io;
use std::sync::Arc;

use zerocopy::{FromZeros, IntoBytes};

use crate::abi::Utsname;
use crate::arch::Machine;
use crate::fault::Fault;
use crate::guest::vmcoreinfo::{VmcoreinfoError, from_bytes};
use crate::memory::MIN_PAGE_SIZE;
use crate::ram_layout::arrangements::{UNSPLIT, contiguous, image_layouts};
use crate::ram_layout::{
    Proof, RamLayout, RamPiece, Verdict, layouts, memory, vmcoreinfo_anywhere,
};
use crate::read::ReadAt;
use crate::vmcoreinfo::Vmcoreinfo;
use crate::workers::Workers;

/// The alignment of where RAM begins in any known VMM for arm64.
const BASE_ALIGN: u64 = 2 << 20;
/// The most beginnings of RAM that are tried for one kernel. A guest can pretend to have more.
const MAX_BASES: usize = 4;

/// Why the arrangement of RAM is not known although a Linux kernel is in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// The length of the input cannot be read.
    #[error("cannot read the size of the file with guest RAM")]
    Length(#[source] io::Error),
    /// The kernel is not where its VMCOREINFO says in any known arrangement.
    #[error(
        "VMCOREINFO of {osrelease} is in the file, but in no known arrangement of RAM{} are the kernel and its page tables where it says",
        .machine.map(|m| format!(" of {m} guests")).unwrap_or_default()
    )]
    NotVerified {
        /// The kernel's release.
        osrelease: String,
        /// The architecture that the caller gave.
        machine: Option<Machine>,
    },
    /// The kernel is where its VMCOREINFO says, but its direct map is of other RAM.
    #[error(
        "the kernel {osrelease} is in its place, but its direct map does not end where RAM does in any known arrangement of {machine} guests, or cannot be read; the file may be cut short"
    )]
    OtherRam {
        /// The kernel's release.
        osrelease: String,
        /// The kernel's architecture.
        machine: Machine,
    },
    /// Several arrangements fit.
    #[error("several arrangements of RAM fit the kernel {osrelease}: {arrangements}")]
    Ambiguous {
        /// The kernel's release.
        osrelease: String,
        /// Machine and ranges of each arrangement.
        arrangements: String,
    },
    /// The file cannot be scanned for VMCOREINFO.
    #[error("cannot scan the file for VMCOREINFO")]
    Scan(#[source] VmcoreinfoError),
    /// [`Progress::cancel`](crate::Progress::cancel) was called.
    #[error("cancelled")]
    Cancelled,
}

/// Finds where the RAM in `ram` lies, by the kernel of a Linux guest. `None` if there is no
/// VMCOREINFO to tell.
///
/// `ram` is one block of RAM as QEMU's machines back it, or an image of guest-physical memory from
/// address 0 on. A part of the last page is ignored. `machine` is the architecture, if the caller
/// knows it; `given` is VMCOREINFO that the caller has besides what `ram` contains, the text or an
/// ELF note with it.
///
/// # Errors
///
/// - [`LayoutError::NotVerified`], [`LayoutError::OtherRam`], [`LayoutError::Ambiguous`] if `ram`
///   contains VMCOREINFO that does not prove one arrangement;
/// - [`LayoutError::Length`], [`LayoutError::Scan`] if `ram` cannot be read;
/// - [`LayoutError::Cancelled`] if the handle of `workers` was cancelled.
pub fn find(
    ram: &Arc<dyn ReadAt>,
    machine: Option<Machine>,
    given: Option<&[u8]>,
    workers: &Workers,
) -> Result<Option<RamLayout>, LayoutError> {
    let len = ReadAt::len(ram).map_err(LayoutError::Length)?;
    let size = len - len % MIN_PAGE_SIZE;
    // An empty file has no VMCOREINFO.
    let Ok(unplaced) = memory(ram, &contiguous(0, size)) else {
        return Ok(None);
    };
    let progress = workers.handle();
    let mut infos = vmcoreinfo_anywhere(&unplaced, workers.as_threads(), progress).map_err(
        |error| match error {
            VmcoreinfoError::Fault(Fault::Cancelled) => LayoutError::Cancelled,
            error => LayoutError::Scan(error),
        },
    )?;
    let osrelease = infos.first().map(Vmcoreinfo::osrelease);
    infos.extend(given.and_then(parse));
    let machines = machine.as_slice();
    let machines = match machines {
        [] => Machine::ALL,
        one => one,
    };
    let mut proof = Proof::new(progress);
    let mut found = Vec::new();
    let mut of_other_ram = None;
    for &machine in machines {
        let (fits, has_other) = fitting(ram, size, machine, &infos, &mut proof);
        found.extend(fits);
        of_other_ram = of_other_ram.or(has_other.then_some(machine));
    }
    if proof.is_cancelled() {
        return Err(LayoutError::Cancelled);
    }
    match found.len() {
        0 => match (osrelease, of_other_ram) {
            (Some(osrelease), Some(machine)) => Err(LayoutError::OtherRam { osrelease, machine }),
            (Some(osrelease), None) => Err(LayoutError::NotVerified { osrelease, machine }),
            // The caller's alone may be of another guest.
            (None, _) => Ok(None),
        },
        1 => Ok(found.pop()),
        _ => match found.iter().find(|layout| is_usual(layout, size)) {
            Some(usual) if found.iter().all(|other| other.machine == usual.machine) => {
                Ok(Some(RamLayout {
                    is_proven: false,
                    ..usual.clone()
                }))
            }
            _ => Err(LayoutError::Ambiguous {
                osrelease: infos.first().map(Vmcoreinfo::osrelease).unwrap_or_default(),
                arrangements: describe(&found),
            }),
        },
    }
}

/// Parses VMCOREINFO's text, or an ELF note of either byte order with it.
fn parse(bytes: &[u8]) -> Option<Vmcoreinfo> {
    let machines = [Machine::X86_64, Machine::S390x];
    let mut parsed = machines.iter().map(|machine| from_bytes(bytes, *machine));
    parsed.find_map(Result::ok)
}

/// Returns the arrangements of a machine's RAM in which the kernel lies in its place, and whether
/// there is one where it does, but its direct map is of other RAM.
fn fitting(
    ram: &Arc<dyn ReadAt>,
    size: u64,
    machine: Machine,
    infos: &[Vmcoreinfo],
    proof: &mut Proof<'_>,
) -> (Vec<RamLayout>, bool) {
    let mut has_other = false;
    let mut fits = |pieces: Vec<RamPiece>| {
        let memory = memory(ram, &pieces).ok()?;
        let verdict = proof.verdict(&memory, machine, &pieces, infos);
        has_other |= verdict == Verdict::OtherRam;
        (verdict >= Verdict::InPlace).then_some(RamLayout {
            machine,
            pieces,
            is_proven: verdict == Verdict::Proven,
        })
    };
    let mut found: Vec<_> = layouts(machine, size)
        .into_iter()
        .filter_map(&mut fits)
        .collect();
    if found.is_empty() {
        found.extend(
            others(ram, machine, size, infos)
                .into_iter()
                .filter_map(&mut fits),
        );
    }
    if let Some(image) = image_layouts(machine, size).into_iter().find_map(&mut fits) {
        // RAM from 0 on gives the kernel the same place. The image is the usual one.
        let from_zero = contiguous(0, size);
        found.retain(|other| other.pieces != from_zero);
        found.push(image);
    }
    (found, has_other)
}

/// Returns the arrangements of one block of RAM from where the kernel says that RAM begins: other
/// VMMs than QEMU have other places for it.
fn others(
    ram: &Arc<dyn ReadAt>,
    machine: Machine,
    size: u64,
    infos: &[Vmcoreinfo],
) -> Vec<Vec<RamPiece>> {
    let mut bases: Vec<u64> = match machine {
        // With KASLR, `PHYS_OFFSET` is not where RAM begins.
        Machine::Aarch64 | Machine::Aarch64Be => {
            let bases = infos
                .iter()
                .flat_map(|info| bases_by_uts(ram, machine, size, info));
            bases.collect()
        }
        Machine::X86_64 | Machine::I386 => Vec::new(),
        _ if machine.frames_from_phys_base() => Vec::new(),
        _ => infos
            .iter()
            .filter_map(|info| machine.phys_base(info))
            .collect(),
    };
    bases.sort_unstable();
    bases.dedup();
    let bases = bases
        .into_iter()
        .filter(|base| base.is_multiple_of(MIN_PAGE_SIZE));
    let pieces = bases.map(|base| contiguous(base, size));
    pieces.filter(|pieces| !pieces.is_empty()).collect()
}

/// Returns where a block of RAM can begin so that the kernel's `init_uts_ns` is in its place: that is
/// its guest-physical address, less its offset in the file.
fn bases_by_uts(ram: &Arc<dyn ReadAt>, machine: Machine, size: u64, info: &Vmcoreinfo) -> Vec<u64> {
    let place = || {
        let vaddr = info.symbol("init_uts_ns")?;
        let vaddr = vaddr.checked_add(info.offset("uts_namespace.name")?)?;
        machine.kernel_image_to_physical(vaddr, info)
    };
    let Some(gpa) = place() else {
        return Vec::new();
    };
    let release = info.osrelease();
    let mut bases = Vec::new();
    let mut offset = gpa % BASE_ALIGN;
    while offset < size.min(gpa + 1) && bases.len() < MAX_BASES {
        let mut uts = Utsname::new_zeroed();
        let is_kernel = ram.read_at(offset, uts.as_mut_bytes()).is_ok()
            && Utsname::text(&uts.sysname) == "Linux"
            && Utsname::text(&uts.release) == release;
        if is_kernel {
            bases.push(gpa - offset);
        }
        offset += BASE_ALIGN;
    }
    bases
}

/// Returns whether this is how QEMU arranges a PC's RAM unless it is told otherwise.
fn is_usual(layout: &RamLayout, size: u64) -> bool {
    let is_unsplit = |layout: &RamLayout| layout.pieces.iter().all(|p| p.offset == p.range.start());
    layout.machine == Machine::I386 && size < UNSPLIT && is_unsplit(layout)
}

fn describe(found: &[RamLayout]) -> String {
    let each = found.iter().map(|layout| {
        let ranges = layout.pieces.iter().map(|piece| piece.range.to_string());
        let ranges: Vec<_> = ranges.collect();
        format!("{} {}", layout.machine, ranges.join(" "))
    });
    each.collect::<Vec<_>>().join("; ")
}

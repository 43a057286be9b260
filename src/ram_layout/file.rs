//! Finding the arrangement of RAM that lies in a file without headers.
#![forbid(unsafe_code)]

use std::io;
use std::sync::Arc;

use crate::arch::Machine;
use crate::fault::Fault;
use crate::guest::vmcoreinfo::{VmcoreinfoError, from_bytes};
use crate::memory::MIN_PAGE_SIZE;
use crate::ram_layout::arrangements::{contiguous, image_layouts};
use crate::ram_layout::{Proof, RamLayout, RamPiece, layouts, memory, vmcoreinfo_anywhere};
use crate::read::ReadAt;
use crate::vmcoreinfo::Vmcoreinfo;
use crate::workers::Workers;

/// Below this size no machine of QEMU splits a PC's RAM unless it is told to: q35 does from here on
/// (`pc_q35_init` in `hw/i386/pc_q35.c`), `pc` later.
const UNSPLIT: u64 = 0xb000_0000;

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
/// - [`LayoutError::NotVerified`], [`LayoutError::Ambiguous`] if `ram` contains VMCOREINFO that does
///   not prove one arrangement;
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
    for &machine in machines {
        found.extend(fitting(ram, size, machine, &infos, &mut proof));
    }
    if proof.is_cancelled() {
        return Err(LayoutError::Cancelled);
    }
    match found.len() {
        0 => match osrelease {
            Some(osrelease) => Err(LayoutError::NotVerified { osrelease, machine }),
            // The caller's alone may be of another guest.
            None => Ok(None),
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

/// Returns the arrangements of a machine's RAM in which the kernel lies in its place.
fn fitting(
    ram: &Arc<dyn ReadAt>,
    size: u64,
    machine: Machine,
    infos: &[Vmcoreinfo],
    proof: &mut Proof<'_>,
) -> Vec<RamLayout> {
    let mut fits = |pieces: &Vec<RamPiece>| {
        memory(ram, pieces).is_ok_and(|memory| proof.holds(&memory, machine, pieces, infos))
    };
    let mut found: Vec<_> = blocks(machine, size, infos)
        .into_iter()
        .filter(|pieces| fits(pieces))
        .collect();
    let image = image_layouts(machine, size)
        .into_iter()
        .find(|pieces| fits(pieces));
    found.extend(image);
    let layout = |pieces| RamLayout {
        machine,
        pieces,
        // The place of an arm kernel is counted from where RAM begins.
        is_proven: machine != Machine::Arm,
    };
    found.into_iter().map(layout).collect()
}

/// Returns the arrangements of one block of RAM: QEMU's, and from where the kernel says that RAM
/// begins, as other VMMs have other places for it.
fn blocks(machine: Machine, size: u64, infos: &[Vmcoreinfo]) -> Vec<Vec<RamPiece>> {
    let mut all = layouts(machine, size);
    if !machine.frames_from_phys_base() && !matches!(machine, Machine::X86_64 | Machine::I386) {
        let bases = infos.iter().filter_map(|info| machine.phys_base(info));
        for base in bases.filter(|base| base.is_multiple_of(MIN_PAGE_SIZE)) {
            let pieces = contiguous(base, size);
            if !pieces.is_empty() && !all.contains(&pieces) {
                all.push(pieces);
            }
        }
    }
    all
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

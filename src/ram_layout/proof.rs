//! The proof that an arrangement of RAM is right: the kernel in it is where its
//! VMCOREINFO says.
#![forbid(unsafe_code)]

use crate::arch::Machine;
use crate::guest::paging::Budget;
use crate::guest::reader::Guest;
use crate::guest::vmcoreinfo::{VmcoreinfoError, find_all, is_in_memory};
use crate::memory::GuestMemory;
use crate::ram_layout::{RamPiece, direct_map};
use crate::vmcoreinfo::Vmcoreinfo;
use crate::workers::{Progress, Threads};

/// What a kernel says about an arrangement of RAM; the better, the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// No kernel is in its place.
    Elsewhere,
    /// A kernel is in its place, but its direct map is not that of this RAM, or cannot be read.
    OtherRam,
    /// A kernel is in its place. It was not asked how much RAM there is.
    InPlace,
    /// A kernel is in its place, and its direct map is that of this RAM.
    Proven,
}

/// Checks arrangements of RAM, all within one budget for page tables.
pub(crate) struct Proof<'a> {
    budget: Budget,
    progress: &'a Progress,
}

impl<'a> Proof<'a> {
    pub(crate) fn new(progress: &'a Progress) -> Self {
        Self {
            budget: direct_map::BUDGET,
            progress,
        }
    }

    /// Returns what the kernels that `infos` describe say about `memory`, which is the RAM in
    /// `pieces`. Only an x86_64 kernel is asked for its direct map.
    pub(crate) fn verdict(
        &mut self,
        memory: &dyn GuestMemory,
        machine: Machine,
        pieces: &[RamPiece],
        infos: &[Vmcoreinfo],
    ) -> Verdict {
        let ranges = memory.ranges();
        let guest = Guest {
            memory,
            ranges: &ranges,
            machine,
        };
        let mut best = Verdict::Elsewhere;
        for info in infos {
            let verdict = if !is_in_memory(guest, info) {
                Verdict::Elsewhere
            } else if machine != Machine::X86_64 {
                Verdict::InPlace
            } else if direct_map::confirms(guest, pieces, info, &mut self.budget, self.progress) {
                Verdict::Proven
            } else {
                Verdict::OtherRam
            };
            best = best.max(verdict);
            if best >= Verdict::InPlace {
                break;
            }
        }
        best
    }

    /// Returns whether the search was cancelled, so that a proof may have failed for this reason.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.progress.is_cancelled()
    }
}

/// Finds all VMCOREINFO in memory whose place and machine are not known.
pub(crate) fn vmcoreinfo_anywhere(
    memory: &dyn GuestMemory,
    threads: Threads<'_>,
    progress: &Progress,
) -> Result<Vec<Vmcoreinfo>, VmcoreinfoError> {
    let ranges = memory.ranges();
    let guest = Guest {
        memory,
        ranges: &ranges,
        // The text is the same on all architectures, and all page sizes are
        // multiples of 4096 bytes.
        machine: Machine::X86_64,
    };
    let finds = find_all(guest, threads, progress)?;
    Ok(finds.into_iter().map(|(info, _)| info).collect())
}

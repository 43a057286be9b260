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

    /// Returns whether one of the kernels that `infos` describe lies in `memory`, which is the RAM
    /// in `pieces`. The direct map of an x86_64 kernel also has to agree that these are all RAM;
    /// other kernels' is not consulted.
    pub(crate) fn holds(
        &mut self,
        memory: &dyn GuestMemory,
        machine: Machine,
        pieces: &[RamPiece],
        infos: &[Vmcoreinfo],
    ) -> bool {
        let ranges = memory.ranges();
        let guest = Guest {
            memory,
            ranges: &ranges,
            machine,
        };
        infos.iter().any(|info| {
            is_in_memory(guest, info)
                && (machine != Machine::X86_64
                    || direct_map::confirms(guest, pieces, info, &mut self.budget, self.progress))
        })
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

//! The exclusion of pages by a dump level.

use super::Refusal;
use super::error::Result;
use super::page_filter::{OnUnknownKernel, PageFilter};
use crate::fault::error_chain;
use crate::guest::linux::{DumpLevel, ExcludedPages, Exclusion, Kernel, KernelError};
use crate::guest::reader::Guest;
use crate::selection::{FrameRun, FrameSet, Selection};
use crate::vmcoreinfo::Vmcoreinfo;
use crate::workers::Workers;

/// What a dump with a [`DumpLevel`] left out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExclusionSummary {
    /// The dump's level, as its header has it: less than what was asked for if
    /// the kernel is not understood.
    pub level: DumpLevel,
    /// How many pages are not in the dump, by the reason. Zero pages are in it,
    /// see [`DumpLevel::ZERO`].
    pub pages: ExcludedPages,
    /// Why the kernel is not understood, so that nothing was left out; `None`
    /// if it is.
    pub not_understood: Option<String>,
}

/// Takes the pages that the options' level leaves out off `selection`; `None`
/// without a level.
pub(super) fn exclude(
    guest: Guest<'_>,
    selection: &mut Selection,
    info: Option<&Vmcoreinfo>,
    filter: PageFilter,
    within: Option<(u64, u64)>,
    workers: &Workers,
) -> Result<Option<ExclusionSummary>> {
    let PageFilter {
        level,
        on_unknown_kernel,
    } = filter;
    if level == DumpLevel::NONE {
        return Ok(None);
    }
    let (level, pages, not_understood) =
        match used_for(guest, selection, info, level, within, workers) {
            Ok((left_out, pages)) => {
                selection.leave_out(left_out);
                (level, pages, None)
            }
            Err(KernelError::Fault(fault)) => return Err(fault.into()),
            Err(source) => {
                // Zero pages need no kernel.
                let rest = level.and(DumpLevel::ZERO);
                if rest != level && on_unknown_kernel == OnUnknownKernel::Fail {
                    return Err(Refusal::DumpLevel { level, source }.into());
                }
                (rest, ExcludedPages::default(), Some(error_chain(&source)))
            }
        };
    if selection.pages() == 0 {
        return Err(Refusal::NothingLeft { level }.into());
    }
    Ok(Some(ExclusionSummary {
        level,
        pages,
        not_understood,
    }))
}

/// What the kernel uses for something that the level leaves out: page frames
/// of `selection`, and how many of the kernel's pages that are.
fn used_for(
    guest: Guest<'_>,
    selection: &Selection,
    info: Option<&Vmcoreinfo>,
    level: DumpLevel,
    within: Option<(u64, u64)>,
    workers: &Workers,
) -> Result<(FrameSet, ExcludedPages), KernelError> {
    let info = info.ok_or(KernelError::NoVmcoreinfo)?;
    let ranges = guest.ranges.to_vec();
    let kernel = Kernel::new(guest.memory, ranges, guest.machine, info.clone(), workers);
    let page_size = kernel.page_size()?;
    if page_size < selection.page_size {
        return Err(KernelError::PageSize {
            kernel: page_size,
            dump: selection.page_size,
        });
    }
    let of_kernel = Selection::new(guest.ranges, page_size, within)?;
    let Exclusion { frames, counts } = kernel.exclude(level, &of_kernel)?;
    // An ELF dump of RAM that is not whole pages has smaller ones.
    let left_out = match page_size / selection.page_size {
        1 => frames,
        ratio => {
            let mut smaller = FrameSet::new(&selection.wanted);
            for run in frames.runs() {
                smaller.insert(FrameRun {
                    start: run.start * ratio,
                    count: run.count * ratio,
                });
            }
            smaller
        }
    };
    Ok((left_out, counts))
}

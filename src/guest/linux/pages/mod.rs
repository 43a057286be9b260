//! What the guest's kernel uses its pages for, and which of them a dump level
//! leaves out.
//!
//! Every `struct page` is looked at once, in large pieces, on as many threads
//! as there are. What is left out does not depend on their number.

mod layout;
mod level;
mod rules;
mod sections;

use std::ops::Range;

pub use level::{DumpLevel, ExcludedPages};

use layout::PageLayout;
use level::Reason;
use sections::{Section, sections};

use crate::fault::Fault;
use crate::guest::linux::error::KernelError;
use crate::guest::linux::kernel::Kernel;
use crate::guest::linux::reader::KernelReader;
use crate::selection::{FrameRun, FrameSet, Selection};
use crate::workers::Progress;
use crate::workers::Threads;

/// Page frames whose `struct page`s are read at once.
const AT_ONCE: u64 = 4096;
/// Sections that are looked at before what they gave is put together, for
/// each thread.
const WAVE: usize = 8;

/// The pages that a dump level leaves out.
#[derive(Debug, Clone)]
pub struct Exclusion {
    pub(crate) frames: FrameSet,
    pub(crate) counts: ExcludedPages,
}

impl Exclusion {
    /// How many, by the reason.
    #[must_use]
    pub fn counts(&self) -> ExcludedPages {
        self.counts
    }

    /// The page frame numbers, as ranges in ascending order.
    pub fn ranges(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.frames.runs().map(|run| run.start..run.end())
    }
}

impl Kernel<'_> {
    /// The pages of RAM that `level` excludes, by what the kernel uses them for.
    /// Whether a page is zero is ignored.
    ///
    /// # Errors
    ///
    /// - [`KernelError::Fault`] if the search was cancelled;
    /// - any other [`KernelError`] if the kernel's memory map cannot be
    ///   understood.
    pub fn exclusion(&self, level: DumpLevel) -> Result<Exclusion, KernelError> {
        let all = Selection::new(self.reader.ranges(), self.page_size()?, None)?;
        self.exclude(level, &all)
    }

    /// As [`exclusion`](Self::exclusion), of `selection`, which has this
    /// kernel's pages.
    pub(crate) fn exclude(
        &self,
        level: DumpLevel,
        selection: &Selection,
    ) -> Result<Exclusion, KernelError> {
        excluded(&self.reader, selection, level, self.threads, &self.progress)
    }
}

/// Page frames in a row that are left out for the same reason.
type Found = Vec<(FrameRun, Reason)>;

/// Which page frames of `selection` are left out by `level`. A block counts
/// also where it begins in RAM that was not asked for.
///
/// # Errors
///
/// [`KernelError::Fault`] if it was cancelled; any other if the kernel cannot
/// be understood.
fn excluded(
    kernel: &KernelReader<'_>,
    selection: &Selection,
    level: DumpLevel,
    threads: Threads<'_>,
    progress: &Progress,
) -> Result<Exclusion, KernelError> {
    let layout = PageLayout::of(kernel)?;
    let sections = sections(
        kernel,
        &selection.ram,
        selection.page_size,
        layout.size as u64,
    )?;
    let mut exclusion = Exclusion {
        frames: FrameSet::new(&selection.wanted),
        counts: ExcludedPages::default(),
    };
    let walk = Walk {
        kernel,
        layout,
        level,
        progress,
    };
    // Sections ascend, and so do their runs. What is behind it is not in the
    // set, so that no frame is looked at twice, whatever blocks claim to be.
    let mut done = 0;
    for wave in sections.chunks(WAVE * threads.count.max(1)) {
        for found in threads.map(wave, &|section| walk.section(section)) {
            for (frames, reason) in found? {
                let Some(frames) = frames.clipped(&(done..u64::MAX)) else {
                    continue;
                };
                done = frames.end();
                let new = exclusion.frames.insert(frames);
                exclusion.counts.count(reason, new);
            }
            if progress.is_cancelled() {
                return Err(Fault::Cancelled.into());
            }
        }
    }
    Ok(exclusion)
}

struct Walk<'k, 'm> {
    kernel: &'k KernelReader<'m>,
    layout: PageLayout,
    level: DumpLevel,
    progress: &'k Progress,
}

impl Walk<'_, '_> {
    fn section(&self, section: &Section) -> Result<Found, KernelError> {
        let mut found: Found = Vec::new();
        let size = self.layout.size;
        let mut bytes = vec![0; size * section.frames.count.min(AT_ONCE) as usize];
        // The first page frame that is not in a block that was left out.
        let mut next = section.frames.start;
        let mut at = section.frames.start;
        while at < section.frames.end() {
            if self.progress.is_cancelled() {
                return Err(Fault::Cancelled.into());
            }
            // Pieces begin at multiples, so that a large page's first two are
            // in the same one.
            let end = section.frames.end().min((at / AT_ONCE + 1) * AT_ONCE);
            let pages = &mut bytes[..size * (end - at) as usize];
            let map = section
                .map
                .wrapping_add((at - section.frames.start).wrapping_mul(size as u64));
            self.kernel.read_large(map, pages)?;
            for frame in at.max(next)..end {
                if frame < next {
                    continue;
                }
                let page = (frame - at) as usize * size;
                let this = &pages[page..page + size];
                let behind = pages.get(page + size..page + 2 * size);
                let page = self.layout.decode(self.kernel, this, behind);
                if let Some((count, reason)) =
                    rules::excluded(&self.layout, self.level, frame, &page)
                {
                    next = frame.saturating_add(count);
                    push(
                        &mut found,
                        FrameRun {
                            start: frame,
                            count,
                        },
                        reason,
                    );
                }
            }
            at = end;
        }
        Ok(found)
    }
}

/// Appends a run, joined with the last one where they touch.
fn push(found: &mut Found, run: FrameRun, reason: Reason) {
    match found.last_mut() {
        Some((last, why)) if last.end() == run.start && *why == reason => last.count += run.count,
        _ => found.push((run, reason)),
    }
}

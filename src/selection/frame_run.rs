//! Runs of page frames.

use std::ops::Range;

use crate::memory::MemoryRange;

/// A run of consecutive page frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameRun {
    /// The first page frame number.
    pub(crate) start: u64,
    /// Number of page frames, at least 1.
    pub(crate) count: u64,
}

impl FrameRun {
    /// Returns the page frame number after the last one.
    pub(crate) fn end(&self) -> u64 {
        self.start + self.count
    }

    /// Returns the part of the run that lies in `frames`, if there is one.
    pub(crate) fn clipped(&self, frames: &Range<u64>) -> Option<Self> {
        let start = self.start.max(frames.start);
        let count = self.end().min(frames.end).checked_sub(start)?;
        (count > 0).then_some(Self { start, count })
    }

    pub(crate) fn range(&self, page_size: u64) -> MemoryRange {
        MemoryRange::of_frames(self.start, self.count, page_size)
    }
}

/// Returns the first `pages` pages of `runs`.
pub(crate) fn first_pages(
    runs: impl Iterator<Item = FrameRun>,
    pages: u64,
) -> impl Iterator<Item = FrameRun> {
    let mut rest = pages;
    runs.map_while(move |run| {
        let count = run.count.min(rest);
        rest -= count;
        (count > 0).then_some(FrameRun { count, ..run })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(list: &[(u64, u64)]) -> Vec<FrameRun> {
        list.iter()
            .map(|&(start, count)| FrameRun { start, count })
            .collect()
    }

    #[test]
    fn first_pages_ends_within_the_run_that_reaches_the_count() {
        let all = runs(&[(0, 10), (20, 10), (40, 1)]);
        let first = |pages| first_pages(all.iter().copied(), pages).collect::<Vec<_>>();
        assert_eq!(first(13), runs(&[(0, 10), (20, 3)]));
        assert_eq!(first(20), runs(&[(0, 10), (20, 10)]));
        assert_eq!(first(0), []);
        assert_eq!(first(99), all);
    }
}

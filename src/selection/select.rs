//! Page selection: which page frames exist, and which of them go into the dump.

use crate::memory::{MemoryRange, RangeError, UnreadableLog, validate_ranges};
use crate::selection::{FrameRun, FrameSet};

/// Why no pages can be selected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SelectionError {
    #[error(transparent)]
    Ranges(#[from] RangeError),
    /// The filter covers no RAM.
    #[error("no RAM lies in the filter")]
    EmptyFilter { begin: u64, length: u64 },
}

/// The page frames of a dump. All lists ascend, and their runs neither overlap
/// nor touch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Selection {
    /// Bytes in a page.
    pub(crate) page_size: u64,
    /// All RAM up to the end of the requested pages. It is kdump's first
    /// bitmap.
    pub(crate) ram: Vec<FrameRun>,
    /// The requested RAM. ELF's PT_LOADs contain it.
    pub(crate) wanted: Vec<FrameRun>,
    /// The requested pages that the dump level excludes, or that the source
    /// does not contain. They are holes of an ELF dump, and have no bits in
    /// kdump's second bitmap.
    pub(crate) left_out: FrameSet,
}

impl Selection {
    /// Selects every page that lies at least in part in `ranges` and in
    /// `filter`. The filter is a begin and a length in bytes; without one, all
    /// RAM is selected.
    pub(crate) fn new(
        ranges: &[MemoryRange],
        page_size: u64,
        filter: Option<(u64, u64)>,
    ) -> Result<Self, SelectionError> {
        validate_ranges(ranges)?;
        let mut ram: Vec<FrameRun> = Vec::new();
        for range in ranges {
            let (start, end) = (range.start() / page_size, range.end().div_ceil(page_size));
            if end.checked_mul(page_size).is_none() {
                return Err(SelectionError::Ranges(RangeError::Overflow {
                    start: range.start(),
                    size: range.size(),
                }));
            }
            match ram.last_mut() {
                Some(last) if last.end() >= start => last.count = end - last.start,
                _ => ram.push(FrameRun {
                    start,
                    count: end - start,
                }),
            }
        }
        let wanted: Vec<_> = match filter {
            None => ram.clone(),
            Some((begin, length)) => {
                let end = begin.saturating_add(length).div_ceil(page_size);
                let frames = begin / page_size..end;
                let wanted: Vec<_> = ram.iter().filter_map(|run| run.clipped(&frames)).collect();
                if length == 0 || wanted.is_empty() {
                    return Err(SelectionError::EmptyFilter { begin, length });
                }
                wanted
            }
        };
        // makedumpfile requires that max_mapnr matches the pages that exist.
        let frames = 0..wanted.last().map_or(0, FrameRun::end);
        let ram = ram.iter().filter_map(|run| run.clipped(&frames)).collect();
        Ok(Self {
            page_size,
            ram,
            wanted,
            left_out: FrameSet::default(),
        })
    }

    /// Selects as [`new`](Self::new) from the RAM of `ranges` and `absent` together. The pages
    /// of which a byte is absent are left out. Neither list overlaps the other.
    pub(crate) fn with_absent(
        ranges: &[MemoryRange],
        absent: &[MemoryRange],
        page_size: u64,
        filter: Option<(u64, u64)>,
    ) -> Result<Self, SelectionError> {
        if absent.is_empty() {
            return Self::new(ranges, page_size, filter);
        }
        let mut all = [ranges, absent].concat();
        all.sort_by_key(MemoryRange::start);
        let mut selection = Self::new(&all, page_size, filter)?;
        let mut left_out = FrameSet::new(&selection.wanted);
        for range in absent {
            let start = range.start() / page_size;
            let count = range.end().div_ceil(page_size) - start;
            left_out.insert(FrameRun { start, count });
        }
        selection.left_out = left_out;
        Ok(selection)
    }

    /// Leaves out the pages of `more` too.
    pub(crate) fn leave_out(&mut self, more: FrameSet) {
        if self.left_out.len() == 0 {
            self.left_out = more;
            return;
        }
        for run in more.runs() {
            self.left_out.insert(run);
        }
    }

    /// Returns the pages in the dump, without those in `missing`.
    pub(crate) fn dumped_without<'a>(
        &'a self,
        missing: &'a FrameSet,
    ) -> impl Iterator<Item = FrameRun> + 'a {
        self.dumped().flat_map(|run| missing.runs_of(run, false))
    }

    /// Returns the pages in the dump. They are kdump's second bitmap.
    pub(crate) fn dumped(&self) -> impl Iterator<Item = FrameRun> + '_ {
        let left_out = &self.left_out;
        self.wanted
            .iter()
            .flat_map(|run| left_out.runs_of(*run, false))
    }

    /// Returns the requested pages that `log` lists as unreadable.
    pub(crate) fn unreadable(&self, log: &UnreadableLog) -> FrameSet {
        let ranges = log.left_out();
        if ranges.is_empty() {
            return FrameSet::default();
        }
        let mut set = FrameSet::new(&self.wanted);
        for range in ranges {
            set.insert(FrameRun {
                start: range.start() / self.page_size,
                count: range.size() / self.page_size,
            });
        }
        set
    }

    /// Returns the number of pages in the dump.
    pub(crate) fn pages(&self) -> u64 {
        self.wanted_pages() - self.left_out.len()
    }

    /// Returns the number of requested pages.
    pub(crate) fn wanted_pages(&self) -> u64 {
        self.wanted.iter().map(|run| run.count).sum()
    }

    /// Returns the number of pages of RAM up to the end of the requested pages.
    pub(crate) fn ram_pages(&self) -> u64 {
        self.ram.iter().map(|run| run.count).sum()
    }

    /// Returns the page frame number after the last requested page.
    pub(crate) fn max_mapnr(&self) -> u64 {
        self.ram.last().map_or(0, FrameRun::end)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ranges() -> Vec<MemoryRange> {
        [(0, 0x2000), (0x2000, 0x1000), (0x10_0000, 0x4000)]
            .map(|(start, size)| MemoryRange::new(start, size).unwrap())
            .to_vec()
    }

    fn runs(list: &[(u64, u64)]) -> Vec<FrameRun> {
        list.iter()
            .map(|&(start, count)| FrameRun { start, count })
            .collect()
    }

    #[test]
    fn touching_ranges_are_one_run() {
        let all = Selection::new(&ranges(), 4096, None).unwrap();
        assert_eq!(all.ram, runs(&[(0, 3), (0x100, 4)]));
        assert_eq!(all.wanted, all.ram);
        assert_eq!((all.pages(), all.max_mapnr()), (7, 0x104));
    }

    #[test]
    fn what_is_left_out_or_missing_is_cut_out_of_runs() {
        let mut all = Selection::new(&ranges(), 4096, None).unwrap();
        let list = |all: &Selection, missing: &FrameSet| -> Vec<_> {
            all.dumped_without(missing).collect()
        };
        let nothing = FrameSet::default();
        assert_eq!(list(&all, &nothing), all.wanted);
        all.left_out = FrameSet::new(&all.wanted);
        all.left_out.insert(FrameRun { start: 1, count: 1 });
        let mut missing = FrameSet::new(&all.wanted);
        missing.insert(FrameRun {
            start: 0x101,
            count: 2,
        });
        let left = runs(&[(0, 1), (2, 1), (0x100, 1), (0x103, 1)]);
        assert_eq!(list(&all, &missing), left);
        assert_eq!((all.pages(), all.wanted_pages()), (6, 7));
    }

    #[test]
    fn a_page_of_which_a_part_is_absent_is_left_out() {
        let range = |start, size| MemoryRange::new(start, size).unwrap();
        let (ranges, absent) = ([range(0, 0x1_8000)], [range(0x1_8000, 0x2_8000)]);
        let some = Selection::with_absent(&ranges, &absent, 65536, None).unwrap();
        assert_eq!(some.wanted, runs(&[(0, 4)]));
        assert_eq!(some.dumped().collect::<Vec<_>>(), runs(&[(0, 1)]));
        let some = Selection::with_absent(&ranges, &absent, 4096, None).unwrap();
        assert_eq!(some.dumped().collect::<Vec<_>>(), runs(&[(0, 0x18)]));
    }

    #[test]
    fn a_filter_is_rounded_out_to_pages() {
        let some = Selection::new(&ranges(), 4096, Some((0x2fff, 0xf_f002))).unwrap();
        assert_eq!(some.wanted, runs(&[(2, 1), (0x100, 3)]));
        assert_eq!((some.pages(), some.ram_pages()), (4, 6));
        assert_eq!(some.max_mapnr(), 0x103);
        let to_the_end = Selection::new(&ranges(), 4096, Some((0x10_3000, u64::MAX))).unwrap();
        assert_eq!(to_the_end.wanted, runs(&[(0x103, 1)]));
    }

    #[test]
    fn a_filter_without_ram_is_refused() {
        for filter in [(0x3000, 0x1000), (0, 0), (u64::MAX, u64::MAX)] {
            let refused = Selection::new(&ranges(), 4096, Some(filter)).unwrap_err();
            assert!(matches!(refused, SelectionError::EmptyFilter { .. }));
        }
    }

    #[test]
    fn a_page_that_is_ram_in_part_is_selected() {
        let ranges = [(0x1000, 0x2000), (0x4000, 0x1000), (0x2_f000, 0x2000)]
            .map(|(start, size)| MemoryRange::new(start, size).unwrap());
        let all = Selection::new(&ranges, 65536, None).unwrap();
        assert_eq!(all.ram, runs(&[(0, 1), (2, 2)]));
        let some = Selection::new(&ranges, 65536, Some((0x3_0000, 1))).unwrap();
        assert_eq!(some.wanted, runs(&[(3, 1)]));
        let last = MemoryRange::new(u64::MAX - 0x3fff, 0x1000).unwrap();
        assert!(Selection::new(&[last], 4096, None).is_ok());
        let refused = Selection::new(&[last], 65536, None).unwrap_err();
        assert!(matches!(
            refused,
            SelectionError::Ranges(RangeError::Overflow { .. })
        ));
    }
}

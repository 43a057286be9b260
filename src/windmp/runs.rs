//! The runs of a full dump, of which the header has room for few.
#![forbid(unsafe_code)]

use crate::guest::windows::WinDmpError;
use crate::memory::{MemoryRange, is_ram};
use crate::selection::FrameRun;
use crate::windmp::PAGE_SIZE;

/// Gaps may be filled up to a part of the memory in the dump, or up to 16 MiB.
const FILL_PART: u64 = 16;
const FILL_PAGES: u64 = 4096;

/// Checks a list of the guest's memory, as the guest has it: the first page
/// frame and the count of pages of each run. The dump has all RAM, so the list
/// is part of that.
///
/// # Errors
///
/// - [`WinDmpError::RunOrder`] if a run is not above the one before it;
/// - [`WinDmpError::RunOutsideRam`] if it is not all in `ram`.
pub(crate) fn check_runs(
    runs: impl Iterator<Item = (u64, u64)>,
    ram: &[MemoryRange],
) -> Result<(), WinDmpError> {
    let mut behind = 0;
    for (index, (base_page, page_count)) in runs.enumerate() {
        if base_page < behind {
            return Err(WinDmpError::RunOrder { index, base_page });
        }
        let bytes = base_page
            .checked_mul(PAGE_SIZE)
            .zip(page_count.checked_mul(PAGE_SIZE));
        if !bytes.is_some_and(|(start, len)| is_ram(ram, start, len)) {
            return Err(WinDmpError::RunOutsideRam {
                index,
                base_page,
                page_count,
            });
        }
        behind = base_page + page_count;
    }
    Ok(())
}

/// `runs`, joined over the smallest gaps between them until there are `max`
/// at most.
///
/// # Errors
///
/// [`WinDmpError::TooManyRuns`] if that takes too many pages of zeroes.
pub(crate) fn fit_runs(runs: &[FrameRun], max: usize) -> Result<Vec<FrameRun>, WinDmpError> {
    let surplus = runs.len().saturating_sub(max);
    if surplus == 0 {
        return Ok(runs.to_vec());
    }
    let gap = |index: usize| runs[index + 1].start - runs[index].end();
    let mut smallest: Vec<usize> = (0..runs.len() - 1).collect();
    smallest.sort_by_key(|&index| gap(index));
    smallest.truncate(surplus);
    let gap_pages = smallest.iter().map(|&index| gap(index)).sum();
    let pages: u64 = runs.iter().map(|run| run.count).sum();
    let limit = (pages / FILL_PART).max(FILL_PAGES);
    if gap_pages > limit {
        return Err(WinDmpError::TooManyRuns {
            runs: runs.len(),
            max,
            gap_pages,
            limit,
        });
    }
    smallest.sort_unstable();
    let mut filled = smallest.into_iter().peekable();
    let mut joined: Vec<FrameRun> = Vec::with_capacity(max);
    for (index, run) in runs.iter().enumerate() {
        let gap_before = index.checked_sub(1);
        match joined.last_mut() {
            Some(last) if filled.next_if(|gap| Some(*gap) == gap_before).is_some() => {
                last.count = run.end() - last.start;
            }
            _ => joined.push(*run),
        }
    }
    Ok(joined)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn run(start: u64, count: u64) -> FrameRun {
        FrameRun { start, count }
    }

    #[test]
    fn the_smallest_gaps_are_filled() {
        let runs = [
            run(0, 10),
            run(12, 8),
            run(100, 1),
            run(102, 3),
            run(200, 1),
        ];
        assert_eq!(fit_runs(&runs, 5).unwrap(), runs);
        let joined = [run(0, 10), run(12, 8), run(100, 5), run(200, 1)];
        assert_eq!(fit_runs(&runs, 4).unwrap(), joined);
        let joined = [run(0, 20), run(100, 5), run(200, 1)];
        assert_eq!(fit_runs(&runs, 3).unwrap(), joined);
        assert_eq!(fit_runs(&runs, 1).unwrap(), [run(0, 201)]);
    }

    #[test]
    fn many_pages_of_zeroes_are_refused() {
        let far = |pages: u64| [run(0, 1), run(pages + 1, 1)];
        assert!(fit_runs(&far(FILL_PAGES), 1).is_ok());
        let error = fit_runs(&far(FILL_PAGES + 1), 1).unwrap_err();
        assert!(error.to_string().contains("win-dmp-bitmap"), "{error}");
        // With more memory in the dump, more may be filled.
        let large = [run(0, 1 << 20), run((1 << 20) + (1 << 16), 1)];
        assert!(fit_runs(&large, 1).is_ok());
        let larger = [run(0, 1 << 20), run((1 << 20) + (1 << 16) + 1, 1)];
        assert!(fit_runs(&larger, 1).is_err());
    }
}

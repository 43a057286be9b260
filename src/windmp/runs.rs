//! Runs of memory, of which the header of a full dump has room for few.
#![forbid(unsafe_code)]

use std::ops::Range;

use crate::windmp::HeaderError;

/// A run of memory as a header has it: `PHYSICAL_MEMORY_RUN32` and `PHYSICAL_MEMORY_RUN64`. It may reach
/// past the end of the address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The first page frame.
    pub base_page: u64,
    /// The number of pages.
    pub page_count: u64,
}

/// The part of the memory in the dump up to which gaps may be filled; 16 MiB are always allowed.
const FILL_PART: u64 = 16;
const FILL_PAGES: u64 = 4096;

/// Joins `runs` over the smallest gaps between them until there are at most `max`. The runs ascend.
///
/// # Errors
///
/// [`HeaderError::TooManyRuns`] if that takes too many pages of zeroes: more than 4096, and more than a
/// sixteenth of the pages in `runs`.
///
/// # Panics
///
/// If a run begins before the end of the run before it.
pub fn fit_runs(runs: &[Range<u64>], max: usize) -> Result<Vec<Range<u64>>, HeaderError> {
    let surplus = runs.len().saturating_sub(max);
    if surplus == 0 {
        return Ok(runs.to_vec());
    }
    assert!(runs.is_sorted_by(|a, b| a.end <= b.start), "runs ascend");
    let gap = |index: usize| runs[index + 1].start - runs[index].end;
    let mut smallest: Vec<usize> = (0..runs.len() - 1).collect();
    smallest.sort_by_key(|&index| gap(index));
    smallest.truncate(surplus);
    let gap_pages = smallest.iter().map(|&index| gap(index)).sum();
    let pages: u64 = runs.iter().map(|run| run.end - run.start).sum();
    let limit = (pages / FILL_PART).max(FILL_PAGES);
    if gap_pages > limit {
        return Err(HeaderError::TooManyRuns {
            runs: runs.len(),
            max,
            gap_pages,
            limit,
        });
    }
    smallest.sort_unstable();
    let mut filled = smallest.into_iter().peekable();
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(max);
    for (index, run) in runs.iter().enumerate() {
        let gap_before = index.checked_sub(1);
        match joined.last_mut() {
            Some(last) if filled.next_if(|gap| Some(*gap) == gap_before).is_some() => {
                last.end = run.end;
            }
            _ => joined.push(run.clone()),
        }
    }
    Ok(joined)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn surplus_runs_are_joined_over_the_smallest_gaps() {
        let runs = [0..10, 12..20, 100..101, 102..105, 200..201];
        assert_eq!(fit_runs(&runs, 5).unwrap(), runs);
        let joined = [0..10, 12..20, 100..105, 200..201];
        assert_eq!(fit_runs(&runs, 4).unwrap(), joined);
        let joined = [0..20, 100..105, 200..201];
        assert_eq!(fit_runs(&runs, 3).unwrap(), joined);
        assert_eq!(fit_runs(&runs, 1).unwrap(), vec![0..201]);
    }

    #[test]
    fn gaps_of_too_many_pages_are_refused() {
        let far = |pages: u64| [0..1, pages + 1..pages + 2];
        assert!(fit_runs(&far(FILL_PAGES), 1).is_ok());
        let error = fit_runs(&far(FILL_PAGES + 1), 1).unwrap_err();
        assert!(matches!(error, HeaderError::TooManyRuns { max: 1, .. }));
        // With more memory in the dump, more may be filled.
        let large = |gap: u64| [0..1 << 20, (1 << 20) + gap..(1 << 20) + gap + 1];
        assert!(fit_runs(&large(1 << 16), 1).is_ok());
        assert!(fit_runs(&large((1 << 16) + 1), 1).is_err());
    }
}

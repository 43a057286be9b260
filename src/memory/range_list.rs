//! Lists of ranges as sets of addresses.
#![forbid(unsafe_code)]

use crate::memory::MemoryRange;

/// Sorts ranges and joins those that overlap or touch.
pub(crate) fn union(mut ranges: Vec<MemoryRange>) -> Vec<MemoryRange> {
    ranges.sort_by_key(MemoryRange::start);
    let mut joined: Vec<MemoryRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start() <= last.end() => {
                if let Some(rest) = range.starting_at(last.end()) {
                    *last = last.joined(&rest);
                }
            }
            _ => joined.push(range),
        }
    }
    joined
}

/// Returns the addresses of `all` that are not in `minus`. Both lists ascend without overlap, and
/// so does the result.
pub(crate) fn difference(all: &[MemoryRange], minus: &[MemoryRange]) -> Vec<MemoryRange> {
    let mut left = Vec::new();
    let mut next = 0;
    for range in all {
        while minus
            .get(next)
            .is_some_and(|gone| gone.end() <= range.start())
        {
            next += 1;
        }
        let mut rest = Some(*range);
        for gone in &minus[next..] {
            let Some(part) = rest.filter(|part| gone.start() < part.end()) else {
                break;
            };
            if gone.start() > part.start() {
                left.push(part.split_at(gone.start() - part.start()).0);
            }
            rest = part.starting_at(gone.end());
        }
        left.extend(rest);
    }
    left
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const PAGE: u64 = 4096;

    fn ranges(list: &[(u64, u64)]) -> Vec<MemoryRange> {
        list.iter()
            .map(|&(start, count)| MemoryRange::of_frames(start, count, PAGE))
            .collect()
    }

    fn frames(list: &[MemoryRange]) -> BTreeSet<u64> {
        list.iter()
            .flat_map(|range| range.start() / PAGE..range.end() / PAGE)
            .collect()
    }

    proptest! {
        #[test]
        fn lists_are_sets(
            a in prop::collection::vec((0u64..100, 1u64..20), 0..10),
            b in prop::collection::vec((0u64..100, 1u64..20), 0..10),
        ) {
            let (a, b) = (ranges(&a), ranges(&b));
            let (all, minus) = (union(a.clone()), union(b.clone()));
            prop_assert_eq!(frames(&all), frames(&a));
            for pair in all.windows(2) {
                prop_assert!(pair[0].end() < pair[1].start());
            }
            let left = difference(&all, &minus);
            let expected: BTreeSet<u64> = &frames(&a) - &frames(&b);
            prop_assert_eq!(frames(&left), expected);
        }
    }
}

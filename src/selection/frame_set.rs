//! A set of page frames of RAM: one bit for each.

use crate::bitmap::BitSet;
use crate::selection::FrameRun;

/// A set of page frames of RAM. The default is an empty set, to which nothing
/// can be added.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct FrameSet {
    /// The runs of RAM, each with the number of its first bit.
    ram: Vec<(FrameRun, u64)>,
    bits: BitSet,
}

impl FrameSet {
    /// Creates an empty set for page frames of `ram`, which ascends.
    pub(crate) fn new(ram: &[FrameRun]) -> Self {
        let mut next = 0;
        let ram = ram.iter().map(|run| {
            let first = next;
            next += run.count;
            (*run, first)
        });
        let ram = ram.collect();
        Self {
            ram,
            bits: BitSet::new(next),
        }
    }

    /// Returns the number of page frames in the set.
    pub(crate) fn len(&self) -> u64 {
        self.bits.len()
    }

    /// Adds those of `frames` that are RAM. It returns the number of new ones.
    pub(crate) fn insert(&mut self, frames: FrameRun) -> u64 {
        let mut new = 0;
        let first = self
            .ram
            .partition_point(|(run, _)| run.end() <= frames.start);
        for index in first..self.ram.len() {
            let (run, bit) = self.ram[index];
            let Some(part) = frames.clipped(&(run.start..run.end())) else {
                break;
            };
            let start = bit + (part.start - run.start);
            new += self.bits.insert(start..start + part.count);
        }
        new
    }

    /// Returns the runs of page frames in the set, in ascending order.
    pub(crate) fn runs(&self) -> impl Iterator<Item = FrameRun> + '_ {
        self.ram
            .iter()
            .flat_map(|(run, _)| self.runs_of(*run, true))
    }

    /// Returns the runs of page frames in `run` that are in the set (`inside`),
    /// or that are not. The runs ascend.
    pub(crate) fn runs_of(
        &self,
        run: FrameRun,
        inside: bool,
    ) -> impl Iterator<Item = FrameRun> + '_ {
        let mut rest = run.start;
        std::iter::from_fn(move || {
            while rest < run.end() {
                let (is_in, end) = self.next_change(rest, run.end());
                let start = std::mem::replace(&mut rest, end);
                if is_in == inside {
                    return Some(FrameRun {
                        start,
                        count: end - start,
                    });
                }
            }
            None
        })
    }

    /// Returns whether `frame` is in the set, and the first frame up to `end`
    /// for which that changes. If it does not change, that is `end`.
    pub(crate) fn next_change(&self, frame: u64, end: u64) -> (bool, u64) {
        let index = self.ram.partition_point(|(run, _)| run.end() <= frame);
        let Some((run, first)) = self.ram.get(index).filter(|(run, _)| run.start < end) else {
            return (false, end);
        };
        if frame < run.start {
            return (false, run.start);
        }
        let bit = first + (frame - run.start);
        let stop = first + (run.end().min(end) - run.start);
        let (is_in, at) = self.bits.next_change(bit..stop);
        (is_in, frame + (at - bit))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(start: u64, count: u64) -> FrameRun {
        FrameRun { start, count }
    }

    proptest! {
        #[test]
        fn a_set_is_what_was_put_in(
            puts in prop::collection::vec((0u64..700, 1u64..200), 0..20),
            from in 0u64..700,
            len in 1u64..700,
        ) {
            let ram = [run(3, 100), run(120, 1), run(200, 300)];
            let is_ram = |f: u64| ram.iter().any(|r| (r.start..r.end()).contains(&f));
            let mut set = FrameSet::new(&ram);
            let mut model = std::collections::BTreeSet::new();
            for (start, count) in puts {
                let before = model.len();
                model.extend((start..start + count).filter(|f| is_ram(*f)));
                let new = set.insert(run(start, count));
                prop_assert_eq!(new, (model.len() - before) as u64);
            }
            prop_assert_eq!(set.len(), model.len() as u64);
            prop_assert_eq!(set.runs().map(|r| r.count).sum::<u64>(), model.len() as u64);
            for inside in [true, false] {
                let runs: Vec<_> = set.runs_of(run(from, len), inside).collect();
                let frames: Vec<u64> = runs.iter().flat_map(|r| r.start..r.end()).collect();
                let expected: Vec<u64> =
                    (from..from + len).filter(|f| model.contains(f) == inside).collect();
                prop_assert_eq!(frames, expected);
            }
        }
    }
}

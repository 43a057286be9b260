//! Pieces of guest memory of a size that is good to read and write at once.

use super::part::Part;
use super::run_rest::{Beginning, RunRest};
use crate::fault::Fault;
use crate::memory::GuestMemory;
use crate::selection::{FrameRun, Selection};

/// Bytes of guest memory in a chunk, of whose pages any is populated. Chunks
/// begin at multiples of it, counted in the dump's pages, whatever is
/// populated: what is written at once shows in a flattened dump.
pub(crate) const CHUNK_SIZE: u64 = 1 << 20;

/// Bytes in a chunk that is not populated, at most; a multiple of
/// [`CHUNK_SIZE`]. It costs next to nothing, so it may be long.
pub(crate) const LONGEST: u64 = 256 << 20;

/// Some pages of a dump, in its order; they need not touch in memory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Chunk {
    pub(crate) parts: Vec<Part>,
    /// Length of all parts in bytes.
    pub(crate) size: u64,
    /// Length of the parts that may be populated.
    pub(crate) populated: u64,
    /// Pages of the dump before this chunk.
    pub(crate) first_page: u64,
}

impl Chunk {
    /// How many of `len` bytes, which are all populated or all not, go into this
    /// chunk as its next part.
    fn room_for(&self, len: u64, populated: bool) -> u64 {
        let is_long = !populated && self.size == 0 && len >= CHUNK_SIZE;
        let room = if is_long {
            LONGEST.min(len - len % CHUNK_SIZE)
        } else {
            CHUNK_SIZE - self.size
        };
        room.min(len)
    }

    fn push(&mut self, part: Part) {
        self.size += part.range.size();
        if part.populated {
            self.populated += part.range.size();
        }
        self.parts.push(part);
    }
}

/// The treatment of pages that a dump level excludes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeftOut {
    /// They are in no chunk.
    Missing,
    /// They are as if they were not populated.
    Zeroes,
}

/// All chunks of a dump, in order.
pub(crate) struct Chunks<'a> {
    memory: &'a dyn GuestMemory,
    selection: &'a Selection,
    left_out: LeftOut,
    runs: std::slice::Iter<'a, FrameRun>,
    position: Position,
    next_page: u64,
}

/// Where the next part of a chunk begins.
#[derive(Debug, Clone, Copy)]
enum Position {
    /// At the beginning of the next run, if there is one.
    BetweenRuns,
    /// Inside a run.
    InRun(RunRest),
}

impl<'a> Chunks<'a> {
    pub(crate) fn new(
        memory: &'a dyn GuestMemory,
        selection: &'a Selection,
        left_out: LeftOut,
    ) -> Self {
        Self {
            memory,
            selection,
            left_out,
            runs: selection.wanted.iter(),
            position: Position::BetweenRuns,
            next_page: 0,
        }
    }

    /// The next chunk; `None` after the last one.
    pub(crate) fn next(&mut self) -> Result<Option<Chunk>, Fault> {
        let mut chunk = Chunk {
            first_page: self.next_page,
            ..Chunk::default()
        };
        while chunk.size < CHUNK_SIZE {
            let Some(part) = self.next_part(&chunk)? else {
                break;
            };
            chunk.push(part);
        }
        self.next_page += chunk.size / self.selection.page_size;
        Ok((chunk.size > 0).then_some(chunk))
    }

    /// The next part, no longer than `chunk` has room.
    fn next_part(&mut self, chunk: &Chunk) -> Result<Option<Part>, Fault> {
        let Some(mut rest) = self.next_rest() else {
            return Ok(None);
        };
        let Beginning { end, known } = rest.beginning(self.memory, self.selection)?;
        let populated = known.is_some();
        let len = chunk.room_for(end - rest.range.start(), populated);
        let (range, after) = rest.range.split_at(len);
        self.position = Position::at(rest.advanced_to(after, self.selection));
        Ok(Some(Part {
            range,
            populated,
            known: known.and_then(|known| known.intersection(&range)),
        }))
    }

    /// The rest of the present run, or the next run. Excluded pages at its
    /// beginning are skipped if they are in no chunk. `None` after the last run.
    fn next_rest(&mut self) -> Option<RunRest> {
        loop {
            let rest = match self.position {
                Position::InRun(rest) => rest,
                Position::BetweenRuns => RunRest::of_run(self.runs.next()?, self.selection),
            };
            if !rest.begins_excluded() || self.left_out == LeftOut::Zeroes {
                return Some(rest);
            }
            self.position = Position::at(rest.after_excluded(self.selection));
        }
    }
}

impl Position {
    fn at(rest: Option<RunRest>) -> Self {
        rest.map_or(Self::BetweenRuns, Self::InRun)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io;

    use super::*;
    use crate::memory::MemoryRange;
    use crate::selection::FrameSet;

    /// Populated in three places.
    struct Sparse;

    impl GuestMemory for Sparse {
        fn ranges(&self) -> Vec<MemoryRange> {
            unreachable!()
        }
        fn read(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
            unreachable!()
        }
        fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
            let populated = [
                (0x2000, 0x4000),
                (0x10_0000_0000, 0x1000),
                (0x40_0000_0000, 2 << 20),
            ];
            Ok(populated
                .iter()
                .map(|&(start, size)| MemoryRange::new(start, size).unwrap())
                .find_map(|extent| extent.intersection(&range)))
        }
    }

    /// First page, then start, size and whether populated of each part.
    type Shape = (u64, Vec<(u64, u64, bool)>);

    fn chunks(runs: &[(u64, u64)], page_size: u64) -> Vec<Shape> {
        chunks_without(runs, page_size, &[], LeftOut::Missing)
    }

    fn chunks_without(
        runs: &[(u64, u64)],
        page_size: u64,
        without: &[(u64, u64)],
        left_out: LeftOut,
    ) -> Vec<Shape> {
        let to_runs = |list: &[(u64, u64)]| {
            let run = |&(start, count): &(u64, u64)| FrameRun { start, count };
            list.iter().map(run).collect::<Vec<_>>()
        };
        let wanted = to_runs(runs);
        let mut set = FrameSet::new(&wanted);
        for run in to_runs(without) {
            set.insert(run);
        }
        let selection = Selection {
            page_size,
            ram: wanted.clone(),
            wanted,
            left_out: set,
        };
        let mut chunks = Chunks::new(&Sparse, &selection, left_out);
        std::iter::from_fn(|| chunks.next().unwrap())
            .map(|chunk| {
                let parts: Vec<_> = chunk
                    .parts
                    .iter()
                    .map(|p| (p.range.start(), p.range.size(), p.populated))
                    .collect();
                assert_eq!(chunk.size, parts.iter().map(|p| p.1).sum::<u64>());
                (chunk.first_page, parts)
            })
            .collect()
    }

    #[test]
    fn chunks_cover_every_run_in_order() {
        assert_eq!(
            chunks(&[(1, 7), (0x100, 300), (0x100_0000, 1)], 4096),
            [
                (
                    0,
                    vec![
                        (0x1000, 0x1000, false),
                        (0x2000, 0x4000, true),
                        (0x6000, 0x2000, false),
                        (0x10_0000, 249 << 12, false),
                    ]
                ),
                (
                    256,
                    vec![
                        (0x10_0000 + (249 << 12), 51 << 12, false),
                        (0x10_0000_0000, 0x1000, true),
                    ]
                ),
            ]
        );
    }

    #[test]
    fn what_is_not_populated_makes_long_chunks_that_end_where_short_ones_do() {
        let start = (1 << 38) - 2 * LONGEST - (3 << 12);
        assert_eq!(
            chunks(&[(start >> 12, 2 * (LONGEST >> 12) + 3 + 512)], 4096),
            [
                (0, vec![(start, LONGEST, false)]),
                (65536, vec![(start + LONGEST, LONGEST, false)]),
                (
                    131_072,
                    vec![
                        ((1 << 38) - (3 << 12), 3 << 12, false),
                        (1 << 38, 253 << 12, true),
                    ]
                ),
                (131_328, vec![((1 << 38) + (253 << 12), 1 << 20, true)]),
                (131_584, vec![((1 << 38) + (509 << 12), 3 << 12, true)]),
            ]
        );
    }

    #[test]
    fn extents_are_widened_to_the_guests_pages() {
        assert_eq!(
            chunks(&[(0, 3)], 16384),
            [(0, vec![(0, 0x8000, true), (0x8000, 0x4000, false)])]
        );
    }

    #[test]
    fn what_is_left_out_is_missing_or_zeroes() {
        let (runs, without) = (
            &[(0, 9), (0x100, 300)],
            &[(0, 1), (3, 1), (5, 99), (0x110, 9)],
        );
        assert_eq!(
            chunks_without(runs, 4096, without, LeftOut::Missing),
            [
                (
                    0,
                    vec![
                        (0x1000, 0x1000, false),
                        (0x2000, 0x1000, true),
                        (0x4000, 0x1000, true),
                        (0x10_0000, 0x1_0000, false),
                        (0x11_9000, 237 << 12, false),
                    ]
                ),
                (256, vec![(0x11_9000 + (237 << 12), 38 << 12, false)]),
            ]
        );
        assert_eq!(
            chunks_without(runs, 4096, without, LeftOut::Zeroes)[0].1[..6],
            [
                (0, 0x1000, false),
                (0x1000, 0x1000, false),
                (0x2000, 0x1000, true),
                (0x3000, 0x1000, false),
                (0x4000, 0x1000, true),
                (0x5000, 0x4000, false),
            ]
        );
        let nothing = &[(0, 9), (0x100, 300)];
        assert_eq!(chunks_without(runs, 4096, nothing, LeftOut::Missing), []);
    }
}

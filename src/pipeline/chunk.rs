//! Pieces of guest memory of a size that is good to read and write at once.

use std::io;

use crate::fault::Fault;
use crate::memory::{GuestMemory, MIN_PAGE_SIZE, MemoryRange, read_populated};
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

/// A piece of one run of page frames, whole pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) range: MemoryRange,
    /// Whether anything in it may be populated. If not, it is zeroes.
    pub(crate) populated: bool,
    /// What is known to be populated. Before it in `range` nothing is; behind
    /// it, up to the end of the guest's page, something may be.
    known: Option<MemoryRange>,
}

impl Part {
    /// The bytes in place, if the memory can give them.
    pub(crate) fn in_place<'m>(&self, memory: &'m dyn GuestMemory) -> Option<&'m [u8]> {
        memory.as_slice(self.known.filter(|known| *known == self.range)?)
    }

    /// The part in pieces of `size` bytes, whole pages, and what is left over.
    pub(crate) fn pieces(self, size: u64) -> impl Iterator<Item = Self> {
        let mut rest = Some(self.range);
        std::iter::from_fn(move || {
            let (range, behind) = rest?.split_at(size);
            rest = behind;
            Some(Self {
                range,
                known: self.known.and_then(|known| known.intersection(&range)),
                ..self
            })
        })
    }

    /// Reads what is populated into `buf`, which has the size of the range;
    /// the rest becomes zeroes.
    pub(crate) fn read(&self, memory: &dyn GuestMemory, buf: &mut [u8]) -> Result<(), Fault> {
        let start = self.range.start();
        let known = self.known.map_or(start..start, |k| k.start()..k.end());
        let (before, rest) = buf.split_at_mut((known.start - start) as usize);
        let (inside, behind) = rest.split_at_mut((known.end - known.start) as usize);
        before.fill(0);
        let result = match inside {
            [] => Ok(()),
            inside => memory.read(known.start, inside),
        };
        result
            .and_then(|()| match behind {
                [] => Ok(()),
                behind => read_populated(memory, self.range, known.end, behind),
            })
            .map_err(|source| self.read_error(memory, source))
    }

    /// The error for a part that cannot be read, of the first page that
    /// cannot, if that can be told.
    fn read_error(&self, memory: &dyn GuestMemory, source: io::Error) -> Fault {
        let mut page = [0; MIN_PAGE_SIZE as usize];
        let starts = (self.range.start()..self.range.end()).step_by(page.len());
        for gpa in starts {
            let here = MemoryRange::of_frames(gpa / MIN_PAGE_SIZE, 1, MIN_PAGE_SIZE);
            if let Err(source) = read_populated(memory, here, gpa, &mut page) {
                let len = MIN_PAGE_SIZE;
                return Fault::Read { gpa, len, source };
            }
        }
        Fault::Read {
            gpa: self.range.start(),
            len: self.range.size(),
            source,
        }
    }
}

/// What becomes of pages that a dump level leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeftOut {
    /// They are in no chunk.
    Missing,
    /// They are as if they were not populated.
    Zeroes,
}

/// All chunks of a dump, in order.
///
/// The memory is asked for its extents in one pass over each run: on tmpfs
/// the answer can take as long as the extent is large.
pub(crate) struct Chunks<'a> {
    memory: &'a dyn GuestMemory,
    selection: &'a Selection,
    left_out: LeftOut,
    runs: std::slice::Iter<'a, FrameRun>,
    /// What is left of the present run.
    rest: Option<MemoryRange>,
    ahead: Ahead,
    /// Whether the pages of the present run up to this address are left out.
    same: Option<(bool, u64)>,
    next_page: u64,
}

/// What is known of `Chunks::rest`.
#[derive(Debug, Clone, Copy)]
enum Ahead {
    NotAsked,
    /// The first populated extent, and the guest's pages that it touches.
    Extent {
        known: MemoryRange,
        pages: MemoryRange,
    },
    /// There is no populated extent.
    Nothing,
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
            rest: None,
            ahead: Ahead::NotAsked,
            same: None,
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
            chunk.size += part.range.size();
            if part.populated {
                chunk.populated += part.range.size();
            }
            chunk.parts.push(part);
        }
        self.next_page += chunk.size / self.selection.page_size;
        Ok((chunk.size > 0).then_some(chunk))
    }

    /// The next part, no longer than `chunk` has room.
    fn next_part(&mut self, chunk: &Chunk) -> Result<Option<Part>, Fault> {
        let Some((rest, left_out, same_until)) = self.next_rest() else {
            return Ok(None);
        };
        let (end, known) = match left_out {
            true => (same_until, None),
            false => {
                let (end, known) = self.look_ahead(rest)?;
                (end.min(same_until), known)
            }
        };
        let populated = known.is_some();
        let len = end - rest.start();
        let max = match populated || chunk.size > 0 || len < CHUNK_SIZE {
            true => CHUNK_SIZE - chunk.size,
            false => LONGEST.min(len - len % CHUNK_SIZE),
        };
        let (range, rest) = rest.split_at(max.min(len));
        self.go_on(rest);
        Ok(Some(Part {
            range,
            populated,
            known: known.and_then(|known| known.intersection(&range)),
        }))
    }

    /// What is left of the present run, or the next one; whether its first
    /// page is left out of the dump, and the end of the pages of which the
    /// same is true.
    fn next_rest(&mut self) -> Option<(MemoryRange, bool, u64)> {
        let page_size = self.selection.page_size;
        loop {
            let rest = match self.rest {
                Some(rest) => rest,
                None => self.runs.next()?.range(page_size),
            };
            let (left_out, until) = *self.same.get_or_insert_with(|| {
                let (start, end) = (rest.start() / page_size, rest.end() / page_size);
                let (left_out, until) = self.selection.left_out.next_change(start, end);
                (left_out, until * page_size)
            });
            if !left_out || self.left_out == LeftOut::Zeroes {
                return Some((rest, left_out, until));
            }
            self.go_on(rest.starting_at(until));
        }
    }

    /// What is left of the present run is `rest`.
    fn go_on(&mut self, rest: Option<MemoryRange>) {
        self.rest = rest;
        self.same = self
            .same
            .filter(|(_, until)| rest.is_some_and(|rest| rest.start() < *until));
        let still_known = match (rest, self.ahead) {
            (None, _) => false,
            (Some(rest), Ahead::Extent { pages, .. }) => rest.start() < pages.end(),
            (Some(_), Ahead::NotAsked | Ahead::Nothing) => true,
        };
        if !still_known {
            self.ahead = Ahead::NotAsked;
        }
    }

    /// Up to where the beginning of `rest` is populated, and what is known to
    /// be so; `None` if it is not populated.
    fn look_ahead(&mut self, rest: MemoryRange) -> Result<(u64, Option<MemoryRange>), Fault> {
        if let Ahead::NotAsked = self.ahead {
            self.ahead = self.ask(rest)?;
        }
        Ok(match self.ahead {
            Ahead::Extent { pages, .. } if pages.start() > rest.start() => (pages.start(), None),
            Ahead::Extent { known, pages } => (pages.end(), Some(known)),
            Ahead::NotAsked | Ahead::Nothing => (rest.end(), None),
        })
    }

    fn ask(&self, rest: MemoryRange) -> Result<Ahead, Fault> {
        let failed = |source| Fault::Read {
            gpa: rest.start(),
            len: rest.size(),
            source,
        };
        let Some(found) = self.memory.next_populated(rest).map_err(failed)? else {
            return Ok(Ahead::Nothing);
        };
        // Taking it for nothing would turn memory into zeroes.
        let known = found.intersection(&rest).ok_or_else(|| {
            failed(io::Error::other(format!(
                "the memory names the populated extent {found}, which is not in {rest}"
            )))
        })?;
        // Extents are made of the host's pages, the dump of the guest's.
        let pages = known.expand_to(self.selection.page_size, &rest);
        Ok(Ahead::Extent { known, pages })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
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

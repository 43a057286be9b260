//! Pieces of guest memory of a size that is good to read and write at once.

use std::io;

use super::FrameRun;
use crate::error::{Error, Result};
use crate::memory::{GuestMemory, MemoryRange};

/// Bytes of guest memory in a chunk, at most.
pub(crate) const CHUNK_SIZE: u64 = 1 << 20;

/// A piece of one run of page frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) range: MemoryRange,
    /// Pages of the dump before this chunk.
    pub(crate) first_page: u64,
}

/// All chunks of a dump, in order.
#[derive(Debug)]
pub(crate) struct Chunks<'a> {
    runs: std::slice::Iter<'a, FrameRun>,
    page_size: u64,
    rest: Option<MemoryRange>,
    next_page: u64,
}

impl<'a> Chunks<'a> {
    pub(crate) fn new(runs: &'a [FrameRun], page_size: u64) -> Self {
        Self {
            runs: runs.iter(),
            page_size,
            rest: None,
            next_page: 0,
        }
    }
}

impl Iterator for Chunks<'_> {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        let range = match self.rest {
            Some(range) => range,
            None => self.runs.next()?.range(self.page_size),
        };
        let (range, rest) = range.split_at(CHUNK_SIZE);
        self.rest = rest;
        let first_page = self.next_page;
        self.next_page += range.size() / self.page_size;
        Some(Chunk { range, first_page })
    }
}

/// Calls `each` for every populated extent in `range`, in order, widened to
/// whole pages of `page_size` bytes, of which `range` consists.
pub(crate) fn extents(
    memory: &dyn GuestMemory,
    range: MemoryRange,
    page_size: u64,
    mut each: impl FnMut(MemoryRange) -> Result<()>,
) -> Result<()> {
    let mut rest = Some(range);
    while let Some(part) = rest {
        let failed = |source| Error::ReadMemory {
            gpa: part.start(),
            len: part.size(),
            source,
        };
        let Some(found) = memory.next_populated(part).map_err(failed)? else {
            break;
        };
        // Taking it for nothing would turn memory into zeroes.
        let extent = found.intersection(&part).ok_or_else(|| {
            failed(io::Error::other(format!(
                "the memory names the populated extent {found}, which is not in {part}"
            )))
        })?;
        let extent = extent.expand_to(page_size, &part);
        each(extent)?;
        rest = part.starting_at(extent.end());
    }
    Ok(())
}

/// Reads all of `extent` into `buf`, which has its size.
pub(crate) fn read_extent(
    memory: &dyn GuestMemory,
    extent: MemoryRange,
    buf: &mut [u8],
) -> Result<()> {
    memory
        .read(extent.start(), buf)
        .map_err(|source| Error::ReadMemory {
            gpa: extent.start(),
            len: extent.size(),
            source,
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn chunks_cover_every_run_and_count_pages() {
        let runs = [
            FrameRun { start: 1, count: 3 },
            FrameRun {
                start: 0x100,
                count: 300,
            },
            FrameRun {
                start: 0x10_0000,
                count: 256,
            },
        ];
        let chunks: Vec<_> = Chunks::new(&runs, 4096)
            .map(|c| (c.range.start(), c.range.size() / 4096, c.first_page))
            .collect();
        assert_eq!(
            chunks,
            [
                (0x1000, 3, 0),
                (0x10_0000, 256, 3),
                (0x20_0000, 44, 259),
                (0x1_0000_0000, 256, 303)
            ]
        );
    }
}

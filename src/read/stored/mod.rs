//! Guest memory that a dump contains as it is, without compression: that of
//! ELF and Windows dumps.
#![forbid(unsafe_code)]

mod pieces;

use std::io;

use crate::memory::{
    Lack, MIN_PAGE_SIZE, MemoryRange, is_zero, next_populated_by_range, read_by_range,
};
use crate::read::check::stop_if_cancelled;
use crate::read::regions::pages_with;
use crate::read::{CheckReport, Input, VmcoreError};
use crate::workers::Progress;

pub(crate) use pieces::Piece;

/// A range of guest memory and where it lies in the dump.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) range: MemoryRange,
    pub(crate) offset: u64,
}

/// All memory of a dump by guest-physical address, without overlap.
#[derive(Debug)]
pub(crate) struct StoredMemory {
    parts: Vec<StoredPart>,
    /// The pieces of [`Bytes::Mixed`] pages.
    pieces: Vec<Piece>,
}

/// Whole pages whose bytes lie in one place.
#[derive(Debug, Clone, Copy)]
struct StoredPart {
    range: MemoryRange,
    bytes: Bytes,
}

/// The place of a part's bytes.
#[derive(Debug, Clone, Copy)]
enum Bytes {
    /// The offset in the dump.
    At(u64),
    /// The dump states that they are zero, without storing them.
    Zeroes,
    /// A page of several pieces, or with a part that is in no piece: the indices in
    /// [`StoredMemory::pieces`]. Bytes outside the pieces are zero.
    Mixed { first: usize, end: usize },
}

/// The memory of a dump that lies past its end.
#[derive(Debug)]
pub(crate) struct Cut {
    /// It ascends.
    pub(crate) lost: Vec<MemoryRange>,
    pub(crate) lack: Lack,
}

/// The most bytes that a check reads at once.
const CHECKED_AT_ONCE: u64 = 1 << 20;

impl StoredMemory {
    /// Makes memory of extents that ascend and do not overlap.
    pub(crate) fn new(extents: Vec<Extent>) -> Self {
        let part = |Extent { range, offset }| StoredPart {
            range,
            bytes: Bytes::At(offset),
        };
        Self {
            parts: extents.into_iter().map(part).collect(),
            pieces: Vec::new(),
        }
    }

    pub(crate) fn ranges(&self) -> impl Iterator<Item = MemoryRange> {
        self.parts.iter().map(|part| part.range)
    }

    /// Bytes of memory.
    pub(crate) fn size(&self) -> u64 {
        self.ranges().map(|range| range.size()).sum()
    }

    /// Takes the memory out that lies past the end of the dump.
    ///
    /// # Errors
    ///
    /// [`VmcoreError::Truncated`] if that is far more than a dump of such a length may state.
    pub(crate) fn cut_at(self, input: &Input) -> Result<(Self, Option<Cut>), VmcoreError> {
        let mut lost = Vec::new();
        let mut first = u64::MAX;
        for part in &self.parts {
            let Bytes::At(offset) = part.bytes else {
                continue;
            };
            let in_file = input.len().saturating_sub(offset).min(part.range.size());
            let whole = in_file - in_file % MIN_PAGE_SIZE;
            if let Some(rest) = part.range.starting_at(part.range.start() + whole) {
                first = first.min(offset + whole);
                lost.push(rest);
            }
        }
        if lost.is_empty() {
            return Ok((self, None));
        }
        let bytes: u64 = lost.iter().map(|range| range.size()).sum();
        if bytes > input.largest_claim() {
            return Err(VmcoreError::Truncated {
                what: "the pages",
                offset: first,
                end: input.len(),
            });
        }
        let lack = Lack::CutShort {
            what: "a page",
            offset: first,
            end: input.len(),
        };
        let memory = self.without(&lost);
        Ok((memory, Some(Cut { lost, lack })))
    }

    /// Takes the memory of `absent` out, which ascends.
    pub(crate) fn without(self, absent: &[MemoryRange]) -> Self {
        let mut parts = Vec::with_capacity(self.parts.len());
        for part in self.parts {
            let first = absent.partition_point(|gone| gone.end() <= part.range.start());
            let gone = absent[first..].iter();
            let mut rest = Some(part.range);
            for gone in gone.take_while(|gone| gone.start() < part.range.end()) {
                let Some(left) = rest else { break };
                let before = gone.start().saturating_sub(left.start());
                if before > 0 {
                    parts.push(part.within(left.split_at(before).0));
                }
                rest = left.starting_at(gone.end());
            }
            parts.extend(rest.map(|rest| part.within(rest)));
        }
        Self {
            parts,
            pieces: self.pieces,
        }
    }

    /// Fills `buf` from `gpa` on.
    pub(crate) fn read(&self, input: &Input, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        read_by_range(&self.parts, range_of, gpa, buf, |part, gpa, buf| {
            match part.bytes {
                Bytes::At(offset) => input.read_at(offset + (gpa - part.range.start()), buf)?,
                Bytes::Zeroes => buf.fill(0),
                Bytes::Mixed { first, end } => {
                    pieces::read(input, &self.pieces[first..end], gpa, buf)?;
                }
            }
            Ok(())
        })
    }

    /// Finds the first pages of `range` that are not in a hole of the dump.
    pub(crate) fn next_populated(
        &self,
        input: &Input,
        range: MemoryRange,
    ) -> io::Result<Option<MemoryRange>> {
        next_populated_by_range(&self.parts, range_of, range, |part, here| {
            match part.bytes {
                Bytes::At(offset) => {
                    let offset = offset + (here.start() - part.range.start());
                    let data = input.next_data(offset, offset + here.size())?;
                    Ok(data.and_then(|data| pages_with(&data, offset, here)))
                }
                Bytes::Zeroes => Ok(None),
                Bytes::Mixed { .. } => Ok(Some(here)),
            }
        })
    }

    /// Reads all memory and counts its pages.
    pub(crate) fn check(
        &self,
        input: &Input,
        page_size: u64,
        report: &mut CheckReport,
        progress: &Progress,
    ) -> Result<(), VmcoreError> {
        let longest = self.ranges().map(|range| range.size()).max();
        let mut buf = vec![0; longest.unwrap_or(0).min(CHECKED_AT_ONCE) as usize];
        for part in &self.parts {
            stop_if_cancelled(progress)?;
            match part.bytes {
                Bytes::At(offset) => {
                    let extent = Extent {
                        range: part.range,
                        offset,
                    };
                    check_extent(input, extent, &mut buf, page_size, report, progress)?;
                }
                Bytes::Zeroes => {
                    report.zero_pages += part.range.size() / page_size;
                    progress.add_done(part.range.size());
                }
                Bytes::Mixed { first, end } => {
                    let page = &mut buf[..MIN_PAGE_SIZE as usize];
                    pieces::read(input, &self.pieces[first..end], part.range.start(), page)?;
                    report.zero_pages += u64::from(is_zero(page));
                    progress.add_done(MIN_PAGE_SIZE);
                }
            }
            report.raw_pages += part.range.size() / page_size;
        }
        Ok(())
    }
}

impl StoredPart {
    /// Returns the part's pages in `range`, which lies in it. A page of pieces is one page, so
    /// it is not divided.
    fn within(self, range: MemoryRange) -> Self {
        let bytes = match self.bytes {
            Bytes::At(offset) => Bytes::At(offset + (range.start() - self.range.start())),
            same => same,
        };
        Self { range, bytes }
    }
}

fn check_extent(
    input: &Input,
    Extent { range, offset }: Extent,
    buf: &mut [u8],
    page_size: u64,
    report: &mut CheckReport,
    progress: &Progress,
) -> Result<(), VmcoreError> {
    let page = page_size as usize;
    let mut done = 0;
    while done < range.size() {
        stop_if_cancelled(progress)?;
        let (at, end) = (offset + done, offset + range.size());
        let hole = input.skip_hole(at, end) - at;
        let hole = hole - hole % page_size;
        let n = if hole > 0 {
            report.zero_pages += hole / page_size;
            hole
        } else {
            let n = (end - at).min(buf.len() as u64);
            let part = &mut buf[..n as usize];
            input.read_at(at, part)?;
            let zero = part.chunks(page).filter(|page| is_zero(page)).count();
            report.zero_pages += zero as u64;
            n
        };
        done += n;
        progress.add_done(n);
    }
    Ok(())
}

fn range_of(part: &StoredPart) -> MemoryRange {
    part.range
}

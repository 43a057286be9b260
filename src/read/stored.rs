//! Guest memory that a dump contains as it is, without compression: that of
//! ELF and Windows dumps.
#![forbid(unsafe_code)]

use std::io;

use crate::memory::{MemoryRange, is_zero, next_populated_by_range, read_by_range};
use crate::read::check::stop_if_cancelled;
use crate::read::regions::pages_with;
use crate::read::{CheckReport, Input, VmcoreError};
use crate::workers::Progress;

/// A range of guest memory and where it lies in the dump.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) range: MemoryRange,
    pub(crate) offset: u64,
}

/// All memory of a dump: extents by guest-physical address, without overlap.
#[derive(Debug)]
pub(crate) struct StoredMemory {
    extents: Vec<Extent>,
}

/// The most bytes that a check reads at once.
const CHECKED_AT_ONCE: u64 = 1 << 20;

impl StoredMemory {
    pub(crate) fn new(extents: Vec<Extent>) -> Self {
        Self { extents }
    }

    pub(crate) fn ranges(&self) -> impl Iterator<Item = MemoryRange> {
        self.extents.iter().map(|extent| extent.range)
    }

    /// Bytes of memory.
    pub(crate) fn size(&self) -> u64 {
        self.ranges().map(|range| range.size()).sum()
    }

    /// Offset in the dump of the first byte that is stored; 0 if there is none.
    pub(crate) fn offset(&self) -> u64 {
        let offsets = self.extents.iter().map(|extent| extent.offset);
        offsets.min().unwrap_or(0)
    }

    /// Fills `buf` from `gpa` on.
    pub(crate) fn read(&self, input: &Input, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        read_by_range(&self.extents, range_of, gpa, buf, |extent, gpa, buf| {
            let offset = extent.offset + (gpa - extent.range.start());
            Ok(input.read_at(offset, buf)?)
        })
    }

    /// Finds the first pages of `range` that are not in a hole of the dump.
    pub(crate) fn next_populated(
        &self,
        input: &Input,
        range: MemoryRange,
    ) -> io::Result<Option<MemoryRange>> {
        next_populated_by_range(&self.extents, range_of, range, |extent, here| {
            let offset = extent.offset + (here.start() - extent.range.start());
            let data = input.next_data(offset, offset + here.size())?;
            Ok(data.and_then(|data| pages_with(&data, offset, here)))
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
        let page = page_size as usize;
        let longest = self.ranges().map(|range| range.size()).max();
        let mut buf = vec![0; longest.unwrap_or(0).min(CHECKED_AT_ONCE) as usize];
        for Extent { range, offset } in &self.extents {
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
            report.raw_pages += range.size() / page_size;
        }
        Ok(())
    }
}

fn range_of(extent: &Extent) -> MemoryRange {
    extent.range
}

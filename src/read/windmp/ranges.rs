//! Where a dump of type 8, 9 or 10 stores its pages: a list of page ranges.
//!
//! The rules are those of kdmp-parser-rs 0.8.1 `parse.rs`, `kernel_physmem`, with one difference. That
//! parser may take the first page's bytes for a range, because `MetadataSize` counts 16 bytes of the
//! header; here the list ends before the first page.
#![forbid(unsafe_code)]

use crate::read::stored::{Extent, StoredMemory};
use crate::read::windmp::runs::{in_order, stored};
use crate::read::{Input, VmcoreError};
use crate::windmp::{DUMP_TYPE_COMPLETE_MEMORY, PAGE_SIZE, RdmpHeader, Run};

/// The most bytes of the list that are read at once, a multiple of a range's length.
const PIECE: u64 = 64 << 10;

/// Returns the runs in the list of ranges whose header is at offset `at`.
///
/// The list ends with a range at page frame 0, or before the first page. In a dump of type 10 it ends
/// where the ranges have all pages that the header counts.
pub(super) fn runs_of_ranges(
    input: &Input,
    at: u64,
    dump_type: u32,
) -> Result<StoredMemory, VmcoreError> {
    let size = RdmpHeader::SIZE as u64;
    let bytes = input.read_vec("the header of the page ranges", at, size, size)?;
    let header = RdmpHeader::decode(&bytes)
        .ok_or_else(|| VmcoreError::damaged(at, "there is no header of page ranges, RDMPDUMP"))?;
    let first_page = header.first_page;
    if RdmpHeader::metadata_size_of(at, first_page) != Some(header.metadata_size) {
        return Err(VmcoreError::damaged(
            at,
            format!(
                "FirstPageOffset is {first_page:#x} and MetadataSize {:#x}, which do not match",
                header.metadata_size
            ),
        ));
    }
    let list = at + size;
    input.require("the page ranges", list, first_page - list)?;
    let counted = (dump_type == DUMP_TYPE_COMPLETE_MEMORY).then_some(header.total_pages);
    let mut ranges = Ranges {
        runs: Vec::new(),
        first_page,
        pages: 0,
        counted,
    };
    ranges.read(input, list)?;
    if let Some(total) = counted.filter(|total| *total != ranges.pages) {
        return Err(VmcoreError::damaged(
            at,
            format!(
                "the page ranges have {:#x} pages, their header says {total:#x}",
                ranges.pages
            ),
        ));
    }
    in_order(ranges.runs).ok_or_else(|| VmcoreError::damaged(list, "page ranges overlap"))
}

/// The ranges read so far.
struct Ranges {
    runs: Vec<Extent>,
    first_page: u64,
    pages: u64,
    /// The number of pages in all ranges, if the header states it.
    counted: Option<u64>,
}

impl Ranges {
    /// Reads the list that begins at offset `at`.
    fn read(&mut self, input: &Input, mut at: u64) -> Result<(), VmcoreError> {
        while at < self.first_page {
            // A hole is a range at page frame 0. So a sparse file takes no memory.
            let len = (self.first_page - at).min(PIECE);
            let piece = input.read_vec("the page ranges", at, len, len)?;
            for range in RdmpHeader::decode_ranges(&piece) {
                if self.counted == Some(self.pages) || !self.push(at, range)? {
                    return Ok(());
                }
                at += RdmpHeader::RANGE_SIZE as u64;
            }
            if len < RdmpHeader::RANGE_SIZE as u64 {
                break;
            }
        }
        Ok(())
    }

    /// Adds the `range` at offset `at`. It returns `false` if the range ends the list.
    fn push(&mut self, at: u64, range: Run) -> Result<bool, VmcoreError> {
        let Run {
            base_page,
            page_count,
        } = range;
        let of_range = |what: &str| {
            VmcoreError::damaged(
                at,
                format!(
                    "a range of {page_count:#x} pages from page frame {base_page:#x} on {what}"
                ),
            )
        };
        match (base_page, page_count) {
            // The count may be left from before, as in a buffer that is used again.
            (0, _) => return Ok(false),
            (_, 0) => return Ok(true),
            _ => {}
        }
        let offset = self.first_page + self.pages * PAGE_SIZE;
        let run = stored(base_page, page_count, offset)
            .ok_or_else(|| of_range("leaves the address space"))?;
        self.pages += page_count;
        match self.runs.last_mut() {
            Some(last) if last.range.end() == run.range.start() => {
                last.range = last.range.joined(&run.range);
            }
            _ => self.runs.push(run),
        }
        Ok(true)
    }
}

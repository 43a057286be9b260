//! The two page bitmaps of a kdump-compressed dump: which pages are RAM, and
//! which pages are in the dump.
#![forbid(unsafe_code)]

use std::ops::Range;

use crate::kdump::DumpHeaders;
use crate::memory::MemoryRange;
use crate::read::bitmap::for_each_run;
use crate::read::kdump::headers::{first_frame, page_size};
use crate::read::{Input, VmcoreError};
use crate::selection::FrameRun;

/// Where the bitmaps lie in the dump.
#[derive(Debug)]
pub(super) struct Bitmaps {
    /// Offset of the bitmap of RAM.
    first: u64,
    /// Offset of the bitmap of the pages in the dump; the first bitmap's if
    /// there is only one.
    second: u64,
    /// Length of one bitmap in bytes.
    size: u64,
    /// Offset after the bitmaps.
    end: u64,
    /// Page frames that the bitmaps cover.
    max_mapnr: u64,
}

/// The most runs of RAM that are read, far more than any memory map has. Each
/// takes 16 bytes of memory.
const MAX_RAM_RUNS: usize = 1 << 22;

/// The most bytes of a bitmap that are compared at once.
const PIECE: u64 = 64 << 10;

impl Bitmaps {
    /// Finds the bitmaps after the headers.
    pub(super) fn find(input: &Input, headers: &DumpHeaders) -> Result<Self, VmcoreError> {
        let block = page_size(headers);
        let max_mapnr = headers.max_mapnr();
        let frames_end = max_mapnr.checked_add(first_frame(headers));
        if frames_end.and_then(|end| end.checked_mul(block)).is_none() {
            return Err(VmcoreError::damaged(
                block,
                format!("max_mapnr is {max_mapnr}, past the end of the address space"),
            ));
        }
        let end = headers.descriptors();
        let size = u64::from(headers.main.bitmap_blocks) * block;
        input.require("the page bitmaps", end - size, size)?;
        let [first, second] = headers
            .bitmaps()
            .map_err(|error| VmcoreError::damaged(end - size, error.to_string()))?;
        Ok(Self {
            first: first.start,
            second: second.start,
            size: second.end - second.start,
            end,
            max_mapnr,
        })
    }

    /// Offset after the bitmaps, where the page descriptors begin.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Page frames that the bitmaps cover.
    pub(super) fn max_mapnr(&self) -> u64 {
        self.max_mapnr
    }

    /// Returns the RAM that the first bitmap states. `first_frame` is the page frame of its first
    /// bit. A dump with one bitmap states none that is not in the dump.
    ///
    /// # Errors
    ///
    /// [`VmcoreError::Damaged`] if it has more runs than [`MAX_RAM_RUNS`].
    pub(super) fn ram(
        &self,
        input: &Input,
        first_frame: u64,
        page_size: u64,
    ) -> Result<Vec<MemoryRange>, VmcoreError> {
        let mut ram = Vec::new();
        if self.first == self.second {
            return Ok(ram);
        }
        let frames = 0..self.max_mapnr;
        for_each_run(input, self.first..self.first + self.size, |run| {
            if let Some(run) = run.clipped(&frames) {
                if ram.len() == MAX_RAM_RUNS {
                    let what = format!("the first bitmap has more than {MAX_RAM_RUNS} runs of RAM");
                    return Err(VmcoreError::damaged(self.first + run.start / 8, what));
                }
                let start = run.start + first_frame;
                ram.push(MemoryRange::of_frames(start, run.count, page_size));
            }
            Ok(())
        })?;
        Ok(ram)
    }

    /// Calls `each` for the runs of pages in the dump, in ascending order. Only
    /// bits in `share` are visited, and frames count from the first bit.
    pub(super) fn for_each_dumped(
        &self,
        input: &Input,
        share: &Range<u64>,
        mut each: impl FnMut(FrameRun) -> Result<(), VmcoreError>,
    ) -> Result<(), VmcoreError> {
        let bitmap = self.second..self.second + self.size;
        for_each_run(input, bitmap, |run| {
            let Some(run) = run.clipped(share) else {
                return Ok(());
            };
            if run.end() > self.max_mapnr {
                return Err(self.past_max_mapnr("second", self.second, run.end()));
            }
            each(run)
        })
    }

    /// Checks that every page in the dump is RAM.
    pub(super) fn check(&self, input: &Input) -> Result<(), VmcoreError> {
        if self.first == self.second {
            return Ok(());
        }
        let mut at = 0;
        let len = self.size.min(PIECE) as usize;
        let (mut ram, mut dumped) = (vec![0; len], vec![0; len]);
        loop {
            let next = |bitmap: u64| input.skip_hole(bitmap + at, bitmap + self.size) - bitmap;
            at = next(self.first).min(next(self.second));
            if at >= self.size {
                break;
            }
            let len = (self.size - at).min(PIECE) as usize;
            let (ram, dumped) = (&mut ram[..len], &mut dumped[..len]);
            input.read_at(self.first + at, ram)?;
            input.read_at(self.second + at, dumped)?;
            for (offset, (ram, dumped)) in (at..).zip(ram.iter().zip(dumped.iter())) {
                if dumped & !ram != 0 {
                    return Err(VmcoreError::damaged(
                        self.second + offset,
                        "the second bitmap has a page that the first has not",
                    ));
                }
            }
            at += len as u64;
        }
        let mut end = 0;
        for_each_run(input, self.first..self.first + self.size, |run| {
            end = run.end();
            Ok(())
        })?;
        if end > self.max_mapnr {
            return Err(self.past_max_mapnr("first", self.first, end));
        }
        Ok(())
    }

    fn past_max_mapnr(&self, which: &str, bitmap: u64, end: u64) -> VmcoreError {
        VmcoreError::damaged(
            bitmap + end / 8,
            format!(
                "the {which} bitmap has pages past max_mapnr {}",
                self.max_mapnr
            ),
        )
    }
}

//! The pages of a kdump-compressed dump: their descriptors and their data.
#![forbid(unsafe_code)]

use std::collections::HashSet;

use crate::abi::ByteOrder;
use crate::codec::Codec;
use crate::kdump::{DumpHeaders, PageDescriptor, flag_codec};
use crate::memory::{Lack, MemoryRange, is_zero};
use crate::read::check::stop_if_cancelled;
use crate::read::kdump::bitmaps::Bitmaps;
use crate::read::kdump::headers::{first_frame, page_size};
use crate::read::{CheckReport, Input, VmcoreError};
use crate::selection::FrameRun;
use crate::workers::Progress;

/// All pages in the dump.
#[derive(Debug)]
pub(super) struct Pages {
    order: ByteOrder,
    page_size: u64,
    /// Offset of the page descriptors.
    descriptors: u64,
    /// Page descriptors; more than pages if some pages are missing.
    descriptor_count: u64,
    runs: Vec<Run>,
    count: u64,
}

/// Consecutive pages whose descriptors are consecutive too.
#[derive(Debug, Clone, Copy)]
struct Run {
    frames: FrameRun,
    /// Number of the first page's descriptor.
    first_page: u64,
}

/// The most descriptors that are read at once.
const DESCRIPTORS_AT_ONCE: u64 = 4096;

/// How many times [`DESCRIPTORS_AT_ONCE`] descriptors are searched for the end
/// of the data.
const CUT_SEARCH: u64 = 64;

/// Descriptors of zero pages that a check remembers. Writers store few zero
/// pages, which many descriptors share.
const REMEMBERED: usize = 64;

impl Pages {
    /// Finds the pages that the second bitmap states.
    pub(super) fn find(
        input: &Input,
        headers: &DumpHeaders,
        bitmaps: &Bitmaps,
    ) -> Result<Self, VmcoreError> {
        let descriptors = bitmaps.end();
        // Each page has a descriptor in the file, so a bitmap cannot claim
        // more pages than the file has room for.
        let room = input.stored().min(input.len().saturating_sub(descriptors))
            / PageDescriptor::SIZE as u64;
        let first_frame = first_frame(headers);
        let mut runs: Vec<Run> = Vec::new();
        let mut count = 0;
        bitmaps.for_each_dumped(input, &headers.share(), |run| {
            let frames = FrameRun {
                start: run.start + first_frame,
                ..run
            };
            push(&mut runs, frames, count);
            count += frames.count;
            if count > room {
                return Err(VmcoreError::Truncated {
                    what: "the page descriptors",
                    offset: descriptors,
                    end: input.len(),
                });
            }
            Ok(())
        })?;
        Ok(Self {
            order: headers.abi.order,
            page_size: page_size(headers),
            descriptors,
            descriptor_count: count,
            runs,
            count,
        })
    }

    /// Finds page data that reaches past the end of the file, among the last pages. Data lies in
    /// the order of pages, but for pages of zeroes and repeated pages, which descriptors share.
    pub(super) fn find_cut(&self, input: &Input) -> Result<Option<Lack>, VmcoreError> {
        let end = self.descriptor_count.min(self.count);
        for n in 0..CUT_SEARCH {
            let Some(last) = end
                .checked_sub(n * DESCRIPTORS_AT_ONCE)
                .filter(|last| *last > 0)
            else {
                break;
            };
            let count = last.min(DESCRIPTORS_AT_ONCE);
            let descriptors = self.read_descriptors(input, last - count, count)?;
            let past = |d: &&PageDescriptor| !input.contains(d.offset, d.size.into());
            if let Some(descriptor) = descriptors.iter().find(past) {
                return Ok(Some(Lack::CutShort {
                    what: "a page",
                    offset: descriptor.offset,
                    end: input.len(),
                }));
            }
            if descriptors
                .windows(2)
                .any(|pair| pair[0].offset != pair[1].offset)
            {
                break;
            }
        }
        Ok(None)
    }

    /// Excludes the pages that are lost: those whose descriptor is zero, as in
    /// an incomplete dump, and those whose data the file does not have.
    pub(super) fn exclude_missing(&mut self, input: &Input) -> Result<(), VmcoreError> {
        let mut runs: Vec<Run> = Vec::new();
        let mut count = 0;
        self.for_each(input, |number, gpa, descriptor| {
            let size = PageDescriptor::SIZE as u64;
            if descriptor.offset != 0
                && u64::from(descriptor.size) <= self.page_size
                && input.holds(self.descriptor_offset(number), size)
                && input.holds(descriptor.offset, descriptor.size.into())
            {
                let start = gpa / self.page_size;
                push(&mut runs, FrameRun { start, count: 1 }, number);
                count += 1;
            }
            Ok(())
        })?;
        self.runs = runs;
        self.count = count;
        Ok(())
    }

    /// The number of pages in the dump.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn ranges(&self) -> impl Iterator<Item = MemoryRange> {
        self.runs.iter().map(|run| run.frames.range(self.page_size))
    }

    /// Fills `buf` from `gpa` on. `None` in place of a result means that not
    /// all of it is in the dump.
    pub(super) fn read(
        &self,
        input: &Input,
        gpa: u64,
        buf: &mut [u8],
    ) -> Option<Result<(), VmcoreError>> {
        let page_size = self.page_size;
        gpa.checked_add(buf.len() as u64)?;
        let mut done = 0;
        let mut whole_page = Vec::new();
        let mut compressed = Vec::new();
        while done < buf.len() {
            let frame = (gpa + done as u64) / page_size;
            let last = (gpa + (buf.len() as u64 - 1)) / page_size;
            let run = self.find_run(frame)?;
            let count = (last - frame + 1)
                .min(run.frames.end() - frame)
                .min(DESCRIPTORS_AT_ONCE);
            let first_page = run.first_page + (frame - run.frames.start);
            let descriptors = match self.read_descriptors(input, first_page, count) {
                Ok(descriptors) => descriptors,
                Err(error) => return Some(Err(error)),
            };
            for (frame, descriptor) in (frame..).zip(descriptors) {
                let gpa_of_page = frame * page_size;
                let from = (gpa + done as u64 - gpa_of_page) as usize;
                let n = (page_size as usize - from).min(buf.len() - done);
                let part = &mut buf[done..done + n];
                let mut read_page = |page: &mut [u8]| {
                    self.read_page(input, gpa_of_page, &descriptor, page, &mut compressed)
                };
                let result = if n == page_size as usize {
                    read_page(part)
                } else {
                    whole_page.resize(page_size as usize, 0);
                    let result = read_page(&mut whole_page);
                    part.copy_from_slice(&whole_page[from..from + n]);
                    result
                };
                if let Err(error) = result {
                    return Some(Err(error));
                }
                done += n;
            }
        }
        Some(Ok(()))
    }

    /// Checks each descriptor and decompresses each page.
    pub(super) fn check(
        &self,
        input: &Input,
        report: &mut CheckReport,
        progress: &Progress,
    ) -> Result<(), VmcoreError> {
        let mut page = vec![0; self.page_size as usize];
        let mut compressed = Vec::new();
        let mut shared_zero = HashSet::new();
        self.for_each(input, |number, gpa, descriptor| {
            stop_if_cancelled(progress)?;
            self.check_descriptor(number, gpa, descriptor)?;
            let zero = if shared_zero.contains(descriptor) {
                true
            } else {
                self.read_page(input, gpa, descriptor, &mut page, &mut compressed)?;
                let zero = is_zero(&page);
                if zero && shared_zero.len() < REMEMBERED {
                    shared_zero.insert(*descriptor);
                }
                zero
            };
            report.zero_pages += u64::from(zero);
            let by_codec = &mut report.compressed_pages;
            match codec_of(descriptor)? {
                None => report.raw_pages += 1,
                Some(codec) => match by_codec.iter_mut().find(|(c, _)| *c == codec) {
                    Some((_, count)) => *count += 1,
                    None => by_codec.push((codec, 1)),
                },
            }
            progress.add_done(self.page_size);
            Ok(())
        })
    }

    /// Checks that the descriptor with that number points to data and has known
    /// flags.
    fn check_descriptor(
        &self,
        number: u64,
        gpa: u64,
        descriptor: &PageDescriptor,
    ) -> Result<(), VmcoreError> {
        let at = self.descriptor_offset(number);
        if descriptor.offset == 0 {
            return Err(VmcoreError::PageMissing { gpa });
        }
        if descriptor.offset < self.descriptor_offset(self.descriptor_count) {
            return Err(VmcoreError::damaged(
                at,
                format!(
                    "the descriptor of the page at guest-physical address {gpa:#x} points into the headers, to offset {}",
                    descriptor.offset
                ),
            ));
        }
        flag_codec(descriptor.flags).map_err(|flags| {
            VmcoreError::damaged(
                at,
                format!(
                    "the descriptor of the page at guest-physical address {gpa:#x} has flags {flags:#x}"
                ),
            )
        })?;
        Ok(())
    }

    fn find_run(&self, frame: u64) -> Option<&Run> {
        let after = self.runs.partition_point(|run| run.frames.start <= frame);
        let run = &self.runs[after.checked_sub(1)?];
        (frame < run.frames.end()).then_some(run)
    }

    /// Offset of the descriptor with that number.
    fn descriptor_offset(&self, number: u64) -> u64 {
        self.descriptors + number * PageDescriptor::SIZE as u64
    }

    fn read_descriptors(
        &self,
        input: &Input,
        first: u64,
        count: u64,
    ) -> Result<Vec<PageDescriptor>, VmcoreError> {
        let len = count * PageDescriptor::SIZE as u64;
        let offset = self.descriptor_offset(first);
        let bytes = input.read_vec("page descriptors", offset, len, len)?;
        Ok(PageDescriptor::iter(self.order, &bytes).collect())
    }

    /// Calls `each` with the number of the descriptor, the guest-physical
    /// address and the descriptor of every page in the dump.
    fn for_each(
        &self,
        input: &Input,
        mut each: impl FnMut(u64, u64, &PageDescriptor) -> Result<(), VmcoreError>,
    ) -> Result<(), VmcoreError> {
        for run in &self.runs {
            let mut done = 0;
            while done < run.frames.count {
                let count = (run.frames.count - done).min(DESCRIPTORS_AT_ONCE);
                let first = run.first_page + done;
                let descriptors = self.read_descriptors(input, first, count)?;
                for (number, descriptor) in (first..).zip(&descriptors) {
                    let frame = run.frames.start + (number - run.first_page);
                    each(number, frame * self.page_size, descriptor)?;
                }
                done += count;
            }
        }
        Ok(())
    }

    /// Reads and decompresses one page into `page`, which has the size of a
    /// page. `compressed` is a buffer for its data.
    fn read_page(
        &self,
        input: &Input,
        gpa: u64,
        descriptor: &PageDescriptor,
        page: &mut [u8],
        compressed: &mut Vec<u8>,
    ) -> Result<(), VmcoreError> {
        let &PageDescriptor {
            offset,
            size,
            flags,
            ..
        } = descriptor;
        if offset == 0 {
            return Err(VmcoreError::PageMissing { gpa });
        }
        let codec = codec_of(descriptor)?;
        let fits = match codec {
            None => u64::from(size) == self.page_size,
            Some(_) => size > 0 && u64::from(size) <= self.page_size,
        };
        if !fits {
            return Err(VmcoreError::damaged(
                offset,
                format!(
                    "the page at guest-physical address {gpa:#x} has {size} bytes with flags {flags:#x}"
                ),
            ));
        }
        input.require("a page", offset, size.into())?;
        let Some(codec) = codec else {
            return input.read_at(offset, page);
        };
        compressed.resize(size as usize, 0);
        input.read_at(offset, compressed)?;
        codec
            .decompress(compressed, page)
            .map_err(|source| VmcoreError::Decompress {
                gpa,
                offset,
                codec,
                source,
            })
    }
}

/// Appends pages to the last run where frames and descriptors continue it.
fn push(runs: &mut Vec<Run>, frames: FrameRun, first_page: u64) {
    match runs.last_mut() {
        Some(last)
            if last.frames.end() == frames.start
                && last.first_page + last.frames.count == first_page =>
        {
            last.frames.count += frames.count;
        }
        _ => runs.push(Run { frames, first_page }),
    }
}

/// Returns how a page is compressed; `None` if it is stored as it is.
fn codec_of(descriptor: &PageDescriptor) -> Result<Option<Codec>, VmcoreError> {
    flag_codec(descriptor.flags).map_err(|flags| {
        VmcoreError::damaged(
            descriptor.offset,
            format!("page flags {flags:#x} are not those of a codec"),
        )
    })
}

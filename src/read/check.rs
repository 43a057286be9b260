//! `check`: everything in a dump is read, and the first thing wrong named.
#![forbid(unsafe_code)]

use std::collections::HashSet;

use crate::codec::Codec;
use crate::kdump::{PageDescriptor, flag_codec};
use crate::memory::{MemoryRange, is_zero};
use crate::read::kdump::{KdumpDump, for_each_run, page_codec};
use crate::read::vmcore::Contents;
use crate::read::{Input, Vmcore, VmcoreError};
use crate::windmp::PAGE_SIZE;
use crate::workers::Progress;

/// What a sound dump is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckReport {
    /// Notes in the note segment.
    pub notes: u64,
    /// Pages in the dump.
    pub pages: u64,
    /// Pages of these that are all zero.
    pub zero_pages: u64,
    /// Pages stored as they are, zero pages included.
    pub raw_pages: u64,
    /// Pages by codec.
    pub compressed_pages: Vec<(Codec, u64)>,
    /// Pages of RAM that are not in the dump, by the first bitmap.
    pub excluded_pages: u64,
}

impl Vmcore {
    /// Reads everything in the dump: each note, each byte of memory, each
    /// page descriptor; decompresses each page. `progress` counts bytes of
    /// guest memory.
    ///
    /// # Errors
    ///
    /// The first thing wrong, with its offset; [`VmcoreError::Incomplete`] if
    /// nothing else is wrong and the dump says that it is incomplete.
    pub fn check(&self, progress: &Progress) -> Result<CheckReport, VmcoreError> {
        let mut report = CheckReport {
            pages: self.pages(),
            ..CheckReport::default()
        };
        for note in self.notes() {
            note.map_err(|error| {
                let offset = self.note_offset(error.offset as u64);
                VmcoreError::damaged(offset, "a note reaches past the end of the notes")
            })?;
            report.notes += 1;
        }
        let page_size = self.counted_page_size();
        progress.start(self.pages() * page_size);
        match &self.contents {
            Contents::Elf(elf) => {
                for header in elf.load_headers().filter(|header| header.filesz > 0) {
                    let (offset, len) = (header.offset, header.filesz);
                    self.input.require("a PT_LOAD's memory", offset, len)?;
                }
                let ranges = elf.ranges();
                let find = |gpa| elf.find(gpa);
                check_stored(&self.input, ranges, find, page_size, &mut report, progress)?;
            }
            Contents::WinDmp(dmp) => {
                let (offset, len) = dmp.stored();
                self.input.require("the pages", offset, len)?;
                let ranges = dmp.ranges();
                let find = |gpa| dmp.find(gpa);
                check_stored(&self.input, ranges, find, PAGE_SIZE, &mut report, progress)?;
            }
            Contents::Kdump(kdump) => check_kdump(&self.input, kdump, &mut report, progress)?,
        }
        if self.is_complete() {
            Ok(report)
        } else {
            Err(VmcoreError::Incomplete)
        }
    }
}

fn stop_if_cancelled(progress: &Progress) -> Result<(), VmcoreError> {
    if progress.is_cancelled() {
        return Err(VmcoreError::Cancelled);
    }
    Ok(())
}

/// Reads memory that is in the file as it is; `find` gives the offset of the
/// byte at an address, and how many bytes follow it.
fn check_stored(
    input: &Input,
    ranges: impl Iterator<Item = MemoryRange>,
    find: impl Fn(u64) -> Option<(u64, u64)>,
    page_size: u64,
    report: &mut CheckReport,
    progress: &Progress,
) -> Result<(), VmcoreError> {
    let page = page_size as usize;
    let mut buf = vec![0; 1 << 20];
    for range in ranges {
        let mut done = 0;
        while done < range.size() {
            stop_if_cancelled(progress)?;
            let (offset, left) = find(range.start() + done).unwrap_or((0, 0));
            let n = left.min(buf.len() as u64);
            let hole = (input.next_data(offset).saturating_sub(offset)).min(left);
            let hole = hole - hole % page_size;
            let n = if hole > 0 {
                report.zero_pages += hole / page_size;
                hole
            } else {
                let part = &mut buf[..n as usize];
                input.read_at(offset, part)?;
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

fn check_kdump(
    input: &Input,
    kdump: &KdumpDump,
    report: &mut CheckReport,
    progress: &Progress,
) -> Result<(), VmcoreError> {
    report.excluded_pages = check_bitmaps(input, kdump)?;
    let data = kdump.descriptors_end();
    let page_size = kdump.page_size();
    let mut page = vec![0; page_size as usize];
    let mut shared_zero = HashSet::new();
    let mut by_codec: Vec<(Codec, u64)> = Vec::new();
    kdump.for_each_page(input, |number, gpa, descriptor| {
        stop_if_cancelled(progress)?;
        check_place(kdump, number, gpa, descriptor, data)?;
        let zero = if shared_zero.contains(descriptor) {
            true
        } else {
            kdump.read_page(input, gpa, descriptor, &mut page)?;
            let zero = is_zero(&page);
            // Dumps have few stored zero pages. One that has many gains
            // nothing from remembering them.
            if zero && shared_zero.len() < 64 {
                shared_zero.insert(*descriptor);
            }
            zero
        };
        report.zero_pages += u64::from(zero);
        match page_codec(descriptor)? {
            None => report.raw_pages += 1,
            Some(codec) => match by_codec.iter_mut().find(|(c, _)| *c == codec) {
                Some((_, count)) => *count += 1,
                None => by_codec.push((codec, 1)),
            },
        }
        progress.add_done(page_size);
        Ok(())
    })?;
    report.compressed_pages = by_codec;
    Ok(())
}

/// Whether the descriptor itself is sound.
fn check_place(
    kdump: &KdumpDump,
    number: u64,
    gpa: u64,
    descriptor: &PageDescriptor,
    data: u64,
) -> Result<(), VmcoreError> {
    let at = kdump.descriptor_offset(number);
    if descriptor.offset == 0 {
        return Err(VmcoreError::PageMissing { gpa });
    }
    if descriptor.offset < data {
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

/// That every page in the dump is RAM; gives the pages of RAM that are not
/// in the dump.
fn check_bitmaps(input: &Input, kdump: &KdumpDump) -> Result<u64, VmcoreError> {
    let (first, second) = kdump.bitmaps;
    if first == second {
        return Ok(0);
    }
    const PIECE: u64 = 64 << 10;
    let mut excluded = 0u64;
    let mut at = 0;
    let mut pieces = [vec![0; PIECE as usize], vec![0; PIECE as usize]];
    while at < kdump.bitmap_size {
        let next = |bitmap: u64| input.next_data(bitmap + at).saturating_sub(bitmap);
        at = at.max(next(first).min(next(second)));
        if at >= kdump.bitmap_size {
            break;
        }
        let len = (kdump.bitmap_size - at).min(PIECE) as usize;
        let [ram, dumped] = &mut pieces;
        input.read_at(first + at, &mut ram[..len])?;
        input.read_at(second + at, &mut dumped[..len])?;
        for (i, (ram, dumped)) in ram.iter().zip(dumped.iter()).take(len).enumerate() {
            if dumped & !ram != 0 {
                return Err(VmcoreError::damaged(
                    second + at + i as u64,
                    "the second bitmap has a page that the first has not",
                ));
            }
            excluded += u64::from((ram & !dumped).count_ones());
        }
        at += len as u64;
    }
    let mut end = 0;
    for_each_run(input, first, kdump.bitmap_size, |run| {
        end = run.end();
        Ok(())
    })?;
    if end > kdump.max_mapnr {
        return Err(VmcoreError::damaged(
            first + end / 8,
            format!(
                "the first bitmap has pages past max_mapnr {}",
                kdump.max_mapnr
            ),
        ));
    }
    Ok(excluded)
}

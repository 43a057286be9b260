//! Reading a Windows dump, whoever wrote it: types 1, 5 and 6.
#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::abi::{ByteOrder, Class, Encoding};
use crate::arch::Machine;
use crate::memory::{FileMemory, FileRegion, MemoryRange, find_range};
use crate::read::kdump::for_each_run;
use crate::read::{Input, VmcoreError};
use crate::windmp::{
    BitmapHeader, DUMP_TYPE_BITMAP_FULL, DUMP_TYPE_BITMAP_KERNEL, DUMP_TYPE_FULL, Header,
    PAGE_SIZE, Run, SIGNATURE,
};

/// A decoded Windows dump.
#[derive(Debug)]
pub(crate) struct WinDmp {
    pub(crate) header: Header,
    /// Of a bitmap dump.
    pub(crate) bitmap: Option<BitmapHeader>,
    complete: bool,
    /// Memory by guest-physical address, without overlap.
    runs: Vec<Stored>,
}

/// Guest memory and where it lies in the dump.
#[derive(Debug, Clone, Copy)]
struct Stored {
    range: MemoryRange,
    offset: u64,
}

impl WinDmp {
    /// Decodes the headers and the bitmap; `None` if this is no Windows dump.
    pub(crate) fn open(input: &Input) -> Result<Option<Self>, VmcoreError> {
        let mut begin = [0; 8];
        if !input.contains(0, begin.len() as u64) {
            return Ok(None);
        }
        input.read_at(0, &mut begin)?;
        let (signature, valid_dump) = begin.split_at(SIGNATURE.len());
        let Some(class) = Header::class_of(valid_dump) else {
            return Ok(None);
        };
        let complete = signature == SIGNATURE;
        // A dump that is not finished has no signature.
        if !complete && signature != [0; 4] {
            return Ok(None);
        }
        let size = Header::size(class) as u64;
        let mut bytes = input.read_vec("the header", 0, size, size)?;
        bytes[..SIGNATURE.len()].copy_from_slice(&SIGNATURE);
        let header =
            Header::decode(&bytes).map_err(|error| VmcoreError::damaged(0, error.to_string()))?;
        if header.machine_image_type() != header.expected_machine() {
            if !complete {
                return Ok(None);
            }
            let found = header.machine_image_type();
            return Err(VmcoreError::Unsupported(format!(
                "it is a Windows dump of machine type {found:#x}"
            )));
        }
        let (runs, bitmap) = match header.dump_type() {
            DUMP_TYPE_FULL => (runs_of_header(&header)?, None),
            DUMP_TYPE_BITMAP_FULL | DUMP_TYPE_BITMAP_KERNEL => {
                let (runs, bitmap) = runs_of_bitmap(input, size)?;
                (runs, Some(bitmap))
            }
            other => {
                return Err(VmcoreError::Unsupported(format!(
                    "it is a Windows dump of type {other}"
                )));
            }
        };
        Ok(Some(Self {
            header,
            bitmap,
            complete,
            runs,
        }))
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    pub(crate) fn encoding(&self) -> Encoding {
        Encoding {
            class: self.header.class(),
            order: ByteOrder::Little,
        }
    }

    pub(crate) fn machine(&self) -> Machine {
        match self.header.class() {
            Class::Bits32 => Machine::I386,
            Class::Bits64 => Machine::X86_64,
        }
    }

    pub(crate) fn ranges(&self) -> impl Iterator<Item = MemoryRange> {
        self.runs.iter().map(|run| run.range)
    }

    /// The runs as regions of the dump's file, which knows its holes.
    pub(crate) fn file_memory(&self, input: &Input) -> Option<FileMemory> {
        let file = input.plain_file()?;
        let regions = self.runs.iter().map(|run| FileRegion {
            range: run.range,
            file: Arc::clone(file),
            offset: run.offset,
        });
        FileMemory::new(regions.collect()).ok()
    }

    /// The dump's offset of the byte at `gpa`, and how many bytes follow it.
    pub(crate) fn find(&self, gpa: u64) -> Option<(u64, u64)> {
        let run = self.runs[find_range(&self.runs, gpa, |run| run.range)?];
        let inside = gpa - run.range.start();
        Some((run.offset + inside, run.range.size() - inside))
    }

    /// File offset and length in bytes of all memory.
    pub(crate) fn stored(&self) -> (u64, u64) {
        let offset = self.runs.iter().map(|run| run.offset).min();
        let size = self.runs.iter().map(|run| run.range.size()).sum();
        (offset.unwrap_or(0), size)
    }
}

/// The runs of the header of a full dump; the first page is behind it.
fn runs_of_header(header: &Header) -> Result<Vec<Stored>, VmcoreError> {
    let descriptor = match header.class() {
        Class::Bits32 => 0x64,
        Class::Bits64 => 0x88,
    };
    let damaged = |what: String| VmcoreError::damaged(descriptor, what);
    let count = header.number_of_runs();
    if count as usize > header.max_runs() {
        return Err(damaged(format!(
            "the header has {count} runs of memory, there is room for {}",
            header.max_runs()
        )));
    }
    let mut runs = Vec::new();
    let mut offset = Header::size(header.class()) as u64;
    for run in header.runs().filter(|run| run.page_count > 0) {
        let Run {
            base_page,
            page_count,
        } = run;
        let run = stored(base_page, page_count, offset).ok_or_else(|| {
            damaged(format!(
                "a run of {page_count:#x} pages from page frame {base_page:#x} on leaves the address space"
            ))
        })?;
        offset += run.range.size();
        runs.push(run);
    }
    runs.sort_by_key(|run| run.range.start());
    if runs
        .windows(2)
        .any(|pair| pair[0].range.end() > pair[1].range.start())
    {
        return Err(damaged("runs of memory overlap".into()));
    }
    Ok(runs)
}

/// A run of pages; `None` where it leaves the address space or the file's.
fn stored(base_page: u64, page_count: u64, offset: u64) -> Option<Stored> {
    let start = base_page.checked_mul(PAGE_SIZE)?;
    let size = page_count.checked_mul(PAGE_SIZE)?;
    i64::try_from(offset.checked_add(size)?).ok()?;
    let range = MemoryRange::new(start, size).ok()?;
    Some(Stored { range, offset })
}

/// The runs of the bitmap at offset `at`, and its header.
fn runs_of_bitmap(input: &Input, at: u64) -> Result<(Vec<Stored>, BitmapHeader), VmcoreError> {
    let size = BitmapHeader::SIZE as u64;
    let bytes = input.read_vec("the bitmap's header", at, size, size)?;
    let header = BitmapHeader::decode(&bytes).ok_or_else(|| {
        VmcoreError::damaged(at, "there is no bitmap's header, FDMPDUMP or SDMPDUMP")
    })?;
    let (bits, present) = (header.pages, header.total_present_pages);
    let bitmap = at + size;
    let bitmap_size = bits.div_ceil(8);
    input.require("the page bitmap", bitmap, bitmap_size)?;
    let first_page = header.first_page;
    if first_page < bitmap + bitmap_size {
        return Err(VmcoreError::damaged(
            at,
            format!("the first page is at offset {first_page}, inside the bitmap or before it"),
        ));
    }
    let mut runs: Vec<Stored> = Vec::new();
    let mut offset = first_page;
    for_each_run(input, bitmap, bitmap_size, |run| {
        // The last byte may have bits that do not count.
        let Some(run) = run.clipped(&(0..bits)) else {
            return Ok(());
        };
        let run = stored(run.start, run.count, offset).ok_or_else(|| {
            VmcoreError::damaged(
                bitmap + run.start / 8,
                "the bitmap leaves the address space",
            )
        })?;
        offset += run.range.size();
        match runs.last_mut() {
            Some(last) if last.range.end() == run.range.start() => {
                last.range = last.range.joined(&run.range);
            }
            _ => runs.push(run),
        }
        Ok(())
    })?;
    let found = (offset - first_page) / PAGE_SIZE;
    if found != present {
        return Err(VmcoreError::damaged(
            at,
            format!("the bitmap has {found} pages, its header says {present}"),
        ));
    }
    Ok((runs, header))
}

//! Where a Windows dump stores its pages: the runs of its header or bitmap.
#![forbid(unsafe_code)]

use crate::abi::Class;
use crate::memory::MemoryRange;
use crate::read::bitmap::for_each_run;
use crate::read::stored::{Extent, StoredMemory};
use crate::read::{Input, VmcoreError};
use crate::windmp::{BitmapHeader, Header, PAGE_SIZE, Run};

/// Returns the runs in the header of a full dump. The first page follows the
/// header.
pub(super) fn runs_of_header(header: &Header) -> Result<StoredMemory, VmcoreError> {
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
    in_order(runs).ok_or_else(|| damaged("runs of memory overlap".into()))
}

/// Sorts runs by address. `None` if some overlap.
pub(super) fn in_order(mut runs: Vec<Extent>) -> Option<StoredMemory> {
    runs.sort_by_key(|run| run.range.start());
    let mut pairs = runs.windows(2);
    let overlap = pairs.any(|pair| pair[0].range.end() > pair[1].range.start());
    (!overlap).then(|| StoredMemory::new(runs))
}

/// Returns a run of pages; `None` if it leaves the address space, or its offset
/// is not one of a file.
pub(super) fn stored(base_page: u64, page_count: u64, offset: u64) -> Option<Extent> {
    let start = base_page.checked_mul(PAGE_SIZE)?;
    let size = page_count.checked_mul(PAGE_SIZE)?;
    i64::try_from(offset.checked_add(size)?).ok()?;
    let range = MemoryRange::new(start, size).ok()?;
    Some(Extent { range, offset })
}

/// Returns the runs of the bitmap at offset `at`, and its header.
pub(super) fn runs_of_bitmap(
    input: &Input,
    at: u64,
) -> Result<(StoredMemory, BitmapHeader), VmcoreError> {
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
    let mut runs: Vec<Extent> = Vec::new();
    let mut offset = first_page;
    for_each_run(input, bitmap..bitmap + bitmap_size, |run| {
        // The last byte may contain bits for no page.
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
    Ok((StoredMemory::new(runs), header))
}

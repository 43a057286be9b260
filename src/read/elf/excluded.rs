//! The pages that an ELF dump excludes, by the section that this crate writes.
#![forbid(unsafe_code)]

use std::ops::Range;

use crate::abi::ByteOrder;
use crate::elf::ExcludedHeader;
use crate::memory::MemoryRange;
use crate::read::bitmap::for_each_run;
use crate::read::{Input, VmcoreError};

/// The contents of the section.
#[derive(Debug, Default)]
pub(super) struct Excluded {
    /// Excluded pages as guest-physical ranges that ascend.
    pub(super) ranges: Vec<MemoryRange>,
    pub(super) dump_level: u32,
}

/// Runs of excluded pages that a dump of any length may have.
const FEW_RUNS: u64 = 1 << 16;

/// Bytes of the file for each further run. A run takes some dozens of bytes of memory.
const BYTES_A_RUN: u64 = 64;

/// Reads the section at the offsets `section`, which describes the pages of `ram`: all memory
/// of the PT_LOADs, whether it is in the file or not.
///
/// # Errors
///
/// - [`VmcoreError::Damaged`] if the section does not describe that memory, or has far more runs than a
///   dump of such a length;
/// - [`VmcoreError::Truncated`], [`VmcoreError::Read`] if it cannot be read.
pub(super) fn read(
    input: &Input,
    order: ByteOrder,
    section: Range<u64>,
    ram: &[MemoryRange],
) -> Result<Excluded, VmcoreError> {
    let damaged = |what: &str| {
        let name = ExcludedHeader::SECTION;
        VmcoreError::damaged(section.start, format!("the section {name} {what}"))
    };
    let size = section.end - section.start;
    if !input.contains(section.start, size) {
        // The dump is cut short, which is reported elsewhere.
        return Ok(Excluded::default());
    }
    let len = (ExcludedHeader::SIZE as u64).min(size);
    let head = input.read_vec("a section", section.start, len, len)?;
    let header = ExcludedHeader::decode(order, &head).ok_or_else(|| damaged("is too short"))?;
    if header.version != ExcludedHeader::VERSION {
        return Err(damaged(&format!(
            "has the unknown version {}",
            header.version
        )));
    }
    let page_size = u64::from(header.page_size);
    let is_size = page_size.is_power_of_two() && (4096..=65536).contains(&page_size);
    let bytes = ram.iter().map(|range| range.size()).sum();
    let whole = ram.iter().all(|range| range.is_aligned(page_size));
    if !is_size || !whole || header.pages.checked_mul(page_size) != Some(bytes) {
        return Err(damaged("describes other memory than the PT_LOADs'"));
    }
    let bitmap = section.start + len..section.end;
    if bitmap.end - bitmap.start != header.bitmap_size() {
        return Err(damaged("has a bitmap of the wrong length"));
    }
    let most = (input.stored() / BYTES_A_RUN).max(FEW_RUNS);
    let mut ranges = Vec::new();
    // The range of RAM that is visited, and the number of its first page.
    let (mut rest, mut first) = (ram, 0);
    for_each_run(input, bitmap, |run| {
        let mut at = run.start;
        while at < run.end() {
            let Some(range) = rest.first() else {
                return Err(damaged("excludes more pages than there are"));
            };
            let next = first + range.size() / page_size;
            if at >= next {
                (rest, first) = (&rest[1..], next);
                continue;
            }
            let end = run.end().min(next);
            let start = range.start() / page_size + (at - first);
            ranges.push(MemoryRange::of_frames(start, end - at, page_size));
            at = end;
        }
        if ranges.len() as u64 > most {
            return Err(damaged(&format!("has more than {most} runs of pages")));
        }
        Ok(())
    })?;
    Ok(Excluded {
        ranges,
        dump_level: header.dump_level,
    })
}

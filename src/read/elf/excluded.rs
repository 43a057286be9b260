//! The pages that an ELF dump excludes, by the section that this crate writes.
#![forbid(unsafe_code)]

use crate::abi::ByteOrder;
use crate::bitmap;
use crate::elf::ExcludedHeader;
use crate::memory::MemoryRange;
use crate::read::VmcoreError;
use crate::read::stored::StoredMemory;

/// The contents of the section.
#[derive(Debug, Default)]
pub(super) struct Excluded {
    /// Excluded pages as guest-physical ranges that ascend.
    pub(super) ranges: Vec<MemoryRange>,
    pub(super) dump_level: u32,
}

/// Decodes the section's `bytes`, which describe the pages of `memory`.
///
/// # Errors
///
/// [`VmcoreError::Damaged`] with the section's `offset` in the dump, if the bytes do not describe
/// that memory.
pub(super) fn decode(
    order: ByteOrder,
    bytes: &[u8],
    memory: &StoredMemory,
    offset: u64,
) -> Result<Excluded, VmcoreError> {
    let damaged = |what: &str| {
        let name = ExcludedHeader::SECTION;
        VmcoreError::damaged(offset, format!("the section {name} {what}"))
    };
    let header = ExcludedHeader::decode(order, bytes).ok_or_else(|| damaged("is too short"))?;
    if header.version != ExcludedHeader::VERSION {
        return Err(damaged(&format!(
            "has the unknown version {}",
            header.version
        )));
    }
    let page_size = u64::from(header.page_size);
    let is_size = page_size.is_power_of_two() && (4096..=65536).contains(&page_size);
    if !is_size || header.pages.checked_mul(page_size) != Some(memory.size()) {
        return Err(damaged("describes other memory than the PT_LOADs'"));
    }
    let bitmap = &bytes[ExcludedHeader::SIZE..];
    if bitmap.len() as u64 != header.bitmap_size() {
        return Err(damaged("has a bitmap of the wrong length"));
    }
    let mut ranges = Vec::new();
    let mut excluded = bitmap::runs(bitmap).peekable();
    let mut first = 0;
    for range in memory.ranges() {
        if !range.is_aligned(page_size) {
            return Err(damaged("has larger pages than the PT_LOADs"));
        }
        let end = first + range.size() / page_size;
        while let Some(run) = excluded.peek().filter(|run| run.start < end) {
            let (from, to) = (run.start.max(first), run.end.min(end));
            let start = range.start() / page_size + (from - first);
            ranges.push(MemoryRange::of_frames(start, to - from, page_size));
            if run.end > end {
                break;
            }
            excluded.next();
        }
        first = end;
    }
    if excluded.next().is_some_and(|run| run.end > first) {
        return Err(damaged("excludes more pages than there are"));
    }
    Ok(Excluded {
        ranges,
        dump_level: header.dump_level,
    })
}

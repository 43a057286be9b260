//! Extraction: which regions of a core file contain the guest's RAM blocks.

use std::sync::Arc;

use crate::memory::{Coverage, Lack, MIN_PAGE_SIZE, MemoryRange, union, validate_ranges};
use crate::process_core::{
    Missing, MissingReason, ProcessCore, ProcessCoreError, RamBlock, Segment,
};
use crate::read::{Region, RegionMemory};

/// Guest memory that a core file contains, and guest memory that it lacks.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Extracted {
    /// Whole pages that are in the file, in the order of the RAM blocks.
    pub regions: Vec<Region>,
    /// Memory that is not in the file, in the same order.
    pub missing: Vec<Missing>,
}

impl Extracted {
    /// Makes guest memory of the regions. Holes of the core file are not
    /// populated. What is missing becomes the memory's
    /// [`coverage`](crate::GuestMemory::coverage).
    ///
    /// # Errors
    ///
    /// - [`ProcessCoreError::NothingThere`] if all memory is missing;
    /// - [`ProcessCoreError::Memory`] if the file has shrunk meanwhile, or
    ///   there are no regions.
    pub fn into_memory(self) -> Result<RegionMemory, ProcessCoreError> {
        if let (true, Some(missing)) = (self.regions.is_empty(), self.missing.first()) {
            return Err(ProcessCoreError::NothingThere(Box::new(missing.clone())));
        }
        let coverage = self.coverage();
        Ok(RegionMemory::new(self.regions)?.with_coverage(coverage))
    }

    fn coverage(&self) -> Coverage {
        let absent: Vec<_> = self.missing.iter().map(|missing| missing.range).collect();
        let absent = union(absent);
        let lacks = absent.first().map(|first| Lack::NotInCore {
            bytes: absent.iter().map(|range| range.size()).sum(),
            first: *first,
        });
        Coverage {
            lacks: lacks.into_iter().collect(),
            absent,
            ..Coverage::complete()
        }
    }
}

impl ProcessCore {
    /// Finds the bytes of `blocks`, which ascend by guest-physical address,
    /// in the core file.
    ///
    /// # Errors
    ///
    /// - [`ProcessCoreError::Range`] for a bad list;
    /// - [`ProcessCoreError::BadAddress`] if a host-virtual address is not
    ///   page-aligned, or its block reaches past the address space.
    pub fn extract(&self, blocks: &[RamBlock]) -> Result<Extracted, ProcessCoreError> {
        let ranges: Vec<_> = blocks.iter().map(|block| block.range).collect();
        validate_ranges(&ranges)?;
        let mut extracted = Extracted::default();
        for block in blocks {
            let end = block.hva.checked_add(block.range.size());
            if !block.hva.is_multiple_of(MIN_PAGE_SIZE) || end.is_none() {
                return Err(ProcessCoreError::BadAddress(*block));
            }
            self.extract_block(block, &mut extracted);
        }
        Ok(extracted)
    }

    fn extract_block(&self, block: &RamBlock, out: &mut Extracted) {
        let end = block.hva + block.range.size();
        let first = self.segments.partition_point(|s| s.end() <= block.hva);
        let mut at = block.hva;
        for segment in self.segments[first..].iter().take_while(|s| s.hva < end) {
            let Some((start, stop)) = whole_pages(segment, at, end) else {
                continue;
            };
            self.report_missing(block, at, start, out);
            if let Ok(range) = MemoryRange::new(gpa(block, start), stop - start) {
                out.regions.push(Region {
                    range,
                    bytes: Arc::clone(&self.bytes),
                    offset: segment.offset + (start - segment.hva),
                });
                at = stop;
            }
        }
        self.report_missing(block, at, end, out);
    }

    /// Reports the pages from `at` to `end`, host-virtual addresses, with a
    /// reason for each.
    fn report_missing(&self, block: &RamBlock, mut at: u64, end: u64, out: &mut Extracted) {
        let mut index = self.segments.partition_point(|s| s.end() <= at);
        while at < end {
            while self.segments.get(index).is_some_and(|s| s.end() <= at) {
                index += 1;
            }
            let (reason, until) = self.why(self.segments.get(index), at);
            let until = until.checked_next_multiple_of(MIN_PAGE_SIZE).unwrap_or(end);
            let until = until.clamp(at + 1, end);
            if let Ok(range) = MemoryRange::new(gpa(block, at), until - at) {
                push_missing(out, range, at, reason);
            }
            at = until;
        }
    }

    /// Returns the reason why the bytes from `at` on are missing, and the
    /// address at which the reason ends. `next` is the first segment that ends
    /// after `at`.
    fn why(&self, next: Option<&Segment>, at: u64) -> (MissingReason, u64) {
        let (reason, until) = match next {
            Some(segment) if segment.hva <= at => {
                let promised = segment.hva + segment.promised;
                if at < promised {
                    return (MissingReason::CutShort, promised);
                }
                (MissingReason::LeftOut, segment.end())
            }
            Some(segment) => (MissingReason::NoSegment, segment.hva),
            None => (MissingReason::NoSegment, u64::MAX),
        };
        if let Some(file) = self.mapped_file(at) {
            let inside = at - file.hva;
            let reason = MissingReason::InFile {
                path: file.path.clone(),
                offset: file.offset.saturating_add(inside),
            };
            return (reason, until.min(file.hva.saturating_add(file.size)));
        }
        let after = self.mapped_files.partition_point(|file| file.hva <= at);
        let next_file = self.mapped_files.get(after).map_or(u64::MAX, |f| f.hva);
        (reason, until.min(next_file))
    }
}

/// Returns the host-virtual addresses of the whole pages between `at` and `end`
/// that the segment has in the file.
fn whole_pages(segment: &Segment, at: u64, end: u64) -> Option<(u64, u64)> {
    let start = segment.hva.max(at);
    let start = start.checked_next_multiple_of(MIN_PAGE_SIZE)?;
    let stop = (segment.hva + segment.in_file).min(end);
    let stop = stop - stop % MIN_PAGE_SIZE;
    (start < stop).then_some((start, stop))
}

const fn gpa(block: &RamBlock, hva: u64) -> u64 {
    block.range.start() + (hva - block.hva)
}

/// Appends missing memory. Memory that continues the last entry for the same
/// reason extends that entry.
fn push_missing(out: &mut Extracted, range: MemoryRange, hva: u64, reason: MissingReason) {
    if let Some(last) = out.missing.last_mut()
        && last.range.end() == range.start()
        && last.hva + last.range.size() == hva
        && last.reason.further(last.range.size()) == reason
        && let Ok(joined) = MemoryRange::new(last.range.start(), last.range.size() + range.size())
    {
        last.range = joined;
        return;
    }
    out.missing.push(Missing { range, hva, reason });
}

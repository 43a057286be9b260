//! Guest memory in regions of any inputs.
#![forbid(unsafe_code)]

use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::memory::{
    Coverage, GuestMemory, MIN_PAGE_SIZE, MemoryRange, RangeError, next_populated_by_range,
    read_by_range, validate_ranges,
};
use crate::read::ReadAt;

/// A range of guest memory and the place where its bytes lie.
#[derive(Debug, Clone)]
pub struct Region {
    /// Guest-physical range.
    pub range: MemoryRange,
    /// Input that contains the bytes; several regions may share one.
    pub bytes: Arc<dyn ReadAt>,
    /// Offset of the range's first byte in the input, in bytes.
    pub offset: u64,
}

/// Guest memory that lies in regions of one or several inputs.
///
/// Memory for which [`ReadAt::next_data`] finds no data is not populated.
///
/// ```
/// use guestdump::GuestMemory;
/// use guestdump::memory::MemoryRange;
/// use guestdump::read::{Region, RegionMemory};
/// use std::sync::Arc;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // An image of one page, after a header of 16 bytes.
/// let image = vec![7; 16 + 4096];
/// let memory = RegionMemory::new(vec![Region {
///     range: MemoryRange::new(0, 4096)?,
///     bytes: Arc::new(image),
///     offset: 16,
/// }])?;
/// let mut byte = [0];
/// memory.read(0xfff, &mut byte)?;
/// assert_eq!(byte, [7]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RegionMemory {
    regions: Vec<Region>,
    coverage: Coverage,
}

impl RegionMemory {
    /// Makes guest memory of `regions`, in ascending order of address.
    ///
    /// # Errors
    ///
    /// - [`RegionError::Range`] for a bad list;
    /// - [`RegionError::Short`] if a region reaches past the end of its input;
    /// - [`RegionError::Length`] if the length of an input cannot be read.
    pub fn new(regions: Vec<Region>) -> Result<Self, RegionError> {
        let ranges: Vec<_> = regions.iter().map(|r| r.range).collect();
        validate_ranges(&ranges)?;
        for region in &regions {
            let len = ReadAt::len(&region.bytes).map_err(RegionError::Length)?;
            let end = region.offset.checked_add(region.range.size());
            if end.is_none_or(|end| end > len) {
                return Err(RegionError::Short {
                    range: region.range,
                    offset: region.offset,
                    len,
                });
            }
        }
        Ok(Self {
            regions,
            coverage: Coverage::complete(),
        })
    }

    /// Sets what is known about guest memory that is in no region.
    #[must_use]
    pub fn with_coverage(mut self, coverage: Coverage) -> Self {
        self.coverage = coverage;
        self
    }
}

/// Why a [`RegionMemory`] cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegionError {
    /// The list of ranges is bad.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// A region reaches past the end of its input.
    #[error(
        "the range {range} at file offset {offset:#x} reaches past the end of its file of {len:#x} bytes"
    )]
    Short {
        /// The region's range.
        range: MemoryRange,
        /// Offset of the region in the input, in bytes.
        offset: u64,
        /// Length of the input in bytes.
        len: u64,
    },
    /// The length of an input cannot be read.
    #[error("cannot read the size of a guest memory file")]
    Length(#[source] io::Error),
}

impl GuestMemory for RegionMemory {
    fn ranges(&self) -> Vec<MemoryRange> {
        self.regions.iter().map(|r| r.range).collect()
    }

    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        read_by_range(&self.regions, range_of, gpa, buf, |region, gpa, buf| {
            let offset = region.offset + (gpa - region.range.start());
            region.bytes.read_at(offset, buf)
        })
    }

    fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
        next_populated_by_range(&self.regions, range_of, range, |region, here| {
            let offset = region.offset + (here.start() - region.range.start());
            let data = region.bytes.next_data(offset, offset + here.size())?;
            Ok(data.and_then(|data| pages_with(&data, offset, here)))
        })
    }

    fn coverage(&self) -> Coverage {
        self.coverage.clone()
    }
}

fn range_of(region: &Region) -> MemoryRange {
    region.range
}

/// Returns the pages of `range` that share a byte with `data`, where the first
/// byte of `range` lies at `offset`.
pub(crate) fn pages_with(
    data: &Range<u64>,
    offset: u64,
    range: MemoryRange,
) -> Option<MemoryRange> {
    let first = data.start.saturating_sub(offset) / MIN_PAGE_SIZE * MIN_PAGE_SIZE;
    // The size of a range is a multiple of the page size.
    let end = data.end.saturating_sub(offset).min(range.size());
    let size = end.next_multiple_of(MIN_PAGE_SIZE).checked_sub(first)?;
    MemoryRange::new(range.start() + first, size).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::range;

    fn region(start: u64, size: u64, bytes: &Arc<dyn ReadAt>, offset: u64) -> Region {
        Region {
            range: range(start, size),
            bytes: Arc::clone(bytes),
            offset,
        }
    }

    #[test]
    fn touching_regions_of_several_inputs_are_one_memory() {
        let a: Arc<dyn ReadAt> = Arc::new(vec![0xaa; 0x3000]);
        let b: Arc<dyn ReadAt> = Arc::new(vec![0xbb; 0x1001]);
        let memory = RegionMemory::new(vec![
            region(0, 0x1000, &a, 0x2000),
            region(0x1000, 0x1000, &b, 1),
            region(0x10_0000_0000, 0x1000, &a, 0),
        ])
        .unwrap();
        let mut buf = [0; 2];
        memory.read(0xfff, &mut buf).unwrap();
        assert_eq!(buf, [0xaa, 0xbb]);
        assert!(memory.read(0x1fff, &mut buf).is_err());
        let found = memory.next_populated(range(0, 0x2000)).unwrap();
        assert_eq!(found, Some(range(0, 0x1000)));
    }

    #[test]
    fn a_region_past_the_end_is_refused() {
        let bytes: Arc<dyn ReadAt> = Arc::new(vec![0; 0x1fff]);
        for offset in [0x1000, u64::MAX] {
            let error = RegionMemory::new(vec![region(0, 0x1000, &bytes, offset)]).unwrap_err();
            assert!(
                matches!(error, RegionError::Short { len: 0x1fff, .. }),
                "{error}"
            );
        }
        assert!(RegionMemory::new(vec![region(0, 0x1000, &bytes, 0xfff)]).is_ok());
    }

    #[test]
    fn a_byte_of_data_populates_its_page() {
        let range = range(0x10_0000, 0x4000);
        let pages = |data: Range<u64>| {
            pages_with(&data, 100, range).map(|pages| (pages.start() - range.start(), pages.size()))
        };
        assert_eq!(pages(0..101), Some((0, 0x1000)));
        assert_eq!(pages(4195..4196), Some((0, 0x1000)));
        assert_eq!(pages(4195..4197), Some((0, 0x2000)));
        assert_eq!(pages(4196..u64::MAX), Some((0x1000, 0x3000)));
        assert_eq!(pages(100 + 0x4000..u64::MAX), None);
        assert_eq!(pages(u64::MAX - 1..u64::MAX), None);
    }
}

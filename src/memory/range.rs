//! Ranges of guest-physical memory, page-aligned by type.
#![forbid(unsafe_code)]

use std::fmt;

/// The smallest page size of any supported architecture, in bytes. Every
/// [`MemoryRange`] begins and ends at a multiple of it.
pub const MIN_PAGE_SIZE: u64 = 4096;

/// A non-empty, page-aligned range of guest-physical addresses that does not
/// reach past the end of the address space.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MemoryRange {
    start: u64,
    end: u64,
}

impl MemoryRange {
    /// Makes a range of `size` bytes that begins at the guest-physical address `start`.
    ///
    /// # Errors
    ///
    /// - [`RangeError::Empty`] if `size` is 0;
    /// - [`RangeError::Unaligned`] if `start` or `size` is not a multiple of
    ///   [`MIN_PAGE_SIZE`];
    /// - [`RangeError::Overflow`] if the end does not fit into 64 bits.
    pub const fn new(start: u64, size: u64) -> Result<Self, RangeError> {
        if size == 0 {
            return Err(RangeError::Empty { start });
        }
        if !start.is_multiple_of(MIN_PAGE_SIZE) || !size.is_multiple_of(MIN_PAGE_SIZE) {
            return Err(RangeError::Unaligned {
                start,
                size,
                alignment: MIN_PAGE_SIZE,
            });
        }
        match start.checked_add(size) {
            Some(end) => Ok(Self { start, end }),
            None => Err(RangeError::Overflow { start, size }),
        }
    }

    /// Returns the first guest-physical address.
    #[must_use]
    pub const fn start(&self) -> u64 {
        self.start
    }

    /// Returns the guest-physical address after the last byte.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// Returns the length in bytes, which is at least one page.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.end - self.start
    }

    /// Whether the `len` bytes from `gpa` on all lie in this range.
    #[must_use]
    pub const fn contains(&self, gpa: u64, len: u64) -> bool {
        gpa >= self.start && gpa <= self.end && len <= self.end - gpa
    }

    /// Whether both ends are multiples of `alignment` bytes.
    pub(crate) const fn is_aligned(&self, alignment: u64) -> bool {
        self.start.is_multiple_of(alignment) && self.end.is_multiple_of(alignment)
    }

    /// Returns the addresses that this range and `other` share, or `None`.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let start = self.start.max(other.start);
        let end = self.end.min(other.end);
        (start < end).then_some(Self { start, end })
    }

    /// Makes the range of `count` page frames from page frame number `start` on. The caller
    /// knows that the range is valid.
    pub(crate) fn of_frames(start: u64, count: u64, page_size: u64) -> Self {
        debug_assert!(count > 0 && page_size.is_multiple_of(MIN_PAGE_SIZE));
        Self {
            start: start * page_size,
            end: (start + count) * page_size,
        }
    }

    /// Joins this range and `next`, which begins where this range ends.
    pub(crate) fn joined(&self, next: &Self) -> Self {
        debug_assert!(self.end == next.start);
        Self {
            start: self.start,
            end: next.end,
        }
    }

    /// Splits the range after its first `size` bytes. `size` is page-aligned and not 0.
    pub(crate) fn split_at(&self, size: u64) -> (Self, Option<Self>) {
        debug_assert!(size > 0 && size.is_multiple_of(MIN_PAGE_SIZE));
        let middle = self.start + size.min(self.size());
        let first = Self {
            start: self.start,
            end: middle,
        };
        (first, self.starting_at(middle))
    }

    /// Widens this range to whole pages of `page_size` bytes. `limit` contains the range
    /// and consists of such pages.
    pub(crate) fn expand_to(&self, page_size: u64, limit: &Self) -> Self {
        Self {
            start: self.start - (self.start - limit.start) % page_size,
            end: limit.end - (limit.end - self.end) / page_size * page_size,
        }
    }

    /// Returns the part from `start` on, or `None` if that is empty. `start` is page-aligned.
    pub(crate) fn starting_at(&self, start: u64) -> Option<Self> {
        debug_assert!(start.is_multiple_of(MIN_PAGE_SIZE));
        let start = start.max(self.start);
        (start < self.end).then_some(Self {
            start,
            end: self.end,
        })
    }
}

impl fmt::Debug for MemoryRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}..{:#x}", self.start, self.end)
    }
}

impl fmt::Display for MemoryRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Why a range, or a list of ranges, is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RangeError {
    /// A range is empty.
    #[error("the range at guest-physical address {start:#x} is empty; omit it")]
    Empty {
        /// Guest-physical address of the range.
        start: u64,
    },
    /// The start or the size of a range is not a multiple of the page size.
    #[error(
        "the range at guest-physical address {start:#x} of {size:#x} bytes is not aligned to {alignment} bytes"
    )]
    Unaligned {
        /// Guest-physical address of the range.
        start: u64,
        /// Length of the range in bytes.
        size: u64,
        /// The required alignment in bytes.
        alignment: u64,
    },
    /// The end of a range does not fit into 64 bits.
    #[error(
        "the range at guest-physical address {start:#x} of {size:#x} bytes overflows the 64-bit address space"
    )]
    Overflow {
        /// Guest-physical address of the range.
        start: u64,
        /// Length of the range in bytes.
        size: u64,
    },
    /// Two ranges share addresses.
    #[error("the ranges {first} and {second} overlap")]
    Overlap {
        /// The range that comes first in the list.
        first: MemoryRange,
        /// The range that comes second.
        second: MemoryRange,
    },
    /// The list is not in ascending order.
    #[error("the range {second} is listed after {first}; sort the ranges by address")]
    Unsorted {
        /// The range that comes first in the list.
        first: MemoryRange,
        /// The range that comes second, though its address is lower.
        second: MemoryRange,
    },
    /// The list is empty.
    #[error("the guest has no RAM ranges")]
    NoRanges,
}

/// Checks that `ranges` is not empty, ascends, and has no overlap.
///
/// # Errors
///
/// - [`RangeError::NoRanges`] if the list is empty;
/// - [`RangeError::Overlap`] or [`RangeError::Unsorted`], with the first pair
///   of ranges that is wrong.
pub fn validate_ranges(ranges: &[MemoryRange]) -> Result<(), RangeError> {
    if ranges.is_empty() {
        return Err(RangeError::NoRanges);
    }
    for pair in ranges.windows(2) {
        let (first, second) = (pair[0], pair[1]);
        if first.intersection(&second).is_some() {
            return Err(RangeError::Overlap { first, second });
        }
        if second.start < first.start {
            return Err(RangeError::Unsorted { first, second });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::range;

    #[test]
    fn empty_unaligned_and_overflowing_ranges_are_refused() {
        assert_eq!(
            MemoryRange::new(0x1000, 0),
            Err(RangeError::Empty { start: 0x1000 })
        );
        for (start, size) in [(0x1001, 0x1000), (0x1000, 0x1001), (1, 1)] {
            assert!(matches!(
                MemoryRange::new(start, size),
                Err(RangeError::Unaligned { .. })
            ));
        }
        assert!(matches!(
            MemoryRange::new(u64::MAX - 0xfff, 0x2000),
            Err(RangeError::Overflow { .. })
        ));
        // The last page ends at 2^64, which is not a 64-bit number.
        assert!(matches!(
            MemoryRange::new(u64::MAX - 0xfff, 0x1000),
            Err(RangeError::Overflow { .. })
        ));
    }

    #[test]
    fn empty_overlapping_and_unsorted_lists_are_refused() {
        assert_eq!(validate_ranges(&[]), Err(RangeError::NoRanges));
        assert!(validate_ranges(&[range(0, 0x2000), range(0x2000, 0x1000)]).is_ok());
        assert!(matches!(
            validate_ranges(&[range(0, 0x2000), range(0x1000, 0x1000)]),
            Err(RangeError::Overlap { .. })
        ));
        assert!(matches!(
            validate_ranges(&[range(0x4000, 0x2000), range(0x1000, 0x4000)]),
            Err(RangeError::Overlap { .. })
        ));
        assert!(matches!(
            validate_ranges(&[range(0x4000, 0x1000), range(0x1000, 0x1000)]),
            Err(RangeError::Unsorted { .. })
        ));
    }

    #[test]
    fn containment_does_not_overflow() {
        let r = range(0x1000, 0x1000);
        assert!(r.contains(0x1000, 0x1000));
        assert!(r.contains(0x2000, 0));
        assert!(!r.contains(0x1fff, 2));
        assert!(!r.contains(0x1000, u64::MAX));
        assert!(!r.contains(0, 1));
    }
}

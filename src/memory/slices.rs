//! Guest memory in byte slices.
#![forbid(unsafe_code)]

use std::io;

use crate::memory::{
    GuestMemory, MemoryRange, RangeError, find_range, read_by_range, validate_ranges,
};

/// Guest memory in byte slices, one for each range. The slices are borrowed immutably, so
/// nothing can change them during the dump, and the dump reads them in place.
#[derive(Debug)]
pub struct SliceMemory<'a> {
    regions: Vec<(MemoryRange, &'a [u8])>,
}

impl<'a> SliceMemory<'a> {
    /// Makes guest memory of `regions`, which ascend by address. Each is a guest-physical
    /// address and the bytes from there on.
    ///
    /// # Errors
    ///
    /// Every [`RangeError`].
    pub fn new(regions: impl IntoIterator<Item = (u64, &'a [u8])>) -> Result<Self, RangeError> {
        let regions = regions
            .into_iter()
            .map(|(start, bytes)| Ok((MemoryRange::new(start, bytes.len() as u64)?, bytes)))
            .collect::<Result<Vec<_>, RangeError>>()?;
        let ranges: Vec<_> = regions.iter().map(|(range, _)| *range).collect();
        validate_ranges(&ranges)?;
        Ok(Self { regions })
    }
}

impl GuestMemory for SliceMemory<'_> {
    fn ranges(&self) -> Vec<MemoryRange> {
        self.regions.iter().map(|(range, _)| *range).collect()
    }

    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        let range_of = |region: &(MemoryRange, &[u8])| region.0;
        read_by_range(&self.regions, range_of, gpa, buf, |region, gpa, buf| {
            let (range, bytes) = region;
            let from = (gpa - range.start()) as usize;
            buf.copy_from_slice(&bytes[from..from + buf.len()]);
            Ok(())
        })
    }

    fn as_slice(&self, range: MemoryRange) -> Option<&[u8]> {
        let index = find_range(&self.regions, range.start(), |r| r.0)?;
        let (region, bytes) = self.regions[index];
        let start = (range.start() - region.start()) as usize;
        let len = usize::try_from(range.size()).ok()?;
        bytes.get(start..start.checked_add(len)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_cross_touching_ranges_and_fail_in_gaps() {
        let (a, b, c) = (vec![1u8; 0x1000], vec![2u8; 0x1000], vec![3u8; 0x1000]);
        let memory =
            SliceMemory::new([(0, &a[..]), (0x1000, &b[..]), (0x4000, &c[..])]).expect("valid");
        let mut buf = [0u8; 4];
        memory.read(0xffe, &mut buf).expect("touching ranges");
        assert_eq!(buf, [1, 1, 2, 2]);
        assert!(memory.read(0x1ffe, &mut buf).is_err());
        assert!(memory.read(0x3ffe, &mut buf).is_err());
        assert!(memory.read(0x4ffe, &mut buf).is_err());
        let range = MemoryRange::new(0x4000, 0x1000).expect("valid");
        assert_eq!(memory.as_slice(range), Some(&c[..]));
        let both = MemoryRange::new(0, 0x2000).expect("valid");
        assert_eq!(memory.as_slice(both), None);
    }

    #[test]
    fn overlapping_and_unaligned_slices_are_refused() {
        let a = vec![0u8; 0x2000];
        assert!(matches!(
            SliceMemory::new([(0, &a[..]), (0x1000, &a[..])]),
            Err(RangeError::Overlap { .. })
        ));
        assert!(matches!(
            SliceMemory::new([(0, &a[..0x10])]),
            Err(RangeError::Unaligned { .. })
        ));
    }
}

//! Guest memory in byte slices.

use std::io;

use crate::memory::{GuestMemory, MemoryRange, RangeError, find_range, not_ram, validate_ranges};

/// Guest memory that lies in byte slices, one for each range. The slices are
/// borrowed immutably, so nothing can change them during the dump; they are
/// read in place.
#[derive(Debug)]
pub struct SliceMemory<'a> {
    regions: Vec<(MemoryRange, &'a [u8])>,
}

impl<'a> SliceMemory<'a> {
    /// Guest memory of `regions`: each a guest-physical address and the bytes
    /// from there on, in ascending order.
    ///
    /// # Errors
    ///
    /// Every [`RangeError`]: the list is checked like any other.
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
        let mut done = 0;
        while done < buf.len() {
            let at = gpa + done as u64;
            let index =
                find_range(&self.regions, at, |r| r.0).ok_or_else(|| not_ram(gpa, buf.len()))?;
            let (range, bytes) = self.regions[index];
            let from = &bytes[(at - range.start()) as usize..];
            let n = from.len().min(buf.len() - done);
            buf[done..done + n].copy_from_slice(&from[..n]);
            done += n;
        }
        Ok(())
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
    fn reads_across_touching_ranges_and_refuses_gaps() {
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
    fn bad_maps_are_refused() {
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

//! Guest memory with some bytes that differ: a dump has them, the guest's
//! own memory is not written.
#![forbid(unsafe_code)]

use std::io;

use crate::guest::windows::WinDmpError;
use crate::memory::{GuestMemory, MIN_PAGE_SIZE, MemoryRange, read_populated};

/// Bytes that a dump has instead of the guest's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Patch {
    /// Guest-physical address.
    pub(crate) gpa: u64,
    pub(crate) bytes: Vec<u8>,
}

impl Patch {
    fn end(&self) -> u64 {
        self.gpa + self.bytes.len() as u64
    }
}

/// Patches that are all in RAM, by address, without overlap.
#[derive(Debug, Default)]
pub(crate) struct Patches(Vec<Patch>);

impl Patches {
    /// Checks `patches` of memory whose ranges are `ranges`.
    ///
    /// # Errors
    ///
    /// - [`WinDmpError::PatchOutsideRam`] if bytes are not in `ranges`;
    /// - [`WinDmpError::PatchOverlap`] if a byte is in two patches.
    pub(crate) fn new(
        ranges: &[MemoryRange],
        mut patches: Vec<Patch>,
    ) -> Result<Self, WinDmpError> {
        patches.retain(|patch| !patch.bytes.is_empty());
        patches.sort_by_key(|patch| patch.gpa);
        for patch in &patches {
            let (gpa, len) = (patch.gpa, patch.bytes.len());
            if !is_ram(ranges, gpa, len as u64) {
                return Err(WinDmpError::PatchOutsideRam { gpa, len });
            }
        }
        for pair in patches.windows(2) {
            if pair[0].end() > pair[1].gpa {
                let gpa = pair[1].gpa;
                return Err(WinDmpError::PatchOverlap { gpa });
            }
        }
        Ok(Self(patches))
    }

    /// Those that have bytes in `start..end`.
    fn touching(&self, start: u64, end: u64) -> impl Iterator<Item = &Patch> {
        let first = self.0.partition_point(|patch| patch.end() <= start);
        self.0[first..]
            .iter()
            .take_while(move |patch| patch.gpa < end)
    }
}

/// `memory` with `patches` over it.
pub(crate) struct Overlay<'a> {
    pub(crate) memory: &'a dyn GuestMemory,
    pub(crate) patches: &'a Patches,
}

/// Whether all of the `len` bytes at `gpa` lie in `ranges`, which ascend.
pub(crate) fn is_ram(ranges: &[MemoryRange], mut gpa: u64, len: u64) -> bool {
    let Some(end) = gpa.checked_add(len) else {
        return false;
    };
    let first = ranges.partition_point(|range| range.end() <= gpa);
    for range in &ranges[first..] {
        if gpa >= end || range.start() > gpa {
            break;
        }
        gpa = range.end();
    }
    gpa >= end
}

/// The pages that have the bytes from `start` up to `end`, all of it RAM.
fn whole_pages(start: u64, end: u64) -> MemoryRange {
    let first = start / MIN_PAGE_SIZE;
    MemoryRange::of_frames(first, end.div_ceil(MIN_PAGE_SIZE) - first, MIN_PAGE_SIZE)
}

impl GuestMemory for Overlay<'_> {
    fn ranges(&self) -> Vec<MemoryRange> {
        self.memory.ranges()
    }

    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        let end = gpa + buf.len() as u64;
        let mut patches = self.patches.touching(gpa, end).peekable();
        if patches.peek().is_none() {
            return self.memory.read(gpa, buf);
        }
        // The page may be populated in the dump only.
        read_populated(self.memory, whole_pages(gpa, end), gpa, buf)?;
        for patch in patches {
            let (from, to) = (patch.gpa.max(gpa), patch.end().min(end));
            let bytes = &patch.bytes[(from - patch.gpa) as usize..(to - patch.gpa) as usize];
            buf[(from - gpa) as usize..(to - gpa) as usize].copy_from_slice(bytes);
        }
        Ok(())
    }

    /// A page with a patch is populated, whatever the memory says.
    fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
        let found = self.memory.next_populated(range)?;
        let mut patches = self.patches.touching(range.start(), range.end());
        let patched = patches
            .next()
            .map(|patch| whole_pages(patch.gpa.max(range.start()), patch.end().min(range.end())));
        Ok(match (found, patched) {
            (Some(found), Some(patched)) if patched.start() < found.start() => Some(patched),
            (None, patched) => patched,
            (found, _) => found,
        })
    }

    fn as_slice(&self, range: MemoryRange) -> Option<&[u8]> {
        match self.patches.touching(range.start(), range.end()).next() {
            Some(_) => None,
            None => self.memory.as_slice(range),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::memory::SliceMemory;

    fn range(start: u64, size: u64) -> MemoryRange {
        MemoryRange::new(start, size).unwrap()
    }

    fn patch(gpa: u64, len: usize, byte: u8) -> Patch {
        let bytes = vec![byte; len];
        Patch { gpa, bytes }
    }

    #[test]
    fn only_patched_bytes_differ_and_the_source_stays() {
        let ram: Vec<u8> = (0..0x4000u32).map(|i| (i / 3) as u8).collect();
        let before = ram.clone();
        let memory = SliceMemory::new([(0x1000, &ram[..])]).unwrap();
        // Over a page border; up to the end of a page; one byte.
        let list = vec![
            patch(0x4fff, 1, 3),
            patch(0x1ff0, 0x20, 1),
            patch(0x2ffe, 2, 2),
        ];
        let patches = Patches::new(&memory.ranges(), list).unwrap();
        let overlay = Overlay {
            memory: &memory,
            patches: &patches,
        };
        let mut expected = ram.clone();
        expected[0xff0..0x1010].fill(1);
        expected[0x1ffe..0x2000].fill(2);
        expected[0x3fff] = 3;
        for (start, len) in [
            (0, 0x4000),
            (0xff8, 8),
            (0x1000, 0x10),
            (0x1fff, 1),
            (0x100, 3),
        ] {
            let mut bytes = vec![0; len];
            overlay.read(0x1000 + start as u64, &mut bytes).unwrap();
            assert_eq!(bytes, expected[start..start + len], "{start:#x}");
        }
        assert_eq!(overlay.as_slice(range(0x1000, 0x1000)), None);
        assert_eq!(
            overlay.as_slice(range(0x3000, 0x1000)),
            Some(&ram[0x2000..0x3000])
        );
        assert_eq!(ram, before);
    }

    /// Nothing of it was ever touched.
    struct Untouched;

    impl GuestMemory for Untouched {
        fn ranges(&self) -> Vec<MemoryRange> {
            vec![range(0, 0x8000)]
        }
        fn read(&self, gpa: u64, _: &mut [u8]) -> io::Result<()> {
            panic!("{gpa:#x} is read");
        }
        fn next_populated(&self, _: MemoryRange) -> io::Result<Option<MemoryRange>> {
            Ok(None)
        }
    }

    #[test]
    fn a_patched_page_is_populated_though_the_guest_never_touched_it() {
        let list = vec![patch(0x2ff0, 0x20, 9), patch(0x6000, 1, 8)];
        let patches = Patches::new(&Untouched.ranges(), list).unwrap();
        let overlay = Overlay {
            memory: &Untouched,
            patches: &patches,
        };
        let next = |start, size| overlay.next_populated(range(start, size)).unwrap();
        assert_eq!(next(0, 0x8000), Some(range(0x2000, 0x2000)));
        assert_eq!(next(0x3000, 0x5000), Some(range(0x3000, 0x1000)));
        assert_eq!(next(0x4000, 0x4000), Some(range(0x6000, 0x1000)));
        assert_eq!(next(0x7000, 0x1000), None);
        let mut page = vec![7; 0x1000];
        overlay.read(0x3000, &mut page).unwrap();
        assert!(page[..0x10].iter().all(|b| *b == 9) && page[0x10..].iter().all(|b| *b == 0));
    }

    #[test]
    fn patches_outside_ram_and_on_one_another_are_refused() {
        let ranges = [
            range(0, 0x1000),
            range(0x1000, 0x1000),
            range(0x4000, 0x1000),
        ];
        let new = |list| Patches::new(&ranges, list);
        assert!(new(vec![patch(0xff0, 0x20, 1)]).is_ok());
        for outside in [
            patch(0x1ff0, 0x20, 1),
            patch(0x3000, 1, 1),
            patch(u64::MAX, 2, 1),
        ] {
            let error = new(vec![outside]).unwrap_err();
            assert!(
                matches!(error, WinDmpError::PatchOutsideRam { .. }),
                "{error}"
            );
        }
        let error = new(vec![patch(8, 8, 1), patch(0, 9, 1)]).unwrap_err();
        assert_eq!(error, WinDmpError::PatchOverlap { gpa: 8 });
    }
}

//! Guest memory with patches: a dump contains the patched bytes, and the guest's own
//! memory is not written.
#![forbid(unsafe_code)]

use std::io;

use crate::memory::{Coverage, GuestMemory, MIN_PAGE_SIZE, MemoryRange, is_ram, read_populated};

/// Bytes that replace those of the guest in a dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Patch {
    /// Guest-physical address.
    pub(crate) gpa: u64,
    pub(crate) bytes: Vec<u8>,
}

/// Why patches of guest memory are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OverlayError {
    /// A patch is not all RAM.
    #[error(
        "{len} bytes at guest-physical address {gpa:#x} are to differ in the dump, but are not all RAM"
    )]
    OutsideRam {
        /// Guest-physical address of the patch.
        gpa: u64,
        /// Length of the patch in bytes.
        len: usize,
    },
    /// Two patches replace the same byte.
    #[error("the byte at guest-physical address {gpa:#x} is to differ in two ways")]
    Overlap {
        /// Guest-physical address of the byte.
        gpa: u64,
    },
}

impl Patch {
    fn end(&self) -> u64 {
        self.gpa + self.bytes.len() as u64
    }
}

/// Patches that all lie in RAM, in ascending order and without overlap.
#[derive(Debug, Default)]
pub(crate) struct Patches(Vec<Patch>);

impl Patches {
    /// Checks and sorts `patches` of memory whose ranges are `ranges`. Empty patches are
    /// dropped.
    ///
    /// # Errors
    ///
    /// - [`OverlayError::OutsideRam`] if bytes are not in `ranges`;
    /// - [`OverlayError::Overlap`] if a byte is in two patches.
    pub(crate) fn new(
        ranges: &[MemoryRange],
        mut patches: Vec<Patch>,
    ) -> Result<Self, OverlayError> {
        patches.retain(|patch| !patch.bytes.is_empty());
        patches.sort_by_key(|patch| patch.gpa);
        for patch in &patches {
            let (gpa, len) = (patch.gpa, patch.bytes.len());
            if !is_ram(ranges, gpa, len as u64) {
                return Err(OverlayError::OutsideRam { gpa, len });
            }
        }
        for pair in patches.windows(2) {
            if pair[0].end() > pair[1].gpa {
                let gpa = pair[1].gpa;
                return Err(OverlayError::Overlap { gpa });
            }
        }
        Ok(Self(patches))
    }

    /// Iterates over the patches that intersect `start..end`.
    fn touching(&self, start: u64, end: u64) -> impl Iterator<Item = &Patch> {
        let first = self.0.partition_point(|patch| patch.end() <= start);
        self.0[first..]
            .iter()
            .take_while(move |patch| patch.gpa < end)
    }
}

/// Guest memory in which `patches` replace bytes of `memory`.
pub(crate) struct Overlay<'a> {
    pub(crate) memory: &'a dyn GuestMemory,
    pub(crate) patches: &'a Patches,
}

/// Widens `start..end`, which lies in RAM, to whole pages.
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
        // `next_populated` of the overlay also calls pages populated that only a patch
        // populates, and these must not be read.
        read_populated(self.memory, whole_pages(gpa, end), gpa, buf)?;
        for patch in patches {
            let (from, to) = (patch.gpa.max(gpa), patch.end().min(end));
            let bytes = &patch.bytes[(from - patch.gpa) as usize..(to - patch.gpa) as usize];
            buf[(from - gpa) as usize..(to - gpa) as usize].copy_from_slice(bytes);
        }
        Ok(())
    }

    /// Finds the first extent that is populated in the memory or has a patch.
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

    fn coverage(&self) -> Coverage {
        self.memory.coverage()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::memory::SliceMemory;
    use crate::testing::range;

    fn patch(gpa: u64, len: usize, byte: u8) -> Patch {
        let bytes = vec![byte; len];
        Patch { gpa, bytes }
    }

    #[test]
    fn only_patched_bytes_differ_and_the_source_is_unchanged() {
        let ram: Vec<u8> = (0..0x4000u32).map(|i| (i / 3) as u8).collect();
        let before = ram.clone();
        let memory = SliceMemory::new([(0x1000, &ram[..])]).unwrap();
        // Across a page border; up to the end of a page; one byte.
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

    /// Memory that is not populated and must not be read.
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
    fn a_patched_page_is_populated_even_if_the_memory_is_not() {
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
    fn patches_that_overlap_or_lie_outside_ram_are_refused() {
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
            assert!(matches!(error, OverlayError::OutsideRam { .. }), "{error}");
        }
        let error = new(vec![patch(8, 8, 1), patch(0, 9, 1)]).unwrap_err();
        assert_eq!(error, OverlayError::Overlap { gpa: 8 });
    }
}

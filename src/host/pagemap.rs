//! Pages of a process that have contents, by `/proc/PID/pagemap`.
//!
//! Source: Linux `Documentation/admin-guide/mm/pagemap.rst`.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use nix::unistd::{SysconfVar, sysconf};

use crate::host::process_memory::Process;

/// The pagemap of a process: 64 bits for each page of its address space.
#[derive(Debug)]
pub(crate) struct Pagemap {
    file: File,
    /// In bytes.
    page_size: u64,
}

/// Bit of an entry: the page is in memory.
const PM_PRESENT: u64 = 1 << 63;
/// Bit of an entry: the page is in swap.
const PM_SWAP: u64 = 1 << 62;

/// Number of entries that are read first. Each further read takes twice as many, up to
/// [`MOST_ENTRIES`].
const FIRST_ENTRIES: u64 = 512;
const MOST_ENTRIES: u64 = 32 << 10;

/// A shorter run of empty pages between two populated pages counts as populated: asking
/// again takes longer than reading the pages.
const BRIDGED: u64 = 16;

impl Pagemap {
    /// Opens the pagemap of `process`.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened, or the size of a page is unknown.
    pub(crate) fn open(process: Process) -> io::Result<Self> {
        let page_size = sysconf(SysconfVar::PAGE_SIZE)?.unwrap_or(0) as u64;
        if !page_size.is_power_of_two() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Self {
            file: File::open(process.path("pagemap"))?,
            page_size,
        })
    }

    /// Finds the first pages in `addresses` that are in memory or in swap. The addresses
    /// belong to private memory: the pagemap does not know pages of shared memory that
    /// another process uses.
    ///
    /// # Errors
    ///
    /// If the pagemap cannot be read.
    pub(crate) fn next_populated(&self, addresses: &Range<u64>) -> io::Result<Option<Range<u64>>> {
        let last = addresses.end.div_ceil(self.page_size);
        let mut next = addresses.start / self.page_size;
        let mut count = FIRST_ENTRIES;
        let mut found: Option<Range<u64>> = None;
        let mut bytes = Vec::new();
        while next < last {
            let pages = next..last.min(next + count);
            bytes.resize((pages.end - pages.start) as usize * 8, 0);
            self.file.read_exact_at(&mut bytes, pages.start * 8)?;
            for (page, entry) in pages.clone().zip(bytes.as_chunks::<8>().0) {
                let populated = u64::from_ne_bytes(*entry) & (PM_PRESENT | PM_SWAP) != 0;
                match &mut found {
                    Some(found) if page - found.end >= BRIDGED => {
                        return Ok(Some(self.addresses_of(found, addresses)));
                    }
                    Some(found) if populated => found.end = page + 1,
                    None if populated => found = Some(page..page + 1),
                    _ => {}
                }
            }
            next = pages.end;
            count = (2 * count).min(MOST_ENTRIES);
        }
        Ok(found.map(|found| self.addresses_of(&found, addresses)))
    }

    /// The addresses of `pages`, as far as they lie in `limits`.
    fn addresses_of(&self, pages: &Range<u64>, limits: &Range<u64>) -> Range<u64> {
        let start = (pages.start * self.page_size).max(limits.start);
        start..(pages.end * self.page_size).min(limits.end)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A pagemap with these entries, of pages of 4096 bytes.
    fn pagemap(entries: &[u64]) -> Pagemap {
        let bytes: Vec<u8> = entries.iter().flat_map(|e| e.to_ne_bytes()).collect();
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        let page_size = 4096;
        Pagemap { file, page_size }
    }

    #[test]
    fn pages_in_memory_and_pages_in_swap_are_populated() {
        // Soft-dirty, exclusively mapped, and file page are bits without meaning here.
        let noise = (1 << 55) | (1 << 56) | (1 << 61);
        let mut entries = vec![noise; 3000];
        entries[40] |= PM_PRESENT;
        entries[41] |= PM_SWAP | 0x1234;
        entries[41 + BRIDGED as usize + 1] |= PM_PRESENT; // too far to be joined
        entries[1500] = PM_SWAP;
        entries[1502] = PM_PRESENT; // near enough
        let map = pagemap(&entries);
        let next = |start: u64, end: u64| {
            let found = map.next_populated(&(start << 12..end << 12)).unwrap();
            found.map(|found| (found.start >> 12, found.end >> 12))
        };
        assert_eq!(next(0, 3000), Some((40, 42)));
        assert_eq!(next(41, 3000), Some((41, 42)));
        assert_eq!(next(0, 41), Some((40, 41)));
        assert_eq!(next(42, 3000), Some((58, 59)));
        assert_eq!(next(59, 3000), Some((1500, 1503)));
        assert_eq!(next(1503, 3000), None);
        assert!(map.next_populated(&(0..5000 << 12)).is_ok());
        assert!(map.next_populated(&(1503 << 12..5000 << 12)).is_err());
    }

    #[test]
    fn memory_that_was_written_is_populated() {
        let local = vec![1u8; 1 << 20];
        let at = local.as_ptr().addr() as u64;
        let range = at..at + (1 << 20);
        let pagemap = Pagemap::open(Process::Own).unwrap();
        assert_eq!(pagemap.next_populated(&range).unwrap(), Some(range));
    }
}

//! What the kernel says of this process's own mappings.
//!
//! Sources: Linux `Documentation/filesystems/proc.rst` (`smaps`, `VmFlags`),
//! `Documentation/admin-guide/mm/pagemap.rst`.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use nix::unistd::{SysconfVar, sysconf};

/// A mapping of this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mapping {
    /// Host-virtual addresses.
    pub(super) addresses: Range<u64>,
    /// Writes go to the file, or to whoever shares the memory.
    pub(super) shared: bool,
    /// Offset of the first byte in the file.
    pub(super) offset: u64,
    /// Of the file; 0 if there is none.
    pub(super) inode: u64,
    /// Pages that are not there yet come from somebody who serves page
    /// faults: userfaultfd.
    pub(super) served: bool,
}

/// The mappings, in ascending order, that have any of the addresses that
/// `wanted` asks for. With `served` it is found out which of them are: the
/// kernel walks all page tables for that.
pub(super) fn mappings(
    served: bool,
    wanted: impl Fn(&Range<u64>) -> bool,
) -> io::Result<Vec<Mapping>> {
    let path = match served {
        true => "/proc/self/smaps",
        false => "/proc/self/maps",
    };
    parse_maps(BufReader::new(File::open(path)?), wanted)
}

/// `maps`, or `smaps`, which has lines more for each mapping.
fn parse_maps(
    maps: impl BufRead,
    wanted: impl Fn(&Range<u64>) -> bool,
) -> io::Result<Vec<Mapping>> {
    let mut mappings: Vec<Mapping> = Vec::new();
    let mut skip = true;
    for line in maps.lines() {
        let line = line?;
        if let Some(mapping) = parse_first_line(&line) {
            skip = !wanted(&mapping.addresses);
            if !skip {
                mappings.push(mapping);
            }
        } else if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| !skip)
            && let Some(mapping) = mappings.last_mut()
        {
            // um: missing pages are served; ui: minor faults are.
            mapping.served = flags.split_whitespace().any(|f| f == "um" || f == "ui");
        }
    }
    Ok(mappings)
}

/// `start-end perms offset dev inode path`.
fn parse_first_line(line: &str) -> Option<Mapping> {
    let mut words = line.split_ascii_whitespace();
    let hex = |word: &str| u64::from_str_radix(word, 16).ok();
    let (start, end) = words.next()?.split_once('-')?;
    let addresses = hex(start)?..hex(end)?;
    let shared = words.next()?.ends_with('s');
    let offset = hex(words.next()?)?;
    let inode = words.nth(1)?.parse().ok()?;
    Some(Mapping {
        addresses,
        shared,
        offset,
        inode,
        served: false,
    })
}

/// `/proc/self/pagemap`: which pages of this process have contents.
#[derive(Debug)]
pub(super) struct Pagemap {
    file: File,
    /// In bytes.
    page_size: u64,
}

/// The page is in memory.
const PM_PRESENT: u64 = 1 << 63;
/// The page is in swap.
const PM_SWAP: u64 = 1 << 62;

/// Entries that are read at first; each further time twice as many, up to
/// [`MOST_ENTRIES`].
const FIRST_ENTRIES: u64 = 512;
const MOST_ENTRIES: u64 = 32 << 10;

/// Fewer empty pages than these between two full ones count as full: to ask
/// once more takes longer than to read them.
const BRIDGED: u64 = 16;

impl Pagemap {
    pub(super) fn open() -> io::Result<Self> {
        let page_size = sysconf(SysconfVar::PAGE_SIZE)?.unwrap_or(0) as u64;
        if !page_size.is_power_of_two() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Self {
            file: File::open("/proc/self/pagemap")?,
            page_size,
        })
    }

    /// The first pages with contents in `addresses`, which belong to memory
    /// of this process alone. Each entry is read once, except for what was
    /// read behind the answer.
    pub(super) fn next_populated(&self, addresses: &Range<u64>) -> io::Result<Option<Range<u64>>> {
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
                let full = u64::from_ne_bytes(*entry) & (PM_PRESENT | PM_SWAP) != 0;
                match &mut found {
                    Some(found) if page - found.end >= BRIDGED => {
                        return Ok(Some(self.limited(found, addresses)));
                    }
                    Some(found) if full => found.end = page + 1,
                    None if full => found = Some(page..page + 1),
                    _ => {}
                }
            }
            next = pages.end;
            count = (2 * count).min(MOST_ENTRIES);
        }
        Ok(found.map(|found| self.limited(&found, addresses)))
    }

    fn limited(&self, pages: &Range<u64>, addresses: &Range<u64>) -> Range<u64> {
        (pages.start * self.page_size).max(addresses.start)
            ..(pages.end * self.page_size).min(addresses.end)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SMAPS: &str = "\
5500aa000-5500ab000 r-xp 00001000 fe:01 77                         /usr/bin/a file
Size:                  4 kB
VmFlags: rd ex mr mw me um
7f0000000000-7f0000200000 rw-p 00000000 00:00 0 [anon:guest]
Size:               2048 kB
VmFlags: rd wr mr mw me ac sd um
7f0000200000-7f0000400000 rw-s 00100000 00:01 1034 /memfd:ram (deleted)
Anonymous:             0 kB
VmFlags: rd wr sh mr mw me ms sd
7f0000400000-7f0000600000 ---p 00000000 00:00 0
VmFlags: mr mw me
";

    #[test]
    fn mappings_are_read_as_the_kernel_writes_them() {
        let found = parse_maps(SMAPS.as_bytes(), |a| a.start >= 0x7f00_0000_0000).unwrap();
        let mapping = |start, shared, offset, inode, served| Mapping {
            addresses: start..start + 0x20_0000,
            shared,
            offset,
            inode,
            served,
        };
        assert_eq!(
            found,
            [
                mapping(0x7f00_0000_0000, false, 0, 0, true),
                mapping(0x7f00_0020_0000, true, 0x10_0000, 1034, false),
                mapping(0x7f00_0040_0000, false, 0, 0, false),
            ]
        );
    }

    /// A pagemap of pages of 4096 bytes with these entries.
    fn pagemap(entries: &[u64]) -> Pagemap {
        let bytes: Vec<u8> = entries.iter().flat_map(|e| e.to_ne_bytes()).collect();
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        let page_size = 4096;
        Pagemap { file, page_size }
    }

    #[test]
    fn pages_in_memory_and_pages_in_swap_are_populated() {
        // Soft-dirty, exclusively mapped, and a file's page say nothing.
        let noise = (1 << 55) | (1 << 56) | (1 << 61);
        let mut entries = vec![noise; 3000];
        entries[40] |= PM_PRESENT;
        entries[41] |= PM_SWAP | 0x1234;
        entries[41 + BRIDGED as usize + 1] |= PM_PRESENT; // too far for one
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
    fn this_process_has_mappings_and_pages() {
        let local = vec![1u8; 1 << 20];
        let at = local.as_ptr().addr() as u64;
        let found = mappings(true, |a| a.contains(&at)).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(mappings(false, |a| a.contains(&at)).unwrap(), found);
        assert!(!found[0].shared && !found[0].served);
        let range = at..at + (1 << 20);
        let populated = Pagemap::open().unwrap().next_populated(&range).unwrap();
        assert_eq!(populated, Some(range));
    }
}

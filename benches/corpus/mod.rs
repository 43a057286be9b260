//! The corpus of all benchmarks: the demo guest.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use guestdump::GuestMemory;
use guestdump::demo::DemoGuest;
use guestdump::memory::{FileMemory, FileRegion, MemoryRange};
use tempfile::TempDir;

pub const SIZE: u64 = 256 << 20;

pub fn guest() -> DemoGuest {
    DemoGuest::new(SIZE).unwrap()
}

/// A folder on tmpfs where there is one, so that no disk is measured.
pub fn folder() -> TempDir {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() {
        tempfile::tempdir_in(shm).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

/// Calls `each` for every populated mebibyte or less of the guest.
fn populated(guest: &DemoGuest, mut each: impl FnMut(MemoryRange)) {
    for range in guest.ranges() {
        let mut start = range.start();
        while start < range.end() {
            let rest = MemoryRange::new(start, range.end() - start).unwrap();
            let Some(extent) = guest.next_populated(rest).unwrap() else {
                break;
            };
            let size = extent.size().min(1 << 20);
            each(MemoryRange::new(extent.start(), size).unwrap());
            start = extent.start() + size;
        }
    }
}

/// The guest's RAM in a sparse file, one range behind the other.
pub fn ram_file(guest: &DemoGuest) -> FileMemory {
    let file = Arc::new(tempfile::tempfile_in(folder().path()).unwrap());
    file.set_len(SIZE).unwrap();
    let mut regions = Vec::new();
    let mut offset = 0;
    for range in guest.ranges() {
        regions.push(FileRegion {
            range,
            file: Arc::clone(&file),
            offset,
        });
        offset += range.size();
    }
    let mut buf = vec![0; 1 << 20];
    populated(guest, |extent| {
        let region = regions
            .iter()
            .find(|r| r.range.contains(extent.start(), extent.size()))
            .unwrap();
        let buf = &mut buf[..extent.size() as usize];
        guest.read(extent.start(), buf).unwrap();
        let at = region.offset + extent.start() - region.range.start();
        file.write_all_at(buf, at).unwrap();
    });
    FileMemory::new(regions).unwrap()
}

/// The first `count` pages for which `wanted` is true.
pub fn pages(guest: &DemoGuest, count: usize, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut pages = Vec::with_capacity(count * 4096);
    let mut buf = vec![0; 1 << 20];
    populated(guest, |extent| {
        let buf = &mut buf[..extent.size() as usize];
        guest.read(extent.start(), buf).unwrap();
        for page in buf.chunks_exact(4096).filter(|page| wanted(page)) {
            if pages.len() < count * 4096 {
                pages.extend_from_slice(page);
            }
        }
    });
    pages
}

//! Reads and writes of files that leave nothing in the host's page cache.
//!
//! Linux reads and writes files through that cache. A dump reads and writes each byte
//! once and may be larger than the host's memory, so caching it only evicts the pages of
//! other programs.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// Number of bytes that are written before their transfer to the disk begins.
const EARLY: u64 = 8 << 20;

/// Number of bytes that may wait for the disk; a multiple of [`EARLY`].
const WAITING: u64 = 64 << 20;

/// Keeps a file out of the page cache while it is written.
#[derive(Debug, Default)]
pub(crate) struct WriteBehind {
    written: AtomicU64,
}

impl WriteBehind {
    /// Records that `bytes` were written to `file`, and flushes the file if enough of
    /// them wait for the disk.
    ///
    /// # Errors
    ///
    /// If earlier bytes could not be written to the disk.
    pub(crate) fn wrote(&self, file: &File, bytes: u64) -> io::Result<()> {
        let before = self.written.fetch_add(bytes, Relaxed);
        let after = before + bytes;
        if after / WAITING > before / WAITING {
            file.sync_data()?;
        }
        if after / EARLY > before / EARLY {
            drop_cached(file, 0, 0);
        }
        Ok(())
    }

    /// Waits until all bytes of `file` are on the disk.
    ///
    /// # Errors
    ///
    /// If they could not be written there.
    pub(crate) fn finish(&self, file: &File) -> io::Result<()> {
        file.sync_data()?;
        drop_cached(file, 0, 0);
        Ok(())
    }
}

/// Reads files without adding to the page cache. Some pages may stay there if two threads
/// read at once.
#[derive(Debug, Default)]
pub(crate) struct ReadOnce {
    /// Whether the system cannot read past the cache, or cannot do so from these files.
    without: AtomicBool,
}

impl ReadOnce {
    /// Fills `buf` from `offset` of `file` on.
    ///
    /// # Errors
    ///
    /// If not every byte can be read.
    pub(crate) fn read_exact_at(&self, file: &File, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buf.len() && !self.without.load(Relaxed) {
            match read_uncached(file, &mut buf[done..], offset + done as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => done += n,
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM) => {
                    self.without.store(true, Relaxed)
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        if done < buf.len() {
            let (rest, at) = (&mut buf[done..], offset + done as u64);
            file.read_exact_at(rest, at)?;
            drop_cached(file, at, rest.len() as u64);
        }
        drop_hole(file, offset + buf.len() as u64);
        Ok(())
    }
}

/// Reads with `RWF_DONTCACHE` of Linux 6.14 (include/uapi/linux/fs.h): pages that this
/// read adds to the cache leave it again, and pages that were there stay. Older systems,
/// and file systems without support, answer `EOPNOTSUPP`.
#[cfg(target_os = "linux")]
fn read_uncached(file: &File, buf: &mut [u8], offset: u64) -> Result<usize, Errno> {
    use rustix::io::{ReadWriteFlags, preadv2};
    let flags = ReadWriteFlags::from_bits_retain(0x80);
    preadv2(file, &mut [io::IoSliceMut::new(buf)], offset, flags)
}

#[cfg(not(target_os = "linux"))]
fn read_uncached(_: &File, _: &mut [u8], _: u64) -> Result<usize, Errno> {
    Err(Errno::NOSYS)
}

/// Drops the pages of the hole at `offset`, if there is one. Linux also reads ahead into
/// holes. A dump does not read them, so no later read would drop those pages.
fn drop_hole(file: &File, offset: u64) {
    match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(data) if data > offset => drop_cached(file, offset, data - offset),
        Err(Errno::NXIO) => drop_cached(file, offset, 0),
        _ => {}
    }
}

/// Drops `len` bytes of `file` from the cache; 0 means all up to the end.
///
/// Linux keeps pages that are mapped or not yet on the disk, and begins to write the
/// latter (mm/fadvise.c). The call is advice, so its errors are ignored.
#[cfg(target_os = "linux")]
fn drop_cached(file: &File, offset: u64, len: u64) {
    use rustix::fs::{Advice, fadvise};
    let _ = fadvise(file, offset, len.try_into().ok(), Advice::DontNeed);
}

#[cfg(not(target_os = "linux"))]
fn drop_cached(_: &File, _: u64, _: u64) {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_past_the_cache_and_through_it_give_equal_bytes() {
        let bytes: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        for without in [false, true] {
            let read_once = ReadOnce {
                without: without.into(),
            };
            // Pages that are not on the disk yet survive the first read.
            for _ in 0..2 {
                let mut read = vec![0; 90_000];
                read_once.read_exact_at(&file, &mut read, 5000).unwrap();
                assert!(read == bytes[5000..95_000]);
            }
            let behind = read_once.read_exact_at(&file, &mut [0; 2], 99_999);
            assert_eq!(behind.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[test]
    fn a_file_that_cannot_be_flushed_is_an_error() {
        // A pipe has no disk: fdatasync(2) gives EINVAL.
        let (_reader, writer) = io::pipe().unwrap();
        let pipe = File::from(std::os::fd::OwnedFd::from(writer));
        let behind = WriteBehind::default();
        behind.wrote(&pipe, WAITING - 1).unwrap();
        assert!(behind.wrote(&pipe, 1).is_err());
        assert!(behind.finish(&pipe).is_err());
    }
}

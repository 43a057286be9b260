//! Reading and writing files without pushing what the host works with out of
//! its page cache.
//!
//! Linux reads and writes files through that cache. A dump reads and writes
//! each byte once, and may be larger than the host's memory.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// Bytes that are written until they begin to go to the disk.
const EARLY: u64 = 8 << 20;

/// Bytes that may wait for the disk; a multiple of [`EARLY`].
const WAITING: u64 = 64 << 20;

/// Keeps a file that is written out of the page cache.
#[derive(Debug, Default)]
pub(crate) struct WriteBehind {
    written: AtomicU64,
}

impl WriteBehind {
    /// Takes note of `bytes` that were just written to `file`.
    ///
    /// # Errors
    ///
    /// If the disk did not take what was written before.
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

    /// Waits until the disk has everything.
    ///
    /// # Errors
    ///
    /// If it does not take it.
    pub(crate) fn finish(&self, file: &File) -> io::Result<()> {
        file.sync_data()?;
        drop_cached(file, 0, 0);
        Ok(())
    }
}

/// Reads files and leaves nothing of them in the page cache that was not
/// there before, as far as the system can do that: where two threads read at
/// once, some pages may stay.
#[derive(Debug, Default)]
pub(crate) struct ReadOnce {
    /// The system cannot read past the cache, or not from such files.
    without: AtomicBool,
}

impl ReadOnce {
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

/// `RWF_DONTCACHE` of Linux 6.14 (include/uapi/linux/fs.h): what this read
/// brings into the cache leaves it again; what was there stays. Older systems
/// and file systems that cannot do it answer `EOPNOTSUPP`.
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

/// Drops the hole at `offset`, if there is one. Linux reads ahead, also into
/// holes, where a dump does not read, so that nothing else would drop those
/// pages.
fn drop_hole(file: &File, offset: u64) {
    match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(data) if data > offset => drop_cached(file, offset, data - offset),
        Err(Errno::NXIO) => drop_cached(file, offset, 0),
        _ => {}
    }
}

/// Drops pages of `file` from the cache: `len` bytes, 0 for all up to the end.
/// Linux begins to write those that the disk does not have yet, and keeps
/// them, as it keeps what is mapped (mm/fadvise.c). It is advice: files that
/// do not take it are none the worse.
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
    fn the_same_is_read_past_the_cache_and_through_it() {
        let bytes: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        for without in [false, true] {
            let read_once = ReadOnce {
                without: without.into(),
            };
            // What nobody has written to the disk yet is not lost.
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
    fn a_disk_that_does_not_take_it_is_an_error() {
        // A pipe has no disk: fdatasync(2) gives EINVAL.
        let (_reader, writer) = io::pipe().unwrap();
        let pipe = File::from(std::os::fd::OwnedFd::from(writer));
        let behind = WriteBehind::default();
        behind.wrote(&pipe, WAITING - 1).unwrap();
        assert!(behind.wrote(&pipe, 1).is_err());
        assert!(behind.finish(&pipe).is_err());
    }
}

//! Files as input: everything in this room that needs a file system.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, OnceLock};

use crate::host::holes;
use crate::host::page_cache::ReadOnce;
use crate::read::ReadAt;

/// A regular file is read by `pread`. Its holes (`SEEK_DATA`) are not data.
///
/// A file that is not regular, such as a pipe, has no [`len`](ReadAt::len).
impl ReadAt for File {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        let meta = self.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "it is not a regular file",
            ));
        }
        Ok(meta.len())
    }

    fn next_data(&self, offset: u64, end: u64) -> io::Result<Option<Range<u64>>> {
        if offset >= end {
            return Ok(None);
        }
        next_data(self, offset..end, || holes::is_on_tmpfs(self))
    }

    fn shared(self) -> Arc<dyn ReadAt> {
        Arc::new(OpenFile::new(self))
    }
}

fn next_data(
    file: &File,
    offsets: Range<u64>,
    is_on_tmpfs: impl FnOnce() -> bool,
) -> io::Result<Option<Range<u64>>> {
    // Finding the end of the data in a short range takes longer than reading
    // its holes.
    if offsets.end - offsets.start <= holes::SHORT {
        let start = holes::next_data(file, &offsets)?;
        Ok(start.map(|start| start..offsets.end))
    } else if is_on_tmpfs() {
        holes::next_extent_in_steps(file, &offsets)
    } else {
        holes::next_extent(file, &offsets)
    }
}

/// A file that remembers whether it lies on tmpfs, which decides how its holes
/// are found.
#[derive(Debug)]
struct OpenFile {
    file: File,
    is_on_tmpfs: OnceLock<bool>,
}

impl OpenFile {
    fn new(file: File) -> Self {
        Self {
            file,
            is_on_tmpfs: OnceLock::new(),
        }
    }
}

impl ReadAt for OpenFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        ReadAt::len(&self.file)
    }

    fn next_data(&self, offset: u64, end: u64) -> io::Result<Option<Range<u64>>> {
        if offset >= end {
            return Ok(None);
        }
        next_data(&self.file, offset..end, || {
            *self
                .is_on_tmpfs
                .get_or_init(|| holes::is_on_tmpfs(&self.file))
        })
    }
}

/// A file that is read without filling the host's page cache, as dd's
/// `iflag=nocache`.
///
/// Files on tmpfs and hugetlbfs lie in the page cache and are read as usual.
/// Before Linux 6.14 reading also drops pages that other processes have read,
/// and starts writing to the disk the pages that they have changed. Use it for
/// files that no other process uses, and that are read in large pieces: images,
/// ELF and Windows dumps. A kdump has many small pages.
#[derive(Debug)]
pub struct Uncached {
    file: OpenFile,
    read_once: ReadOnce,
}

impl Uncached {
    /// Reads `file` without filling the page cache.
    #[must_use]
    pub fn new(file: File) -> Self {
        Self {
            file: OpenFile::new(file),
            read_once: ReadOnce::default(),
        }
    }
}

impl ReadAt for Uncached {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.read_once.read_exact_at(&self.file.file, buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn next_data(&self, offset: u64, end: u64) -> io::Result<Option<Range<u64>>> {
        self.file.next_data(offset, end)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MIB: u64 = 1 << 20;

    /// All extents of a file of 64 MiB with 2 bytes at each of `places`.
    fn extents(file: &File, places: &[u64]) -> Vec<Range<u64>> {
        file.set_len(64 * MIB).unwrap();
        for place in places {
            file.write_all_at(b"xy", *place).unwrap();
        }
        let mut found = Vec::new();
        let mut at = 0;
        while let Some(data) = file.next_data(at, 64 * MIB).unwrap() {
            at = data.end;
            found.push(data);
        }
        found
    }

    #[test]
    fn holes_are_not_data() {
        let places = [5, 3 * MIB + 20, 40 * MIB - 1];
        let memfd = rustix::fs::memfd_create("dump", rustix::fs::MemfdFlags::CLOEXEC);
        for file in [tempfile::tempfile().unwrap(), memfd.unwrap().into()] {
            let found = extents(&file, &places);
            for place in places {
                let inside = |data: &Range<u64>| data.contains(&place);
                assert!(found.iter().any(inside), "{found:?}");
            }
            let len: u64 = found.iter().map(|data| data.end - data.start).sum();
            assert!(len <= 8 * MIB, "{found:?}");
        }
    }

    #[test]
    fn lost_bytes_are_data() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(0x1800).unwrap();
        assert_eq!(file.next_data(0, 0x1800).unwrap(), None);
        assert_eq!(file.next_data(0, 0x3000).unwrap(), Some(0x1000..0x3000));
        assert_eq!(file.next_data(0x2000, 0x2000).unwrap(), None);
    }

    #[test]
    fn a_device_that_ignores_seeks_has_no_holes_and_no_length() {
        let device = File::open("/dev/zero").unwrap();
        assert_eq!(device.next_data(8, MIB).unwrap(), Some(8..MIB));
        let error = ReadAt::len(&device).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    }

    #[test]
    fn an_uncached_file_has_the_same_bytes() {
        let file = tempfile::tempfile().unwrap();
        let found = extents(&file, &[MIB]);
        let uncached = Uncached::new(file);
        let mut bytes = [0; 2];
        uncached.read_at(MIB, &mut bytes).unwrap();
        assert_eq!(&bytes, b"xy");
        assert_eq!(uncached.len().unwrap(), 64 * MIB);
        assert_eq!(
            uncached.next_data(0, 64 * MIB).unwrap(),
            found.first().cloned()
        );
    }
}

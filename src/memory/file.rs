//! Guest memory in one or several files.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::host::holes;
use crate::host::page_cache::ReadOnce;
use crate::memory::file_extents::search_file;
use crate::memory::{
    GuestMemory, MIN_PAGE_SIZE, MemoryRange, RangeError, next_populated_by_range, read_by_range,
    validate_ranges,
};

/// A range of guest memory and the place in a file where its bytes lie.
#[derive(Debug, Clone)]
pub struct FileRegion {
    /// Guest-physical range.
    pub range: MemoryRange,
    /// The file; several regions may share one.
    pub file: Arc<File>,
    /// Offset of the range's first byte in the file, in bytes.
    pub offset: u64,
}

impl FileRegion {
    /// The file offset of the byte at `gpa`, which lies in the range.
    fn offset_of(&self, gpa: u64) -> u64 {
        self.offset + (gpa - self.range.start())
    }
}

/// Guest memory that lies in files: the RAM backing file of a virtual machine (memfd,
/// tmpfs, hugetlbfs, plain file) or a saved image of it.
///
/// The files are read with `pread` and not mapped, so a file that shrinks is an error
/// instead of a signal. Their holes (`SEEK_DATA`, `SEEK_HOLE`) are not populated and are
/// not read. On tmpfs, a hole that shares 64 KiB with data may be read, which takes no
/// memory.
///
/// ```no_run
/// use guestdump::memory::{FileMemory, FileRegion, MemoryRange};
/// use std::{fs::File, sync::Arc};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // A PC's RAM of 4 GiB, of which 1 GiB lies above the hole below 4 GiB.
/// let ram = Arc::new(File::open("/dev/shm/guest-ram")?);
/// let region = |start, size, offset| {
///     let (range, file) = (MemoryRange::new(start, size)?, Arc::clone(&ram));
///     Ok::<_, guestdump::memory::RangeError>(FileRegion { range, file, offset })
/// };
/// let memory = FileMemory::new(vec![
///     region(0, 3 << 30, 0)?,
///     region(4 << 30, 1 << 30, 3 << 30)?,
/// ])?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FileMemory {
    regions: Vec<FileRegion>,
    /// Whether all files are on tmpfs.
    on_tmpfs: bool,
    read_once: Option<ReadOnce>,
}

impl FileMemory {
    /// Makes guest memory of `regions`, which ascend by address.
    ///
    /// # Errors
    ///
    /// - [`FileMemoryError::Range`] if the list of ranges is invalid;
    /// - [`FileMemoryError::Short`] if a region reaches past the end of its
    ///   file;
    /// - [`FileMemoryError::Metadata`] if a file's size cannot be read.
    pub fn new(regions: Vec<FileRegion>) -> Result<Self, FileMemoryError> {
        let ranges: Vec<_> = regions.iter().map(|r| r.range).collect();
        validate_ranges(&ranges)?;
        for region in &regions {
            let file_size = size_of(&region.file)?;
            let end = region.offset.checked_add(region.range.size());
            if end.is_none_or(|end| end > file_size) {
                return Err(FileMemoryError::Short {
                    range: region.range,
                    offset: region.offset,
                    file_size,
                });
            }
        }
        Ok(Self {
            on_tmpfs: regions.iter().all(|r| holes::is_on_tmpfs(&r.file)),
            regions,
            read_once: None,
        })
    }

    /// Makes guest memory of one file that contains the guest-physical addresses from 0
    /// on. An incomplete page at the end of the file is omitted.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new). A file shorter than a page is [`RangeError::Empty`].
    pub fn flat(file: File) -> Result<Self, FileMemoryError> {
        let size = size_of(&file)?;
        Self::new(vec![FileRegion {
            range: MemoryRange::new(0, size - size % MIN_PAGE_SIZE)?,
            file: Arc::new(file),
            offset: 0,
        }])
    }

    /// Sets whether reading keeps the files out of the host's page cache, as dd's
    /// `iflag=nocache` does. Files on tmpfs and hugetlbfs live in that cache and ignore
    /// the setting.
    ///
    /// The setting is for files that no other program uses, such as a saved image. Before
    /// Linux 6.14, it also drops pages that other programs had read, and begins to write
    /// changed pages to the disk. Do not use it there for the memory of a running guest.
    /// No data is ever lost.
    #[must_use]
    pub fn nocache(mut self, nocache: bool) -> Self {
        self.read_once = nocache.then(ReadOnce::default);
        self
    }
}

/// Why a [`FileMemory`] cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileMemoryError {
    /// The list of ranges is invalid.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// A region reaches past the end of its file.
    #[error(
        "the range {range} at file offset {offset:#x} reaches past the end of its file of {file_size:#x} bytes"
    )]
    Short {
        /// The region's range.
        range: MemoryRange,
        /// Where it begins in the file, in bytes.
        offset: u64,
        /// The file's size in bytes.
        file_size: u64,
    },
    /// A file's size cannot be read.
    #[error("cannot read the size of a guest memory file")]
    Metadata(#[source] io::Error),
}

fn size_of(file: &File) -> Result<u64, FileMemoryError> {
    Ok(file.metadata().map_err(FileMemoryError::Metadata)?.len())
}

impl GuestMemory for FileMemory {
    fn ranges(&self) -> Vec<MemoryRange> {
        self.regions.iter().map(|r| r.range).collect()
    }

    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        read_by_range(&self.regions, range_of, gpa, buf, |region, gpa, buf| {
            let offset = region.offset_of(gpa);
            match &self.read_once {
                None => region.file.read_exact_at(buf, offset),
                Some(read_once) => read_once.read_exact_at(&region.file, buf, offset),
            }
        })
    }

    fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
        next_populated_by_range(&self.regions, range_of, range, |region, here| {
            let file = &region.file;
            search_file(here, region.offset_of(here.start()), |offsets| {
                // Finding the end of the data is not worth while in a short range, because
                // reading a hole does no harm here.
                if here.size() <= holes::SHORT {
                    let start = holes::next_data(file, offsets)?;
                    Ok(start.map(|start| start..offsets.end))
                } else if self.on_tmpfs {
                    holes::next_extent_in_steps(file, offsets)
                } else {
                    holes::next_extent(file, offsets)
                }
            })
        })
    }
}

fn range_of(region: &FileRegion) -> MemoryRange {
    region.range
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::range;
    use std::io::{Seek, Write};

    #[test]
    fn holes_are_not_populated() {
        let mut file = tempfile::tempfile().expect("temporary file");
        file.set_len(0x100_0000).expect("set_len");
        file.seek(io::SeekFrom::Start(0x80_0010)).expect("seek");
        file.write_all(b"data").expect("write");
        let memory = FileMemory::flat(file).expect("file memory");
        let all = range(0, 0x100_0000);
        let first = memory.next_populated(all).expect("seek").expect("data");
        assert!(first.contains(0x80_0000, 0x1000));
        assert!(first.size() <= 0x20_0000, "{first}");
        let rest = all.starting_at(first.end()).expect("rest");
        assert_eq!(memory.next_populated(rest).expect("seek"), None);
        let mut buf = [0u8; 4];
        memory.read(0x80_0010, &mut buf).expect("read");
        assert_eq!(&buf, b"data");
    }

    /// The exact end of data is not looked for there, because that takes long.
    #[test]
    fn extents_on_tmpfs_are_short_and_end_at_steps() {
        const MIB: u64 = 1 << 20;
        const KIB: u64 = 1 << 10;
        let memfd = rustix::fs::memfd_create("guest", rustix::fs::MemfdFlags::CLOEXEC);
        let file = File::from(memfd.expect("memfd"));
        file.set_len(64 * MIB).expect("set_len");
        let fill = |at, len| {
            file.write_all_at(&vec![1; len as usize], at)
                .expect("write")
        };
        // One page; two pages with a hole of one step between them; 5 MiB.
        fill(3 * MIB + 20 * KIB, 4 * KIB);
        fill(4 * MIB, 4 * KIB);
        fill(4 * MIB + 128 * KIB, 4 * KIB);
        fill(10 * MIB, 5 * MIB);
        let blocks = || std::os::unix::fs::MetadataExt::blocks(&file.metadata().expect("metadata"));
        let before = blocks();
        let memory = FileMemory::flat(file.try_clone().expect("clone")).expect("file memory");
        let mut extents = Vec::new();
        let mut rest = Some(range(0, 64 * MIB));
        while let Some(found) = rest.and_then(|rest| memory.next_populated(rest).expect("seek")) {
            let mut bytes = vec![0; found.size() as usize];
            memory.read(found.start(), &mut bytes).expect("read");
            extents.push((found.start(), found.size()));
            rest = range(0, 64 * MIB).starting_at(found.end());
        }
        let long = (0..5).map(|n| ((10 + n) * MIB, MIB));
        let expected = [
            (3 * MIB + 20 * KIB, 44 * KIB),
            (4 * MIB, 64 * KIB),
            (4 * MIB + 128 * KIB, 64 * KIB),
        ];
        assert_eq!(
            extents,
            expected.into_iter().chain(long).collect::<Vec<_>>()
        );
        assert_eq!(blocks(), before, "reading filled holes");
    }

    /// A saved image may have a header of any length before memory.
    #[test]
    fn memory_on_tmpfs_may_begin_anywhere_in_the_file() {
        const MIB: u64 = 1 << 20;
        for offset in [1, 0x6ac, 0xfff, 0x1000, 0x1_0001, 0x1_0800] {
            let memfd = rustix::fs::memfd_create("guest", rustix::fs::MemfdFlags::CLOEXEC);
            let file = File::from(memfd.expect("memfd"));
            file.set_len(offset + 16 * MIB).expect("set_len");
            for (at, len) in [
                (0, 3),
                (4 * MIB + 0xffff, 2),
                (6 * MIB - 1, 3 * MIB + 2),
                (15 * MIB + 5, 1),
            ] {
                let bytes = vec![7; len as usize];
                file.write_all_at(&bytes, offset + at).expect("write");
            }
            let all = range(0, 16 * MIB);
            let memory = FileMemory::new(vec![FileRegion {
                range: all,
                file: Arc::new(file.try_clone().expect("clone")),
                offset,
            }])
            .expect("file memory");
            let mut found = vec![0; 16 * MIB as usize];
            let mut rest = Some(all);
            while let Some(extent) =
                rest.and_then(|rest| memory.next_populated(rest).expect("seek"))
            {
                let part = extent.start() as usize..extent.end() as usize;
                memory.read(extent.start(), &mut found[part]).expect("read");
                rest = all.starting_at(extent.end());
            }
            let mut expected = vec![0; 16 * MIB as usize];
            file.read_exact_at(&mut expected, offset).expect("read");
            assert!(found == expected, "offset {offset:#x}");
        }
    }

    #[test]
    fn several_files_are_one_memory() {
        let mut a = tempfile::tempfile().expect("temporary file");
        let mut b = tempfile::tempfile().expect("temporary file");
        a.write_all(&[0xaa; 0x3000]).expect("write");
        b.write_all(&[0xbb; 0x1000]).expect("write");
        let (a, b) = (Arc::new(a), Arc::new(b));
        let memory = FileMemory::new(vec![
            FileRegion {
                range: range(0, 0x1000),
                file: Arc::clone(&a),
                offset: 0x2000,
            },
            FileRegion {
                range: range(0x1000, 0x1000),
                file: b,
                offset: 0,
            },
            FileRegion {
                range: range(0x10_0000_0000, 0x1000),
                file: a,
                offset: 0,
            },
        ])
        .expect("file memory");
        let mut buf = [0u8; 2];
        memory.read(0xfff, &mut buf).expect("read");
        assert_eq!(buf, [0xaa, 0xbb]);
        let touching = memory.next_populated(range(0, 0x2000)).expect("seek");
        assert_eq!(touching, Some(range(0, 0x1000)));
        assert!(memory.read(0x1fff, &mut buf).is_err());
    }

    #[test]
    fn a_region_past_the_end_is_refused() {
        let file = tempfile::tempfile().expect("temporary file");
        file.set_len(0x1000).expect("set_len");
        let region = FileRegion {
            range: range(0, 0x2000),
            file: Arc::new(file),
            offset: 0,
        };
        assert!(matches!(
            FileMemory::new(vec![region]),
            Err(FileMemoryError::Short { .. })
        ));
    }

    #[test]
    fn a_file_that_shrinks_is_an_error() {
        let file = tempfile::tempfile().expect("temporary file");
        file.set_len(0x2000).expect("set_len");
        let memory = FileMemory::flat(file.try_clone().expect("clone")).expect("file memory");
        file.set_len(0x1000).expect("set_len");
        let mut buf = [0u8; 0x1000];
        let error = memory.read(0x1000, &mut buf).expect_err("short file");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        // Truncated bytes count as populated; everything before them is a hole.
        let lost = memory.next_populated(range(0, 0x2000)).expect("seek");
        assert_eq!(lost, Some(range(0x1000, 0x1000)));
        file.set_len(0x1800).expect("set_len");
        let lost = memory.next_populated(range(0, 0x2000)).expect("seek");
        assert_eq!(lost, Some(range(0x1000, 0x1000)));
        file.set_len(0).expect("set_len");
        let lost = memory.next_populated(range(0x1000, 0x1000)).expect("seek");
        assert_eq!(lost, Some(range(0x1000, 0x1000)));
    }
}

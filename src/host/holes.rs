//! Data and holes of files, by `SEEK_DATA` and `SEEK_HOLE` of lseek(2).
//!
//! Each function takes a range of file offsets and answers within that range. Answers
//! are widened to whole units of [`UNIT`] bytes, which are counted from the start of the
//! range that was asked for: guest memory may begin anywhere in a file.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// The granularity of all answers, in bytes: a page of guest memory.
const UNIT: u64 = 4096;

/// Length of a short range, in bytes. [`next_extent`] asks for each page of a short
/// range, because finding the end of data on tmpfs takes as long as there is data.
pub(crate) const SHORT: u64 = 1 << 20;

/// Distance in bytes between the places where [`next_extent_in_steps`] looks for data.
const STEP: u64 = 64 << 10;

/// Finds the offset of the first data of `range`, or `None` if the range is a hole.
///
/// All of the range counts as data if the file cannot tell. Bytes that the file has lost
/// because it was truncated also count as data: they are not zeroes, and reading them
/// fails.
///
/// # Errors
///
/// If lseek(2) fails for another reason.
pub(crate) fn next_data(file: &File, range: &Range<u64>) -> io::Result<Option<u64>> {
    let size = range.end - range.start;
    let distance = match rustix::fs::seek(file, SeekFrom::Data(range.start)) {
        // A device that ignores seeks, such as persistent memory, answers 0.
        Ok(data) => data.saturating_sub(range.start),
        // The file has a hole up to its end, or it ends before `range`.
        Err(Errno::NXIO) => file.metadata()?.len().saturating_sub(range.start),
        Err(errno) if cannot_tell(errno) => 0,
        Err(errno) => return Err(errno.into()),
    };
    Ok((distance < size).then(|| range.start + distance / UNIT * UNIT))
}

/// Whether `errno` says that the file has no notion of holes: it is a pipe, a device, or
/// on an old file system.
fn cannot_tell(errno: Errno) -> bool {
    matches!(errno, Errno::INVAL | Errno::SPIPE | Errno::OPNOTSUPP)
}

/// Finds the first extent with data in `range`, or `None` if the range is a hole. The
/// end of the extent is exact.
///
/// # Errors
///
/// As [`next_data`].
pub(crate) fn next_extent(file: &File, range: &Range<u64>) -> io::Result<Option<Range<u64>>> {
    let Some(start) = next_data(file, range)? else {
        return Ok(None);
    };
    // The first bytes of the unit may lie in a hole before the data.
    let data = match rustix::fs::seek(file, SeekFrom::Data(start)) {
        Ok(data) if data >= start => data,
        Ok(_) => return Ok(Some(range.clone())),
        // Truncated, or a file that cannot tell.
        Err(_) => start,
    };
    let hole = match end_of_data(file, data, range) {
        // Another process may punch a hole between the two calls: at least one unit counts.
        Ok(hole) => hole.max(data + 1),
        Err(Errno::NXIO) => return Ok(Some(start..range.end)),
        Err(errno) if cannot_tell(errno) => return Ok(Some(range.clone())),
        Err(errno) => return Err(errno.into()),
    };
    let size = (hole - start).next_multiple_of(UNIT);
    Ok(Some(start..start + size.min(range.end - start)))
}

/// Finds the end of the data at `data`. In a short range, the end of the range may stand
/// for a later end.
fn end_of_data(file: &File, data: u64, range: &Range<u64>) -> Result<u64, Errno> {
    if range.end - range.start > SHORT {
        return rustix::fs::seek(file, SeekFrom::Hole(data));
    }
    let mut at = data;
    while at < range.end && has_data(file, at) {
        at = (at / UNIT + 1) * UNIT;
    }
    Ok(at.min(range.end))
}

/// Whether the byte at `offset` is in data.
fn has_data(file: &File, offset: u64) -> bool {
    rustix::fs::seek(file, SeekFrom::Data(offset)) == Ok(offset)
}

/// Whether `file` is on tmpfs, as memfds are.
pub(crate) fn is_on_tmpfs(file: &File) -> bool {
    /// `include/uapi/linux/magic.h`.
    const TMPFS_MAGIC: rustix::fs::FsWord = 0x0102_1994;
    rustix::fs::fstatfs(file).is_ok_and(|system| system.f_type == TMPFS_MAGIC)
}

/// Finds an extent that begins with the first data in `range`, or `None` if the range is
/// a hole. The extent is at most [`SHORT`] bytes long and may contain holes of less than
/// 64 KiB.
///
/// This is for files on tmpfs, of which holes may be read without taking memory. Finding
/// the exact end of data there takes as long as there is data.
///
/// # Errors
///
/// As [`next_data`].
pub(crate) fn next_extent_in_steps(
    file: &File,
    range: &Range<u64>,
) -> io::Result<Option<Range<u64>>> {
    let Some(start) = next_data(file, range)? else {
        return Ok(None);
    };
    let limit = range.end.min(start.saturating_add(SHORT));
    let mut end = start.saturating_add(STEP - start % STEP);
    while end < limit && has_data(file, end) {
        end = end.saturating_add(STEP);
    }
    // Steps are aligned in the file, and units need not be.
    let size = (end - start).next_multiple_of(UNIT).min(limit - start);
    Ok(Some(start..start + size))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn a_device_that_ignores_seeks_is_all_data() {
        let device = File::open("/dev/zero").unwrap();
        let mut at = 0;
        while at < 0x4000 {
            let extent = next_extent(&device, &(at..0x4000)).unwrap().unwrap();
            assert_eq!(extent.start, at);
            at = extent.end;
        }
        assert_eq!(at, 0x4000);
    }

    #[test]
    fn answers_are_whole_units_counted_from_the_start_of_the_range() {
        let memfd = rustix::fs::memfd_create("holes", rustix::fs::MemfdFlags::CLOEXEC);
        let file = File::from(memfd.unwrap());
        file.set_len(8 << 20).unwrap();
        file.write_all_at(&[1], 0x5000).unwrap();
        let range = 0x801..0x801 + (4 << 20);
        let data = next_data(&file, &range).unwrap();
        assert_eq!(data, Some(0x4801));
        let exact = next_extent(&file, &range).unwrap();
        assert_eq!(exact, Some(0x4801..0x6801));
        let steps = next_extent_in_steps(&file, &range).unwrap();
        assert_eq!(steps, Some(0x4801..0x1_0801));
        let behind = 0x6801..range.end;
        assert_eq!(next_extent(&file, &behind).unwrap(), None);
        assert_eq!(next_extent_in_steps(&file, &behind).unwrap(), None);
    }

    #[test]
    fn truncated_bytes_count_as_data() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(0x1800).unwrap();
        let found = next_extent(&file, &(0..0x4000)).unwrap();
        assert_eq!(found, Some(0x1000..0x2000));
        let found = next_extent(&file, &(0x2000..0x4000)).unwrap();
        assert_eq!(found, Some(0x2000..0x3000));
    }
}

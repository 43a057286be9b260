//! Which parts of a file have data, by `SEEK_DATA` and `SEEK_HOLE`.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::memory::{MIN_PAGE_SIZE, MemoryRange};

/// Where the first data of `range` begins, of which the first byte lies in
/// `file` at `offset`. Bytes that share a page with data count as data.
pub(crate) fn next_start(file: &File, offset: u64, range: MemoryRange) -> io::Result<Option<u64>> {
    let data = match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(data) if data >= offset => data,
        // A device that does not seek, as those of persistent memory.
        Ok(_) => return Ok(Some(range.start())),
        // A hole up to the file's end, or the file is shorter than it was: what
        // it has lost is not zeroes, and reading it fails.
        Err(Errno::NXIO) => {
            let left = file.metadata()?.len().saturating_sub(offset);
            let lost = range.start() + left / MIN_PAGE_SIZE * MIN_PAGE_SIZE;
            return Ok((left < range.size()).then_some(lost));
        }
        // Not a file with holes: a pipe, a device, an old file system.
        Err(Errno::INVAL | Errno::SPIPE | Errno::OPNOTSUPP) => return Ok(Some(range.start())),
        Err(errno) => return Err(errno.into()),
    };
    let behind = data.saturating_sub(offset);
    Ok((behind < range.size()).then(|| range.start() + behind / MIN_PAGE_SIZE * MIN_PAGE_SIZE))
}

/// In a range of at most so many bytes, each page is asked for: on tmpfs it
/// takes as long to find the end of data as there is data.
pub(crate) const SHORT: u64 = 1 << 20;

/// Where the data ends that `file` has at `data`. Of a short range, of `size`
/// bytes up to `limit`, it may say `limit`.
fn end_of_data(file: &File, data: u64, size: u64, limit: u64) -> Result<u64, Errno> {
    if size > SHORT {
        return rustix::fs::seek(file, SeekFrom::Hole(data));
    }
    let mut at = data;
    while at < limit && rustix::fs::seek(file, SeekFrom::Data(at)) == Ok(at) {
        at = (at / MIN_PAGE_SIZE + 1) * MIN_PAGE_SIZE;
    }
    Ok(at.min(limit))
}

/// The first extent with data in `range`, of which the first byte lies in
/// `file` at `offset`.
pub(crate) fn next_extent(
    file: &File,
    offset: u64,
    range: MemoryRange,
) -> io::Result<Option<MemoryRange>> {
    let Some(start) = next_start(file, offset, range)? else {
        return Ok(None);
    };
    // The page's beginning may lie in a hole of the file, before the data.
    let at = offset + (start - range.start());
    let data = match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(data) if data >= at => data,
        Ok(_) => return Ok(Some(range)),
        // What the file has lost, or a file that cannot tell.
        Err(_) => at,
    };
    // Somebody may punch a hole between the two calls: at least a page counts.
    let hole = match end_of_data(file, data, range.size(), offset + range.size()) {
        Ok(hole) => hole.max(data + 1),
        Err(Errno::NXIO) => return Ok(range.starting_at(start)),
        Err(Errno::INVAL | Errno::SPIPE | Errno::OPNOTSUPP) => return Ok(Some(range)),
        Err(errno) => return Err(errno.into()),
    };
    let behind = hole.saturating_sub(offset) - (start - range.start());
    let size = behind
        .min(range.end() - start)
        .next_multiple_of(MIN_PAGE_SIZE);
    let extent = MemoryRange::new(start, size).map_err(io::Error::other)?;
    Ok(extent.intersection(&range))
}

/// Whether the file is on tmpfs, as memfds are.
pub(crate) fn is_on_tmpfs(file: &File) -> bool {
    /// `include/uapi/linux/magic.h`.
    const TMPFS_MAGIC: rustix::fs::FsWord = 0x0102_1994;
    rustix::fs::fstatfs(file).is_ok_and(|system| system.f_type == TMPFS_MAGIC)
}

/// In steps of so many bytes [`next_extent_in_steps`] looks for data.
const STEP: u64 = 64 << 10;

/// As [`next_extent`], for a file on tmpfs of which holes may be read: an extent
/// may have holes in it, shorter than 64 KiB. To find there where data ends takes as
/// long as there is data, and that before any of it can be read.
pub(crate) fn next_extent_in_steps(
    file: &File,
    offset: u64,
    range: MemoryRange,
) -> io::Result<Option<MemoryRange>> {
    let Some(start) = next_start(file, offset, range)? else {
        return Ok(None);
    };
    let offset_of = |gpa| offset + (gpa - range.start());
    let has_data = |at| rustix::fs::seek(file, SeekFrom::Data(at)) == Ok(at);
    let limit = range.end().min(start.saturating_add(SHORT));
    let mut end = start.saturating_add(STEP - offset_of(start) % STEP);
    while end < limit && has_data(offset_of(end)) {
        end = end.saturating_add(STEP);
    }
    // Steps are those of the file, which the guest's pages need not be.
    let size = (end - start)
        .next_multiple_of(MIN_PAGE_SIZE)
        .min(limit - start);
    MemoryRange::new(start, size)
        .map(Some)
        .map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// It answers each seek with its position, 0.
    #[test]
    fn of_a_device_that_does_not_seek_all_is_data() {
        let device = File::open("/dev/zero").unwrap();
        let mut rest = MemoryRange::new(0x10_0000, 0x4000).ok();
        let mut found = 0;
        while let Some(range) = rest {
            let offset = range.start() - 0x10_0000;
            let extent = next_extent(&device, offset, range).unwrap().unwrap();
            assert_eq!(extent.start(), range.start());
            found += extent.size();
            rest = range.starting_at(extent.end());
        }
        assert_eq!(found, 0x4000);
    }
}

//! Populated extents of guest memory that lies in a file.
#![forbid(unsafe_code)]

use std::io;
use std::ops::Range;

use crate::memory::MemoryRange;

/// Applies `search` to the file offsets of `range`, whose first byte lies at `offset` of
/// the file, and returns the answer as a range of guest memory.
///
/// `search` is one of the functions of `host::holes`, or composed of them.
pub(crate) fn search_file(
    range: MemoryRange,
    offset: u64,
    search: impl FnOnce(&Range<u64>) -> io::Result<Option<Range<u64>>>,
) -> io::Result<Option<MemoryRange>> {
    let Some(end) = offset.checked_add(range.size()) else {
        // No file is that long: reading the range reports it.
        return Ok(Some(range));
    };
    let Some(found) = search(&(offset..end))? else {
        return Ok(None);
    };
    let gpa = range.start() + (found.start - offset);
    let found = MemoryRange::new(gpa, found.end - found.start);
    found.map(Some).map_err(io::Error::other)
}

//! Looking at the first bytes of every populated page of guest RAM.
#![forbid(unsafe_code)]

use super::error::VmcoreinfoError;
use crate::fault::Fault;
use crate::guest::reader::Guest;
use crate::memory::{GuestMemory, MIN_PAGE_SIZE, MemoryRange, slice};
use crate::workers::Progress;
use crate::workers::Threads;

/// The first bytes of a page: enough for a note header with its name, and
/// for the text's first key.
pub(crate) type PageStart = [u8; 24];

/// Bytes that a thread takes at a time.
const TASK: u64 = 32 << 20;

/// More would only wait for memory.
const MOST_THREADS: usize = 64;

/// Bytes that are read at once. One read of 64 pages takes less time than 64
/// reads of their first bytes.
const READ_AT_ONCE: u64 = 256 << 10;

/// Calls `look` for every page whose beginning is `wanted`, in ascending
/// order, until it returns false, which it must for the page `most` at the
/// latest: behind so many not every page is looked at.
pub(crate) fn for_each_page_start(
    guest: Guest<'_>,
    threads: Threads<'_>,
    progress: &Progress,
    most: usize,
    wanted: &(dyn Fn(&PageStart) -> bool + Sync),
    look: &mut dyn FnMut(u64, &PageStart) -> bool,
) -> Result<(), VmcoreinfoError> {
    let memory = guest.memory;
    let mut extents = Extents {
        memory,
        ranges: guest.ranges.iter(),
        rest: None,
    };
    loop {
        let mut tasks = Vec::new();
        while tasks.len() < threads.count.clamp(1, MOST_THREADS) {
            let task = extents.task()?;
            if task.is_empty() {
                break;
            }
            tasks.push(task);
        }
        if tasks.is_empty() {
            return Ok(());
        }
        let scan = |task: &Vec<MemoryRange>| scan(memory, task, progress, most, wanted);
        for found in threads.map(&tasks, &scan) {
            for (gpa, start) in found? {
                if !look(gpa, &start) {
                    return Ok(());
                }
            }
        }
    }
}

/// The populated extents of RAM, in order.
struct Extents<'a> {
    memory: &'a dyn GuestMemory,
    ranges: std::slice::Iter<'a, MemoryRange>,
    rest: Option<MemoryRange>,
}

impl Extents<'_> {
    /// The next extents, of [`TASK`] bytes together; none at the end.
    fn task(&mut self) -> Result<Vec<MemoryRange>, VmcoreinfoError> {
        let mut task = Vec::new();
        let mut size = 0;
        while size < TASK {
            let Some(part) = self.rest.or_else(|| self.ranges.next().copied()) else {
                break;
            };
            let found = self.memory.next_populated(part);
            let found = found.map_err(|source| VmcoreinfoError::Scan {
                gpa: part.start(),
                source,
            })?;
            let Some(extent) = found.and_then(|extent| extent.intersection(&part)) else {
                self.rest = None;
                continue;
            };
            let (extent, _) = extent.split_at(TASK - size);
            self.rest = part.starting_at(extent.end());
            size += extent.size();
            task.push(extent);
        }
        Ok(task)
    }
}

fn scan(
    memory: &dyn GuestMemory,
    task: &[MemoryRange],
    progress: &Progress,
    most: usize,
    wanted: &dyn Fn(&PageStart) -> bool,
) -> Result<Vec<(u64, PageStart)>, VmcoreinfoError> {
    let mut found = Vec::new();
    let mut buf = Vec::new();
    for extent in task {
        let mut rest = extent.starting_at(extent.start().next_multiple_of(MIN_PAGE_SIZE));
        while let Some(part) = rest {
            if progress.is_cancelled() {
                return Err(Fault::Cancelled.into());
            }
            let (piece, behind) = part.split_at(READ_AT_ONCE);
            rest = behind;
            for_each_in(memory, piece, &mut buf, &mut |gpa, start| {
                if found.len() < most && wanted(start) {
                    found.push((gpa, *start));
                }
            })?;
            if found.len() == most {
                return Ok(found);
            }
        }
    }
    Ok(found)
}

fn for_each_in(
    memory: &dyn GuestMemory,
    piece: MemoryRange,
    buf: &mut Vec<u8>,
    look: &mut dyn FnMut(u64, &PageStart),
) -> Result<(), VmcoreinfoError> {
    let starts = (piece.start()..).step_by(MIN_PAGE_SIZE as usize);
    let bytes = match slice(memory, piece)? {
        Some(bytes) => bytes,
        None => {
            buf.resize(piece.size() as usize, 0);
            if memory.read(piece.start(), buf).is_err() {
                return for_each_alone(memory, piece, look);
            }
            buf
        }
    };
    // What ends within a page's first bytes is no note.
    for (gpa, page) in starts.zip(bytes.chunks(MIN_PAGE_SIZE as usize)) {
        if let Some(start) = page.first_chunk() {
            look(gpa, start);
        }
    }
    Ok(())
}

/// Where some bytes cannot be read, those that are looked at may be readable.
fn for_each_alone(
    memory: &dyn GuestMemory,
    piece: MemoryRange,
    look: &mut dyn FnMut(u64, &PageStart),
) -> Result<(), VmcoreinfoError> {
    for gpa in (piece.start()..piece.end()).step_by(MIN_PAGE_SIZE as usize) {
        let mut start = PageStart::default();
        memory
            .read(gpa, &mut start)
            .map_err(|source| VmcoreinfoError::Scan { gpa, source })?;
        look(gpa, &start);
    }
    Ok(())
}

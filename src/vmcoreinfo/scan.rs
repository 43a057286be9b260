//! Looking at the first bytes of every populated page of guest RAM.
#![forbid(unsafe_code)]

use super::VmcoreinfoError;
use crate::error::{Error, Result};
use crate::guest::Guest;
use crate::memory::{GuestMemory, MIN_PAGE_SIZE, MemoryRange};
use crate::progress::Progress;

/// The first bytes of a page: enough for a note header with its name, and
/// for the text's first key.
pub(super) type PageStart = [u8; 24];

/// Bytes that are read at once. One read of 64 pages takes less time than 64
/// reads of their first bytes.
const READ_AT_ONCE: u64 = 256 << 10;

/// Calls `look` for every page, in ascending order, until it returns false.
pub(super) fn for_each_page_start(
    guest: Guest<'_>,
    progress: &Progress,
    look: &mut dyn FnMut(u64, &PageStart) -> bool,
) -> Result<()> {
    let memory = guest.memory;
    let mut buf = Vec::new();
    for range in guest.ranges {
        let mut rest = Some(*range);
        while let Some(part) = rest {
            let extent = memory
                .next_populated(part)
                .map_err(|source| VmcoreinfoError::Scan {
                    gpa: part.start(),
                    source,
                })?
                .and_then(|extent| extent.intersection(&part));
            let Some(extent) = extent else { break };
            rest = part.starting_at(extent.end());
            let mut pages = extent.starting_at(extent.start().next_multiple_of(MIN_PAGE_SIZE));
            while let Some(left) = pages {
                if progress.is_cancelled() {
                    return Err(Error::Cancelled);
                }
                let (piece, behind) = left.split_at(READ_AT_ONCE);
                pages = behind;
                if !for_each_in(memory, piece, &mut buf, look)? {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

fn for_each_in(
    memory: &dyn GuestMemory,
    piece: MemoryRange,
    buf: &mut Vec<u8>,
    look: &mut dyn FnMut(u64, &PageStart) -> bool,
) -> Result<bool> {
    let mut starts = (piece.start()..piece.end()).step_by(MIN_PAGE_SIZE as usize);
    let bytes = match memory.as_slice(piece) {
        Some(bytes) => bytes,
        None => {
            buf.resize(piece.size() as usize, 0);
            if memory.read(piece.start(), buf).is_err() {
                // What is looked at may be readable all the same.
                for gpa in starts {
                    let mut start = PageStart::default();
                    memory
                        .read(gpa, &mut start)
                        .map_err(|source| VmcoreinfoError::Scan { gpa, source })?;
                    if !look(gpa, &start) {
                        return Ok(false);
                    }
                }
                return Ok(true);
            }
            buf
        }
    };
    let mut pages = bytes.chunks(MIN_PAGE_SIZE as usize);
    // What ends within a page's first bytes is no note.
    Ok(pages.all(|page| match (starts.next(), page.first_chunk()) {
        (Some(gpa), Some(start)) => look(gpa, start),
        _ => true,
    }))
}

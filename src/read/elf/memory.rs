//! Guest-physical memory in the PT_LOAD segments of an ELF core.
#![forbid(unsafe_code)]

use crate::elf::{PT_LOAD, ProgramHeader};
use crate::memory::{MIN_PAGE_SIZE, MemoryRange};
use crate::read::Input;
use crate::read::stored::{Extent, StoredMemory};

/// Finds the guest-physical memory that is in the dump: the whole pages that
/// have bytes in the file.
///
/// Several PT_LOADs may contain the same memory, as in dumps with paging. The
/// one with the lowest address then overrides the others.
pub(super) fn physical_memory(input: &Input, headers: &[ProgramHeader]) -> StoredMemory {
    let mut extents: Vec<Extent> = Vec::new();
    for piece in joined_pieces(input, headers) {
        let Some(pages) = piece.whole_pages() else {
            continue;
        };
        let end = extents.last().map_or(0, |last| last.range.end());
        let Some(range) = pages.range.starting_at(end) else {
            continue;
        };
        let offset = pages.offset + (range.start() - pages.range.start());
        extents.push(Extent { range, offset });
    }
    StoredMemory::new(extents)
}

/// Bytes of guest memory in the file, of any alignment.
struct SegmentPart {
    paddr: u64,
    offset: u64,
    len: u64,
}

impl SegmentPart {
    fn whole_pages(&self) -> Option<Extent> {
        let start = self.paddr.checked_next_multiple_of(MIN_PAGE_SIZE)?;
        let skipped = start - self.paddr;
        let size = self.len.checked_sub(skipped)?;
        let range = MemoryRange::new(start, size - size % MIN_PAGE_SIZE).ok()?;
        Some(Extent {
            range,
            offset: self.offset + skipped,
        })
    }
}

/// Returns the pieces of all PT_LOADs by address. Pieces that continue or
/// repeat one another, in memory and in the file alike, become one.
fn joined_pieces(input: &Input, headers: &[ProgramHeader]) -> Vec<SegmentPart> {
    let mut pieces: Vec<SegmentPart> = headers
        .iter()
        .filter(|header| header.kind == PT_LOAD)
        .filter_map(|header| {
            let in_file = input.len().checked_sub(header.offset)?;
            let len = header.filesz.min(in_file);
            header.paddr.checked_add(len)?;
            Some(SegmentPart {
                paddr: header.paddr,
                offset: header.offset,
                len,
            })
        })
        .collect();
    pieces.sort_by_key(|piece| (piece.paddr, piece.offset));
    let mut joined: Vec<SegmentPart> = Vec::new();
    for piece in pieces {
        match joined.last_mut() {
            Some(last)
                if piece.paddr - last.paddr <= last.len
                    && piece.offset.checked_sub(last.offset) == Some(piece.paddr - last.paddr) =>
            {
                last.len = last.len.max(piece.paddr - last.paddr + piece.len);
            }
            _ => joined.push(piece),
        }
    }
    joined
}

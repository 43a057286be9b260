//! Memory of pieces that need not begin or end with a page.
//!
//! The kernel's `/proc/vmcore` has PT_LOADs that end inside a page where the firmware's memory map
//! does. The page is kept: bytes that no piece contains are zero, as in makedumpfile's dumps.
#![forbid(unsafe_code)]

use super::{Bytes, StoredMemory, StoredPart};
use crate::memory::{MIN_PAGE_SIZE, MemoryRange};
use crate::read::{Input, VmcoreError};

/// Bytes of guest memory, of any alignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Guest-physical address of the first byte.
    pub(crate) paddr: u64,
    /// Length in bytes.
    pub(crate) len: u64,
    /// Offset in the dump; `None` for bytes that are zero and not stored.
    pub(crate) offset: Option<u64>,
}

impl Piece {
    /// Guest-physical address after the last byte.
    pub(crate) fn end(&self) -> u64 {
        self.paddr + self.len
    }

    /// Returns the bytes from `start` to `end`, which lie in the piece.
    pub(crate) fn part(&self, start: u64, end: u64) -> Self {
        Self {
            paddr: start,
            len: end - start,
            offset: self.offset.map(|offset| offset + (start - self.paddr)),
        }
    }
}

impl StoredMemory {
    /// Makes memory of pieces that ascend and do not overlap. Their last byte lies below the last
    /// page of the address space.
    pub(crate) fn of_pieces(list: impl IntoIterator<Item = Piece>) -> Self {
        let mut memory = Self::new(Vec::new());
        for piece in list {
            memory.push(piece);
        }
        memory
    }

    fn push(&mut self, piece: Piece) {
        let start = piece.paddr.next_multiple_of(MIN_PAGE_SIZE).min(piece.end());
        let end = (piece.end() - piece.end() % MIN_PAGE_SIZE).max(start);
        if piece.paddr < start {
            self.push_mixed(piece.part(piece.paddr, start));
        }
        if let Ok(range) = MemoryRange::new(start, end - start) {
            let bytes = piece
                .part(start, end)
                .offset
                .map_or(Bytes::Zeroes, Bytes::At);
            self.parts.push(StoredPart { range, bytes });
        }
        if end < piece.end() {
            self.push_mixed(piece.part(end, piece.end()));
        }
    }

    /// Adds bytes of one page, which are not the whole page.
    fn push_mixed(&mut self, piece: Piece) {
        let index = self.pieces.len();
        let frame = piece.paddr / MIN_PAGE_SIZE;
        let page = MemoryRange::of_frames(frame, 1, MIN_PAGE_SIZE);
        self.pieces.push(piece);
        match self.parts.last_mut() {
            Some(StoredPart {
                range,
                bytes: Bytes::Mixed { end, .. },
            }) if *range == page => *end = index + 1,
            _ => self.parts.push(StoredPart {
                range: page,
                bytes: Bytes::Mixed {
                    first: index,
                    end: index + 1,
                },
            }),
        }
    }
}

/// Fills `buf` from `gpa` on with the bytes of `pieces`, and with zeroes between them.
pub(super) fn read(
    input: &Input,
    pieces: &[Piece],
    gpa: u64,
    buf: &mut [u8],
) -> Result<(), VmcoreError> {
    buf.fill(0);
    let end = gpa + buf.len() as u64;
    for piece in pieces {
        let (from, to) = (piece.paddr.max(gpa), piece.end().min(end));
        if from < to
            && let Some(offset) = piece.part(from, to).offset
        {
            input.read_at(offset, &mut buf[(from - gpa) as usize..(to - gpa) as usize])?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::Arc;

    const PAGE: u64 = MIN_PAGE_SIZE;

    /// A dump whose byte at each offset is the offset's page number plus 1.
    fn input() -> Input {
        let bytes: Vec<u8> = (0..16 * PAGE).map(|at| (at / PAGE) as u8 + 1).collect();
        Input::open(Arc::new(bytes)).unwrap()
    }

    fn piece(paddr: u64, len: u64, offset: u64) -> Piece {
        Piece {
            paddr,
            len,
            offset: Some(offset),
        }
    }

    #[test]
    fn a_page_of_several_pieces_has_zeroes_between_them() {
        let memory = StoredMemory::of_pieces([
            piece(0x1100, 0x100, 0),
            piece(0x1f00, 0x1180, PAGE),
            Piece {
                paddr: 0x3080,
                len: 0x1f80,
                offset: None,
            },
        ]);
        let ranges: Vec<_> = memory.ranges().map(|r| (r.start(), r.size())).collect();
        let pages = [0x1000, 0x2000, 0x3000, 0x4000].map(|start| (start, PAGE));
        assert_eq!(ranges, pages);
        let mut bytes = vec![9; 4 * PAGE as usize];
        memory.read(&input(), 0x1000, &mut bytes).unwrap();
        let expected = |gpa: u64| match gpa {
            0x1100..0x1200 => 1,
            0x1f00..0x2f00 => 2,
            0x2f00..0x3080 => 3,
            _ => 0,
        };
        for (gpa, byte) in (0x1000..).zip(&bytes) {
            assert_eq!(*byte, expected(gpa), "{gpa:#x}");
        }
    }

    #[test]
    fn absent_pages_are_cut_out_and_the_rest_keeps_its_bytes() {
        let range = |start, size| MemoryRange::new(start, size).unwrap();
        let memory = StoredMemory::of_pieces([piece(0x1000, 5 * PAGE, PAGE)]);
        let memory = memory.without(&[range(0x1000, PAGE), range(0x3000, PAGE)]);
        let ranges: Vec<_> = memory.ranges().collect();
        assert_eq!(ranges, [range(0x2000, PAGE), range(0x4000, 2 * PAGE)]);
        let mut byte = [0];
        memory.read(&input(), 0x4000, &mut byte).unwrap();
        assert_eq!(byte, [5]);
        assert!(memory.read(&input(), 0x3000, &mut byte).is_err());
    }
}

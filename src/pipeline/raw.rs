//! Pages as they are, one behind the other: the memory of an ELF dump and of
//! a Windows dump. In a file zero pages become holes.
#![forbid(unsafe_code)]

use std::ops::Range;

use super::{Chunk, Encoder};
use crate::error::Result;
use crate::memory::{GuestMemory, is_zero};
use crate::sink::Output;

/// Passes on what is not zero.
pub(crate) struct RawPages<'a, 'o> {
    pub(crate) memory: &'a dyn GuestMemory,
    /// In bytes.
    pub(crate) page_size: u64,
    /// File offset of the first page; the others follow.
    pub(crate) offset: u64,
    pub(crate) output: &'a Output<'o>,
}

/// The memory of one chunk.
#[derive(Default)]
pub(crate) struct Block<'a> {
    /// What had to be copied out of the guest, one populated part behind the
    /// other. Bytes that no piece names mean nothing.
    copied: Vec<u8>,
    /// What is to be written, with its file offset, in order.
    pieces: Vec<(u64, Piece<'a>)>,
    zero_pages: u64,
}

enum Piece<'a> {
    /// A range of `copied`.
    Copied(Range<usize>),
    /// Guest memory that nothing can change.
    InPlace(&'a [u8]),
}

impl RawPages<'_, '_> {
    /// The parts of `bytes` that are to be written: all for a stream, else
    /// what is not zero. Counts zero pages.
    fn wanted(&self, bytes: &[u8], zero_pages: &mut u64) -> Vec<Range<usize>> {
        let page_size = self.page_size as usize;
        let mut wanted: Vec<Range<usize>> = Vec::new();
        for (start, page) in (0..).step_by(page_size).zip(bytes.chunks(page_size)) {
            let zero = is_zero(page);
            *zero_pages += u64::from(zero);
            if zero && self.output.is_positioned() {
                continue;
            }
            let end = start + page.len();
            match wanted.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => wanted.push(start..end),
            }
        }
        wanted
    }
}

impl<'a> Encoder for RawPages<'a, '_> {
    type Worker = ();
    type Block = Block<'a>;
    /// Zero pages so far.
    type Layout = u64;

    fn worker(&self) -> Result<()> {
        Ok(())
    }

    fn encode(&self, (): &mut (), chunk: &Chunk, block: &mut Block<'a>) -> Result<()> {
        let page_size = self.page_size;
        let chunk_at = self.offset + chunk.first_page * page_size;
        block.pieces.clear();
        block.zero_pages = 0;
        if block.copied.len() < chunk.populated as usize {
            block.copied.resize(chunk.populated as usize, 0);
        }
        let mut next_at = chunk_at;
        let mut end = 0;
        for part in &chunk.parts {
            let part_at = next_at;
            next_at += part.range.size();
            if !part.populated {
                // A stream fills the gap with zeroes by itself.
                block.zero_pages += part.range.size() / page_size;
                continue;
            }
            if let Some(bytes) = part.in_place(self.memory) {
                for piece in self.wanted(bytes, &mut block.zero_pages) {
                    let at = part_at + piece.start as u64;
                    block.pieces.push((at, Piece::InPlace(&bytes[piece])));
                }
                continue;
            }
            let start = end;
            end += part.range.size() as usize;
            let bytes = &mut block.copied[start..end];
            part.read(self.memory, bytes)?;
            for piece in self.wanted(bytes, &mut block.zero_pages) {
                let at = part_at + piece.start as u64;
                let piece = start + piece.start..start + piece.end;
                block.pieces.push((at, Piece::Copied(piece)));
            }
        }
        Ok(())
    }

    fn place(&self, zero_pages: &mut u64, block: &mut Block<'a>) -> Result<()> {
        *zero_pages += block.zero_pages;
        Ok(())
    }

    fn in_order(&self) -> bool {
        !self.output.is_positioned()
    }

    fn write(&self, block: &Block<'a>) -> Result<()> {
        block.pieces.iter().try_for_each(|(offset, piece)| {
            let bytes = match piece {
                Piece::Copied(range) => &block.copied[range.clone()],
                Piece::InPlace(bytes) => bytes,
            };
            self.output.write_at(*offset, bytes)
        })
    }
}

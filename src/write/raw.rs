//! Pages as they are, one behind the other: the memory of an ELF dump and of
//! a Windows dump. In a file zero pages become holes.
#![forbid(unsafe_code)]

use std::ops::Range;

use crate::fault::Fault;
use crate::memory::{GuestMemory, UnreadableLog, is_zero};
use crate::pipeline::{Chunk, Encoder};
use crate::sink::Output;

/// Passes on what is not zero.
pub(crate) struct RawPages<'a, 'o> {
    pub(crate) memory: &'a dyn GuestMemory,
    /// In bytes.
    pub(crate) page_size: u64,
    /// File offset of the first page; the others follow.
    pub(crate) offset: u64,
    /// Names the pages that are left out, if any may be: the pages behind
    /// them move up.
    pub(crate) unreadable: Option<&'a UnreadableLog>,
    pub(crate) output: &'a Output<'o>,
}

/// The memory of one chunk.
#[derive(Default)]
pub(crate) struct Block<'a> {
    /// What had to be copied out of the guest, one populated part behind the
    /// other. Bytes that no piece names mean nothing.
    copied: Vec<u8>,
    /// What is to be written, with its file offset, in order.
    pieces: Vec<(u64, RawPiece<'a>)>,
    /// What is in the block. The offsets of pages behind those of it that are
    /// left out take that into account.
    counts: RawLayout,
    /// Bytes that the block moves up for pages left out of earlier ones.
    moved_up: u64,
}

/// Pages of some blocks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RawLayout {
    pub(crate) zero_pages: u64,
    pub(crate) left_out: u64,
}

enum RawPiece<'a> {
    /// A range of `copied`.
    Copied(Range<usize>),
    /// Guest memory that nothing can change.
    InPlace(&'a [u8]),
}

/// A part of some bytes that is to be written, and the file offset for it.
type Wanted = (u64, Range<usize>);

impl RawPages<'_, '_> {
    /// The parts of `bytes`, from guest-physical address `gpa` and file offset
    /// `at` on, that are to be written: all for a stream, else what is not
    /// zero; without the pages that are left out. Counts both.
    fn wanted(&self, gpa: u64, at: u64, bytes: &[u8], counts: &mut RawLayout) -> Vec<Wanted> {
        let page_size = self.page_size as usize;
        let mut wanted: Vec<Wanted> = Vec::new();
        for (start, page) in (0..).step_by(page_size).zip(bytes.chunks(page_size)) {
            let page_at = gpa + start as u64;
            if self.unreadable.is_some_and(|log| log.leaves_out(page_at)) {
                counts.left_out += 1;
                continue;
            }
            let zero = is_zero(page);
            counts.zero_pages += u64::from(zero);
            if zero && self.output.is_positioned() {
                continue;
            }
            let end = start + page.len();
            match wanted.last_mut() {
                Some((_, last)) if last.end == start => last.end = end,
                _ => {
                    let before = counts.left_out * self.page_size;
                    wanted.push((at + start as u64 - before, start..end));
                }
            }
        }
        wanted
    }
}

impl<'a> Encoder for RawPages<'a, '_> {
    type Worker = ();
    type Block = Block<'a>;
    type Layout = RawLayout;

    fn worker(&self) -> Result<(), Fault> {
        Ok(())
    }

    fn encode(&self, (): &mut (), chunk: &Chunk, block: &mut Block<'a>) -> Result<(), Fault> {
        let page_size = self.page_size;
        let chunk_at = self.offset + chunk.first_page * page_size;
        block.pieces.clear();
        block.counts = RawLayout::default();
        if block.copied.len() < chunk.populated as usize {
            block.copied.resize(chunk.populated as usize, 0);
        }
        let mut next_at = chunk_at;
        let mut end = 0;
        for part in &chunk.parts {
            let (gpa, part_at) = (part.range.start(), next_at);
            next_at += part.range.size();
            if !part.populated {
                // A stream fills the gap with zeroes by itself.
                block.counts.zero_pages += part.range.size() / page_size;
                continue;
            }
            if let Some(bytes) = part.in_place(self.memory) {
                for (at, piece) in self.wanted(gpa, part_at, bytes, &mut block.counts) {
                    block.pieces.push((at, RawPiece::InPlace(&bytes[piece])));
                }
                continue;
            }
            let start = end;
            end += part.range.size() as usize;
            let bytes = &mut block.copied[start..end];
            part.read(self.memory, bytes)?;
            for (at, piece) in self.wanted(gpa, part_at, bytes, &mut block.counts) {
                let piece = start + piece.start..start + piece.end;
                block.pieces.push((at, RawPiece::Copied(piece)));
            }
        }
        Ok(())
    }

    fn place(&self, layout: &mut RawLayout, block: &mut Block<'a>) -> Result<(), Fault> {
        block.moved_up = layout.left_out * self.page_size;
        layout.zero_pages += block.counts.zero_pages;
        layout.left_out += block.counts.left_out;
        Ok(())
    }

    fn in_order(&self) -> bool {
        !self.output.is_positioned()
    }

    fn write(&self, block: &Block<'a>) -> Result<(), Fault> {
        block.pieces.iter().try_for_each(|(offset, piece)| {
            let bytes = match piece {
                RawPiece::Copied(range) => &block.copied[range.clone()],
                RawPiece::InPlace(bytes) => bytes,
            };
            self.output.write_at(offset - block.moved_up, bytes)
        })
    }
}

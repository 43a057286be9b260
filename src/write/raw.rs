//! Writes pages unchanged, one after another: the memory of an ELF dump and of
//! a Windows dump. In a file zero pages become holes.
#![forbid(unsafe_code)]

use std::ops::Range;

use crate::fault::Fault;
use crate::memory::{GuestMemory, UnreadableLog, is_zero};
use crate::pipeline::{Chunk, Encoder};
use crate::sink::Output;

/// Copies pages to the output. In a file it omits zero pages.
pub(crate) struct RawPages<'a, 'o> {
    pub(crate) memory: &'a dyn GuestMemory,
    /// Size of a page in bytes.
    pub(crate) page_size: u64,
    /// File offset of the first page; the others follow.
    pub(crate) offset: u64,
    /// Names the pages to omit, if any may be omitted. The pages after them
    /// move up.
    pub(crate) unreadable: Option<&'a UnreadableLog>,
    pub(crate) output: &'a Output<'o>,
}

/// The memory of one chunk.
#[derive(Default)]
pub(crate) struct Block<'a> {
    /// Bytes copied from the guest, one populated part after another. Bytes
    /// outside of all pieces have no meaning.
    copied: Vec<u8>,
    /// The pieces to write, with their file offsets, in order.
    pieces: Vec<(u64, RawPiece<'a>)>,
    /// Numbers of zero and omitted pages in the block. The file offsets in
    /// `pieces` already allow for the block's own omitted pages.
    counts: RawLayout,
    /// Bytes by which the block moves up for pages omitted from earlier blocks.
    moved_up: u64,
}

/// Numbers of zero and omitted pages in some blocks.
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

/// A part of some bytes that is to be written, and its file offset.
type Wanted = (u64, Range<usize>);

impl RawPages<'_, '_> {
    /// Returns the parts of `bytes` to write, from guest-physical address `gpa`
    /// and file offset `at` on. It omits the pages that `unreadable` names, and
    /// for a file also zero pages. It adds both to `counts`.
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
            if let Some(bytes) = part.in_place(self.memory)? {
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

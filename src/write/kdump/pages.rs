//! Encoding pages: zero pages are stored once, repeated ones twice at most while
//! they are remembered, and all compressed if that makes them shorter.
//!
//! Threads encode chunks at the same time, and look for repeated pages in
//! what is placed so far: a page that is there need not be compressed.
//! Whether a page is stored again is decided when its block gets its place,
//! in the dump's order, so it does not depend on the threads.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::block::{Block, Bytes, Encoded, Key, Page};
use super::contents::KdumpContents;
use super::placement::Placement;
use super::placing::PlacedSoFar;
use super::sample;
use super::seen::{Known, Published, Seen};
use super::store::PageStore;
use super::target::Target;
use crate::fault::Fault;
use crate::memory::is_zero;
use crate::pipeline::{Chunk, Encoder};

/// Bytes of guest memory that are read at once: they should still be in a
/// core's cache when they are compressed.
const READ_AT_ONCE: u64 = 256 << 10;

/// The encoder of pages and their descriptors.
pub(crate) struct Pages<'a, 't> {
    contents: KdumpContents<'a>,
    page_size: usize,
    target: &'a Target<'t>,
    published: Published,
    written: Mutex<Written>,
}

/// The part of the file that is written for good, if blocks are written in order.
#[derive(Clone, Copy)]
pub(crate) struct Written {
    /// Pages, from the first one on.
    pub(crate) pages: u64,
    /// Offset behind their data.
    pub(crate) end: u64,
    /// Offset behind the descriptors that were written.
    pub(crate) descriptors_end: u64,
}

pub(crate) struct Worker {
    store: PageStore,
    /// The hashes of pages, and what may be the same; `None` for zeroes.
    looks: Vec<(u64, Option<Arc<Known>>)>,
}

impl<'a, 't> Pages<'a, 't> {
    /// Pages whose data goes to `data_at` of `target` and behind it, and
    /// whose descriptors go to `descriptors_at`.
    pub(crate) fn new(
        contents: &KdumpContents<'a>,
        target: &'a Target<'t>,
        data_at: u64,
        descriptors_at: u64,
    ) -> Self {
        let page_size = contents.selection.page_size as usize;
        Self {
            contents: *contents,
            page_size,
            target,
            published: Published::new(page_size),
            written: Mutex::new(Written {
                pages: 0,
                end: data_at,
                descriptors_end: descriptors_at,
            }),
        }
    }

    pub(crate) fn layout(&self, placement: Placement) -> Result<PlacedSoFar, Fault> {
        Ok(PlacedSoFar {
            placement,
            seen: Seen::new(self.page_size),
            store: PageStore::new(self.contents.engine)?,
        })
    }

    pub(crate) fn written(&self) -> Written {
        *self.lock_written()
    }

    fn lock_written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Encodes the populated pages from `gpa` on, whose bytes these are.
    fn encode_pages(
        &self,
        worker: &mut Worker,
        gpa: u64,
        bytes: &[u8],
        place: impl Fn(usize) -> Bytes<'a>,
        out: &mut Encoded<'a>,
    ) -> Result<(), Fault> {
        let pages = bytes.chunks_exact(self.page_size);
        let Worker { store, looks } = worker;
        looks.clear();
        looks.extend(pages.clone().map(|page| (sample::hash(page), None)));
        self.published.candidates(looks);
        for (number, (page, (hash, known))) in pages.zip(looks).enumerate() {
            let at = number * self.page_size;
            let gpa = gpa + at as u64;
            if self.contents.unreadable.leaves_out(gpa) {
                continue;
            }
            if is_zero(page) {
                out.push_zeroes(1);
                continue;
            }
            if let Some(known) = known.take().filter(|known| *known.bytes == *page) {
                out.pages.push(Page::Same { known, gpa });
                continue;
            }
            let before = out.data.len();
            let flags = store.store(gpa, page, &mut out.data)?;
            out.pages.push(Page::Data {
                size: (out.data.len() - before) as u32,
                flags,
                key: Key {
                    hash: *hash,
                    bytes: place(at),
                },
            });
        }
        Ok(())
    }
}

impl<'a> Encoder for Pages<'a, '_> {
    type Worker = Worker;
    type Block = Block<'a>;
    type Layout = PlacedSoFar;

    fn worker(&self) -> Result<Worker, Fault> {
        Ok(Worker {
            store: PageStore::new(self.contents.engine)?,
            looks: Vec::new(),
        })
    }

    fn encode(
        &self,
        worker: &mut Worker,
        chunk: &Chunk,
        block: &mut Block<'a>,
    ) -> Result<(), Fault> {
        let Block { read, encoded, .. } = block;
        encoded.data.clear();
        encoded.pages.clear();
        if read.len() < chunk.populated as usize {
            read.resize(chunk.populated as usize, 0);
        }
        let mut end = 0;
        for part in &chunk.parts {
            if !part.populated {
                encoded.push_zeroes(part.range.size() / self.page_size as u64);
                continue;
            }
            let gpa = part.range.start();
            if let Some(bytes) = part.in_place(self.contents.memory)? {
                let place = |at| Bytes::InPlace(&bytes[at..at + self.page_size]);
                self.encode_pages(worker, gpa, bytes, place, encoded)?;
                continue;
            }
            for piece in part.pieces(READ_AT_ONCE) {
                let start = end;
                end += piece.range.size() as usize;
                let bytes = &mut read[start..end];
                piece.read(self.contents.memory, bytes)?;
                let place = |at| Bytes::Read(start + at);
                self.encode_pages(worker, piece.range.start(), bytes, place, encoded)?;
            }
        }
        Ok(())
    }

    fn place(&self, layout: &mut PlacedSoFar, block: &mut Block<'a>) -> Result<(), Fault> {
        layout.place(block, self.page_size, &self.published)
    }

    fn in_order(&self) -> bool {
        self.contents.completion.is_in_order()
    }

    fn write(&self, block: &Block<'a>) -> Result<(), Fault> {
        // The descriptors are also those of earlier blocks, which count even
        // if this one's data cannot be written.
        let due = &block.due;
        if !due.bytes.is_empty() {
            self.target.write_at(due.offset, &due.bytes)?;
            self.lock_written().descriptors_end = due.offset + due.bytes.len() as u64;
        }
        let data = &block.encoded.data;
        if !data.is_empty() {
            self.target.write_at(block.data_at, data)?;
        }
        let mut written = self.lock_written();
        written.pages = block.pages_so_far;
        written.end = block.data_at + data.len() as u64;
        Ok(())
    }
}

//! Encoding pages: zero pages are stored once, repeated ones twice at most while
//! they are remembered, and all compressed if that makes them shorter.
//!
//! Threads encode chunks at the same time, and look for repeated pages in
//! what is placed so far: a page that is there need not be compressed.
//! Whether a page is stored again is decided when its block gets its place,
//! in the dump's order, so it does not depend on the threads.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::codec::Compressor;
use crate::fault::Fault;
use crate::kdump::codec_flag;
use crate::memory::is_zero;
use crate::pipeline::{Chunk, Encoder};
use crate::write::kdump::placement::{Due, Placement};
use crate::write::kdump::sample;
use crate::write::kdump::seen::{Known, Published, Seen};
use crate::write::kdump::writer::{KdumpContents, Target};

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

/// What is in the file for good, if blocks are written in order.
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
    compressor: Compressor,
    /// The hashes of pages, and what may be the same; `None` for zeroes.
    looks: Vec<(u64, Option<Arc<Known>>)>,
}

/// The pages of one chunk.
#[derive(Default)]
pub(crate) struct Block<'m> {
    /// What had to be copied out of the guest.
    read: Vec<u8>,
    encoded: Encoded<'m>,
    /// File offset of the data.
    data_at: u64,
    /// In the dump, with this block.
    pages_so_far: u64,
    due: Due,
}

#[derive(Default)]
struct Encoded<'m> {
    /// The pages' data, one behind the other.
    data: Vec<u8>,
    pages: Vec<Page<'m>>,
}

enum Page<'m> {
    /// So many pages of zeroes in a row.
    Zeroes(u64),
    /// A page that is the next so many bytes of the data.
    Data { size: u32, flags: u32, key: Key<'m> },
    /// A page that was seen, at the time of looking.
    Same { known: Arc<Known>, gpa: u64 },
}

/// What decides where the next block goes.
pub(crate) struct Layout {
    pub(crate) placement: Placement,
    seen: Seen,
    /// For the few pages that must be compressed while they get their place.
    compressor: Compressor,
}

/// What a page is found again by.
struct Key<'m> {
    hash: u64,
    bytes: Bytes<'m>,
}

/// The bytes of a page.
enum Bytes<'m> {
    /// In `Block::read`, from here on.
    Read(usize),
    /// Guest memory that nothing can change.
    InPlace(&'m [u8]),
}

impl Encoded<'_> {
    fn push_zeroes(&mut self, count: u64) {
        match self.pages.last_mut() {
            Some(Page::Zeroes(before)) => *before += count,
            _ => self.pages.push(Page::Zeroes(count)),
        }
    }
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

    pub(crate) fn layout(&self, placement: Placement) -> Result<Layout, Fault> {
        Ok(Layout {
            placement,
            seen: Seen::new(self.page_size),
            compressor: self.compressor()?,
        })
    }

    pub(crate) fn written(&self) -> Written {
        *self.lock_written()
    }

    fn lock_written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn compressor(&self) -> Result<Compressor, Fault> {
        let compressor = self.contents.engine.compressor();
        compressor.map_err(|source| Fault::Compress { gpa: 0, source })
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
        let Worker { compressor, looks } = worker;
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
            let flags = self.store(compressor, gpa, page, &mut out.data)?;
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

    /// Appends the page's data, and returns its flags.
    fn store(
        &self,
        compressor: &mut Compressor,
        gpa: u64,
        page: &[u8],
        data: &mut Vec<u8>,
    ) -> Result<u32, Fault> {
        let shrunk = !sample::looks_random(page)
            && compressor
                .compress(page, data)
                .map_err(|source| Fault::Compress { gpa, source })?;
        if shrunk {
            return Ok(codec_flag(self.contents.engine.codec()));
        }
        data.extend_from_slice(page);
        Ok(0)
    }
}

/// Data of pages that turn out to be repeated is left out: what is kept ends
/// at `kept`, what was not looked at begins at `next`.
#[derive(Default)]
struct Compaction {
    kept: usize,
    next: usize,
}

impl Compaction {
    fn skip(&mut self, size: u32) {
        self.next += size as usize;
    }

    fn keep(&mut self, data: &mut [u8], size: u32) {
        let end = self.next + size as usize;
        if self.kept < self.next {
            data.copy_within(self.next..end, self.kept);
        }
        self.next = end;
        self.kept += size as usize;
    }

    fn add(&mut self, data: &mut Vec<u8>, more: Vec<u8>) {
        let end = self.kept + more.len();
        data.splice(self.kept..self.next, more);
        (self.kept, self.next) = (end, end);
    }
}

impl<'a> Encoder for Pages<'a, '_> {
    type Worker = Worker;
    type Block = Block<'a>;
    type Layout = Layout;

    fn worker(&self) -> Result<Worker, Fault> {
        Ok(Worker {
            compressor: self.compressor()?,
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
            if let Some(bytes) = part.in_place(self.contents.memory) {
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

    fn place(&self, layout: &mut Layout, block: &mut Block<'a>) -> Result<(), Fault> {
        let Layout {
            placement,
            seen,
            compressor,
        } = layout;
        let Block {
            read,
            encoded: Encoded { data, pages },
            data_at,
            pages_so_far,
            due,
        } = block;
        placement.take_back(due);
        *data_at = placement.next_data;
        let mut compaction = Compaction::default();
        for page in pages.drain(..) {
            let stored = match page {
                Page::Zeroes(count) => {
                    placement.push_zeroes(count, due);
                    continue;
                }
                Page::Data { size, flags, key } => {
                    let bytes = match key.bytes {
                        Bytes::Read(at) => &read[at..at + self.page_size],
                        Bytes::InPlace(bytes) => bytes,
                    };
                    if let Some(known) = seen.find(key.hash, bytes) {
                        compaction.skip(size);
                        known.stored
                    } else {
                        compaction.keep(data, size);
                        let stored = placement.store(size, flags);
                        seen.note(key.hash, bytes, stored);
                        stored
                    }
                }
                Page::Same { known, .. } if seen.has(&known) => known.stored,
                Page::Same { known, gpa } => match seen.find(known.hash, &known.bytes) {
                    Some(known) => known.stored,
                    // It made room for another page meanwhile.
                    None => {
                        let mut again = Vec::new();
                        let bytes = &known.bytes;
                        let flags = self.store(compressor, gpa, bytes, &mut again)?;
                        let stored = placement.store(again.len() as u32, flags);
                        compaction.add(data, again);
                        seen.note(known.hash, bytes, stored);
                        stored
                    }
                },
            };
            placement.push(stored, due);
        }
        data.truncate(compaction.kept);
        *pages_so_far = placement.pages;
        self.published.update(seen);
        Ok(())
    }

    fn in_order(&self) -> bool {
        // Of a partial dump it must be known what it has.
        matches!(self.target, Target::Flattened(_)) || self.contents.keep_partial
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

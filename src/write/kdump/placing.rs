//! Giving the pages of a block their places in the dump.
#![forbid(unsafe_code)]

use super::block::{Block, Encoded, Key, Page};
use super::placement::{Due, Placement};
use super::seen::{Known, Published, Seen, Stored};
use super::store::PageStore;
use crate::fault::Fault;

/// The state that decides where the next block goes.
pub(crate) struct PlacedSoFar {
    pub(super) placement: Placement,
    pub(super) seen: Seen,
    /// For the few pages that must be compressed while they get their place.
    pub(super) store: PageStore,
}

impl PlacedSoFar {
    /// Gives a block its place. `published` then has all pages up to its end.
    pub(super) fn place(
        &mut self,
        block: &mut Block<'_>,
        page_size: usize,
        published: &Published,
    ) -> Result<(), Fault> {
        let Block {
            read,
            encoded: Encoded { data, pages },
            data_at,
            pages_so_far,
            due,
        } = block;
        self.placement.take_back(due);
        *data_at = self.placement.next_data;
        let mut placing = Placing {
            layout: self,
            page_size,
            read,
            data: Compaction::new(data),
            due,
        };
        for page in pages.drain(..) {
            placing.place(page)?;
        }
        placing.data.finish();
        *pages_so_far = self.placement.pages;
        published.update(&mut self.seen);
        Ok(())
    }
}

/// A block that gets its place, page by page.
struct Placing<'p> {
    layout: &'p mut PlacedSoFar,
    page_size: usize,
    read: &'p [u8],
    data: Compaction<'p>,
    due: &'p mut Due,
}

impl Placing<'_> {
    fn place(&mut self, page: Page<'_>) -> Result<(), Fault> {
        let stored = match page {
            Page::Zeroes(count) => {
                self.layout.placement.push_zeroes(count, self.due);
                return Ok(());
            }
            Page::Data { size, flags, key } => self.keep_or_skip(size, flags, &key),
            Page::Same { known, .. } if self.layout.seen.has(&known) => known.stored,
            Page::Same { known, gpa } => self.find_or_store(&known, gpa)?,
        };
        self.layout.placement.push(stored, self.due);
        Ok(())
    }

    /// Keeps the next page of the data, unless an earlier block turns out to have
    /// it.
    fn keep_or_skip(&mut self, size: u32, flags: u32, key: &Key<'_>) -> Stored {
        let bytes = key.bytes.get(self.read, self.page_size);
        if let Some(known) = self.layout.seen.find(key.hash, bytes) {
            self.data.skip(size);
            return known.stored;
        }
        self.data.keep(size);
        let stored = self.layout.placement.store(size, flags);
        self.layout.seen.note(key.hash, bytes, stored);
        stored
    }

    /// The place of a page that was in the dump and has made room for another
    /// page meanwhile. Stores it again if nothing else has its bytes.
    fn find_or_store(&mut self, known: &Known, gpa: u64) -> Result<Stored, Fault> {
        let PlacedSoFar {
            placement,
            seen,
            store,
        } = &mut *self.layout;
        if let Some(known) = seen.find(known.hash, &known.bytes) {
            return Ok(known.stored);
        }
        let mut data = Vec::new();
        let flags = store.store(gpa, &known.bytes, &mut data)?;
        let stored = placement.store(data.len() as u32, flags);
        self.data.add(data);
        seen.note(known.hash, &known.bytes, stored);
        Ok(stored)
    }
}

/// A block's data without the pages that turn out to be repeated.
///
/// The kept data ends at `kept`. The data that was not visited begins at `next`.
struct Compaction<'d> {
    data: &'d mut Vec<u8>,
    kept: usize,
    next: usize,
}

impl<'d> Compaction<'d> {
    fn new(data: &'d mut Vec<u8>) -> Self {
        Self {
            data,
            kept: 0,
            next: 0,
        }
    }

    fn skip(&mut self, size: u32) {
        self.next += size as usize;
    }

    fn keep(&mut self, size: u32) {
        let end = self.next + size as usize;
        if self.kept < self.next {
            self.data.copy_within(self.next..end, self.kept);
        }
        self.next = end;
        self.kept += size as usize;
    }

    /// Inserts data after what is kept.
    fn add(&mut self, more: Vec<u8>) {
        let end = self.kept + more.len();
        self.data.splice(self.kept..self.next, more);
        (self.kept, self.next) = (end, end);
    }

    /// Cuts the data after what is kept.
    fn finish(self) {
        self.data.truncate(self.kept);
    }
}

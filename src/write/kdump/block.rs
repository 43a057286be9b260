//! The encoded pages of one chunk.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::placement::Due;
use super::seen::Known;

/// The pages of one chunk.
#[derive(Default)]
pub(crate) struct Block<'m> {
    /// The bytes that had to be copied out of the guest.
    pub(super) read: Vec<u8>,
    pub(super) encoded: Encoded<'m>,
    /// File offset of the data.
    pub(super) data_at: u64,
    /// Pages in the dump up to the end of this block.
    pub(super) pages_so_far: u64,
    pub(super) due: Due,
}

#[derive(Default)]
pub(super) struct Encoded<'m> {
    /// The pages' data, without gaps.
    pub(super) data: Vec<u8>,
    pub(super) pages: Vec<Page<'m>>,
}

pub(super) enum Page<'m> {
    /// A number of pages of zeroes in a row.
    Zeroes(u64),
    /// A page that is the next so many bytes of the data.
    Data { size: u32, flags: u32, key: Key<'m> },
    /// A page that was in the dump when its encoder looked.
    Same { known: Arc<Known>, gpa: u64 },
}

/// The hash and the bytes by which a page is found again.
pub(super) struct Key<'m> {
    pub(super) hash: u64,
    pub(super) bytes: Bytes<'m>,
}

/// The bytes of a page.
pub(super) enum Bytes<'m> {
    /// In [`Block::read`], from here on.
    Read(usize),
    /// Guest memory that nothing can change.
    InPlace(&'m [u8]),
}

impl<'m> Bytes<'m> {
    /// The `page_size` bytes, which may be in `read`.
    pub(super) fn get<'b>(&self, read: &'b [u8], page_size: usize) -> &'b [u8]
    where
        'm: 'b,
    {
        match *self {
            Self::Read(at) => &read[at..at + page_size],
            Self::InPlace(bytes) => bytes,
        }
    }
}

impl Encoded<'_> {
    pub(super) fn push_zeroes(&mut self, count: u64) {
        match self.pages.last_mut() {
            Some(Page::Zeroes(before)) => *before += count,
            _ => self.pages.push(Page::Zeroes(count)),
        }
    }
}

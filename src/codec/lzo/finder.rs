//! Finds what repeats in a page.
//!
//! The finder reads a page once. A hash table of positions contains the last place
//! that had the same six bytes. That place is copied from if at least four bytes are
//! the same. The hash is of six bytes because a copy of four or five saves one or two
//! bytes and takes as long as any other copy.
#![forbid(unsafe_code)]

use super::stream::{REACH, Stream};

/// The shortest copy.
const SHORTEST: usize = 4;

const WORD: usize = size_of::<u64>();
const HASHED: usize = 6;
const _: () = assert!(
    HASHED + 2 == WORD,
    "three positions have their bytes in a word"
);
/// The number of positions that are looked up together, and the shortest step.
const STEP: usize = 3;
/// The step grows by one for every 2^6 bytes without a match.
const PATIENCE: u32 = 6;

/// The hash table. It is cleared for each page.
pub(super) struct Finder {
    positions: Box<[u16; LARGE]>,
}

/// A page of at most this length uses a part of the table, which is cleared faster.
const SMALL_PAGE: usize = 4096;
const SMALL: usize = 1 << 12;
const LARGE: usize = 1 << 14;

impl Finder {
    pub(super) fn new() -> Self {
        Self {
            positions: Box::new([0; LARGE]),
        }
    }

    /// Writes all of `page` to `stream`.
    pub(super) fn compress(&mut self, page: &[u8], stream: &mut Stream<'_>) {
        match self.positions.first_chunk_mut::<SMALL>() {
            Some(small) if page.len() <= SMALL_PAGE => compress(page, small, stream),
            _ => compress(page, &mut self.positions, stream),
        }
    }
}

fn compress<const SIZE: usize>(page: &[u8], positions: &mut [u16; SIZE], stream: &mut Stream<'_>) {
    let mut written = 0;
    for start in (0..page.len()).step_by(REACH) {
        let part = &page[..page.len().min(start + REACH)];
        positions.fill(0);
        written = copies(part, start, written, positions, stream);
    }
    if written < page.len() {
        stream.literals(page, written, page.len());
    }
}

/// Writes the copies in `page[start..]`, and the literals before each. `written` bytes
/// of the page are in `stream` before the call; returns how many are after it.
#[inline(always)]
fn copies<const SIZE: usize>(
    page: &[u8],
    start: usize,
    mut written: usize,
    positions: &mut [u16; SIZE],
    stream: &mut Stream<'_>,
) -> usize {
    let Some(last) = page.len().checked_sub(WORD) else {
        return written;
    };
    // Enters `at` into the table, and returns the position that it replaces.
    let mut replace = |word: u64, at: usize| {
        let before = &mut positions[slot::<SIZE>(word)];
        let candidate = start + usize::from(*before);
        *before = (at - start) as u16;
        candidate
    };
    // An empty slot contains 0, so the first byte is a candidate everywhere.
    let mut at = start + 1;
    loop {
        let mut candidate;
        loop {
            if at > last {
                return written;
            }
            let word = word_at(page, at);
            candidate = replace(word, at);
            if is_copy(page, candidate, word) {
                break;
            }
            candidate = replace(word >> 8, at + 1);
            if is_copy(page, candidate, word >> 8) {
                at += 1;
                break;
            }
            candidate = replace(word >> 16, at + 2);
            if is_copy(page, candidate, word >> 16) {
                at += 2;
                break;
            }
            at += STEP + ((at - written) >> PATIENCE);
        }
        if written < at {
            stream.literals(page, written, at);
        }
        // A copy often follows another one directly.
        loop {
            let len = SHORTEST + same(page, candidate + SHORTEST, at + SHORTEST);
            stream.copy(at - candidate, len);
            at += len;
            written = at;
            if at > last {
                return written;
            }
            let word = word_at(page, at - 2);
            replace(word, at - 2);
            candidate = replace(word >> 16, at);
            if !is_copy(page, candidate, word >> 16) {
                at += 1;
                break;
            }
        }
    }
}

#[inline(always)]
fn word_at(page: &[u8], at: usize) -> u64 {
    page[at..at + WORD]
        .first_chunk()
        .map_or(0, |word| u64::from_le_bytes(*word))
}

/// The slot of the table for the lowest six bytes of `word`.
#[inline(always)]
fn slot<const SIZE: usize>(word: u64) -> usize {
    /// 2^64 divided by the golden ratio.
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let hashed = word << (u64::BITS as usize - 8 * HASHED);
    (hashed.wrapping_mul(FACTOR) >> (u64::BITS - SIZE.trailing_zeros())) as usize
}

/// Whether the bytes at `candidate` allow the shortest copy of `word`'s lowest bytes.
#[inline(always)]
fn is_copy(page: &[u8], candidate: usize, word: u64) -> bool {
    page[candidate..candidate + SHORTEST] == (word as u32).to_le_bytes()
}

/// The number of bytes from `later` on that are the same as from `earlier` on.
#[inline(always)]
fn same(page: &[u8], earlier: usize, later: usize) -> usize {
    let mut len = 0;
    while later + len + WORD <= page.len() {
        let differ = word_at(page, earlier + len) ^ word_at(page, later + len);
        if differ != 0 {
            return len + differ.trailing_zeros() as usize / 8;
        }
        len += WORD;
    }
    while later + len < page.len() && page[earlier + len] == page[later + len] {
        len += 1;
    }
    len
}

//! What repeats in a page: the half of compression that LZO1X and snappy have in
//! common. The other half, the bytes, is in `format`.
//!
//! A page is gone through once. What stands at a place is looked for at the
//! last place that had the same six bytes, by a hash table of positions, and
//! taken if at least four bytes are the same. Six, because a copy of four or
//! five bytes saves a byte or two, and takes as long as any: shorter ones are
//! found by chance alone.
#![forbid(unsafe_code)]

/// What takes the page's bytes, in order.
pub(super) trait Tokens {
    /// Copies reach less far back than so many bytes, at most 65,536.
    const REACH: usize;

    /// `page[from..to]`, which is not empty, as it is. Never twice in a row.
    fn literals(&mut self, page: &[u8], from: usize, to: usize);

    /// So many bytes, at least [`SHORTEST`], that stand `distance` bytes before.
    fn copy(&mut self, distance: usize, len: usize);
}

/// The shortest copy.
pub(super) const SHORTEST: usize = 4;

const WORD: usize = size_of::<u64>();
const HASHED: usize = 6;
const _: () = assert!(
    HASHED + 2 == WORD,
    "three positions have their bytes in a word"
);
/// Positions that are looked at together, and the step to the next ones.
const STEP: usize = 3;
/// After so many bytes without a match, as a power of 2, steps are longer by one.
const PATIENCE: u32 = 6;

/// The hash table, used again for each page.
pub(super) struct Finder {
    positions: Box<[u16; LARGE]>,
}

const SMALL_PAGE: usize = 4096;
/// Positions that are remembered in a small page, and in a larger one.
const SMALL: usize = 1 << 12;
const LARGE: usize = 1 << 14;

impl Finder {
    pub(super) fn new() -> Self {
        Self {
            positions: Box::new([0; LARGE]),
        }
    }

    /// Gives all of `page` to `tokens`.
    pub(super) fn tokens<T: Tokens>(&mut self, page: &[u8], tokens: &mut T) {
        match self.positions.first_chunk_mut::<SMALL>() {
            Some(small) if page.len() <= SMALL_PAGE => tokens_of(page, small, tokens),
            _ => tokens_of(page, &mut self.positions, tokens),
        }
    }
}

fn tokens_of<T: Tokens, const SIZE: usize>(
    page: &[u8],
    positions: &mut [u16; SIZE],
    tokens: &mut T,
) {
    let mut given = 0;
    for start in (0..page.len()).step_by(T::REACH) {
        let part = &page[..page.len().min(start + T::REACH)];
        positions.fill(0);
        given = copies(part, start, given, positions, tokens);
    }
    if given < page.len() {
        tokens.literals(page, given, page.len());
    }
}

/// Finds what repeats in `page[start..]`, of which the bytes up to `given`
/// have been given to `tokens`. Returns up to where they are now.
#[inline(always)]
fn copies<T: Tokens, const SIZE: usize>(
    page: &[u8],
    start: usize,
    mut given: usize,
    positions: &mut [u16; SIZE],
    tokens: &mut T,
) -> usize {
    let Some(last) = page.len().checked_sub(WORD) else {
        return given;
    };
    // Puts `at` in the place of what it returns.
    let mut replace = |word: u64, at: usize| {
        let before = &mut positions[slot::<SIZE>(word)];
        let candidate = start + usize::from(*before);
        *before = (at - start) as u16;
        candidate
    };
    // The table says 0 where it knows nothing, so the first byte is a candidate.
    let mut at = start + 1;
    loop {
        let mut candidate;
        loop {
            if at > last {
                return given;
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
            at += STEP + ((at - given) >> PATIENCE);
        }
        if given < at {
            tokens.literals(page, given, at);
        }
        // Copies often follow each other.
        loop {
            let len = SHORTEST + same(page, candidate + SHORTEST, at + SHORTEST);
            tokens.copy(at - candidate, len);
            at += len;
            given = at;
            if at > last {
                return given;
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

/// Where the position of the lowest six bytes is remembered.
#[inline(always)]
fn slot<const SIZE: usize>(word: u64) -> usize {
    /// 2^64 divided by the golden ratio.
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let hashed = word << (u64::BITS as usize - 8 * HASHED);
    (hashed.wrapping_mul(FACTOR) >> (u64::BITS - SIZE.trailing_zeros())) as usize
}

/// Whether the shortest copy's bytes at `candidate` are the lowest of `word`.
#[inline(always)]
fn is_copy(page: &[u8], candidate: usize, word: u64) -> bool {
    page[candidate..candidate + SHORTEST] == (word as u32).to_le_bytes()
}

/// How many bytes from `later` on are the same as from `earlier` on.
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    /// Takes tokens as they are, and what they stand for.
    #[derive(Default)]
    struct Taken {
        page: Vec<u8>,
        copies: usize,
        literals_before: bool,
    }

    impl Tokens for Taken {
        const REACH: usize = 1 << 12;

        fn literals(&mut self, page: &[u8], from: usize, to: usize) {
            assert!(from < to && !self.literals_before);
            assert_eq!(from, self.page.len());
            self.page.extend_from_slice(&page[from..to]);
            self.literals_before = true;
        }

        fn copy(&mut self, distance: usize, len: usize) {
            assert!((1..Self::REACH).contains(&distance) && len >= SHORTEST);
            for at in self.page.len()..self.page.len() + len {
                self.page.push(self.page[at - distance]);
            }
            self.copies += 1;
            self.literals_before = false;
        }
    }

    fn taken(page: &[u8]) -> Taken {
        let mut taken = Taken::default();
        Finder::new().tokens(page, &mut taken);
        assert!(taken.page == page);
        taken
    }

    #[test]
    fn short_pages_and_those_of_several_reaches_are_given_whole() {
        for len in (0..64).chain([4095, 4096, 4097, 4103, 4104, 4105, 8192, 12300]) {
            taken(&vec![7; len]);
            taken(&(0..len).map(|at| at as u8).collect::<Vec<_>>());
            taken(
                &(0..len)
                    .map(|at| ((at * at) >> 3) as u8)
                    .collect::<Vec<_>>(),
            );
        }
    }

    #[test]
    fn what_repeats_is_found() {
        assert_eq!(taken(&[0; 4096]).copies, 1);
        let words: Vec<u8> = (0..512u64)
            .flat_map(|n| (0xffff_8880_0000_0000 | (n * 64)).to_le_bytes())
            .collect();
        let found = taken(&words).copies;
        assert!((400..=512).contains(&found), "{found}");
    }

    proptest! {
        #[test]
        fn pages_of_pieces_are_given_whole(
            pieces in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), 1usize..30), 0..200)
        ) {
            let page: Vec<u8> = pieces.iter().flat_map(|(piece, times)| piece.repeat(*times)).collect();
            taken(&page);
        }
    }
}

//! Page bitmaps as dump formats store them: one bit for each page frame, the
//! lowest bit of a byte first.
//!
//! kdump and Windows dumps share this encoding. The module does no I/O: a
//! writer takes the bytes from [`encode`], a reader hands its bytes to [`runs`]
//! or to a [`RunDecoder`].
//!
//! ```
//! use guestdump::bitmap;
//!
//! let mut bytes = [0; 2];
//! bitmap::set(&mut bytes, 3..10);
//! assert_eq!(bytes, [0b1111_1000, 0b0000_0011]);
//! assert!(bitmap::runs(&bytes).eq([3..10]));
//! ```
//!
//! Source: makedumpfile `IMPLEMENTATION`, "1st-bitmap" and "2nd-bitmap".
#![forbid(unsafe_code)]

use std::iter::{FusedIterator, Peekable};
use std::ops::Range;

/// Bytes of a piece that [`encode`] makes.
const PIECE: u64 = 1 << 20;

/// Bits that are read at once.
const WORD: u64 = u64::BITS as u64;

/// Sets the bits of `bits` in `bitmap`.
///
/// # Panics
///
/// If `bits` ends after the bitmap.
#[inline]
pub fn set(bitmap: &mut [u8], bits: Range<u64>) {
    if bits.is_empty() {
        return;
    }
    let (first, last) = (bits.start / 8, (bits.end - 1) / 8);
    let (first_mask, last_mask) = (0xff << (bits.start % 8), 0xff >> (7 - (bits.end - 1) % 8));
    assert!(last < bitmap.len() as u64, "bits after the bitmap");
    match &mut bitmap[first as usize..=last as usize] {
        [] => {}
        [only] => *only |= first_mask & last_mask,
        [first, between @ .., last] => {
            *first |= first_mask;
            between.fill(0xff);
            *last |= last_mask;
        }
    }
}

/// The word of less than 8 bytes at the end of a bitmap. Bits after the end
/// are 0.
fn incomplete(rest: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..rest.len()].copy_from_slice(rest);
    u64::from_le_bytes(word)
}

/// Returns whether the bit `index` is set. Bits after the end of the bitmap
/// are 0.
#[must_use]
pub fn is_set(bitmap: &[u8], index: u64) -> bool {
    usize::try_from(index / 8)
        .ok()
        .and_then(|byte| bitmap.get(byte))
        .is_some_and(|byte| byte >> (index % 8) & 1 == 1)
}

/// Returns the runs of bits that are set in `bitmap`, in ascending order. Runs
/// neither overlap nor touch.
#[must_use]
pub fn runs(bitmap: &[u8]) -> Runs<'_> {
    let (words, rest) = bitmap.as_chunks();
    Runs {
        words,
        rest,
        word: 0,
        end: 0,
    }
}

/// An iterator over the runs of set bits of a bitmap: see [`runs`].
#[derive(Debug, Clone)]
pub struct Runs<'a> {
    /// The words that were not loaded.
    words: &'a [[u8; 8]],
    /// The incomplete word after `words`, until it is loaded.
    rest: &'a [u8],
    /// The present word, without the bits that were visited.
    word: u64,
    /// The bit after the present word.
    end: u64,
}

impl Runs<'_> {
    /// Loads the next word.
    #[inline]
    fn load(&mut self) -> Option<u64> {
        let word = if let [first, words @ ..] = self.words {
            self.words = words;
            u64::from_le_bytes(*first)
        } else if self.rest.is_empty() {
            return None;
        } else {
            incomplete(std::mem::take(&mut self.rest))
        };
        self.end += WORD;
        Some(word)
    }
}

impl Iterator for Runs<'_> {
    type Item = Range<u64>;

    #[inline]
    fn next(&mut self) -> Option<Range<u64>> {
        while self.word == 0 {
            self.word = self.load()?;
        }
        let first = self.word.trailing_zeros();
        let start = self.end - WORD + u64::from(first);
        // The bits before the run count as part of it here.
        let mut zeroes = !(self.word | ((1 << first) - 1));
        while zeroes == 0 {
            let Some(word) = self.load() else {
                self.word = 0;
                return Some(start..self.end);
            };
            self.word = word;
            zeroes = !word;
        }
        let after = zeroes.trailing_zeros();
        self.word &= u64::MAX << after;
        Some(start..self.end - WORD + u64::from(after))
    }
}

impl FusedIterator for Runs<'_> {}

/// Decodes a bitmap that a reader reads piece by piece. A run that continues
/// in the next piece is given as one.
///
/// ```
/// use guestdump::bitmap::RunDecoder;
///
/// let mut found = Vec::new();
/// let mut decoder = RunDecoder::default();
/// for (first, piece) in [(0, [0, 0xc0]), (16, [0x07, 0])] {
///     decoder.piece(first, &piece, |run| Ok::<_, ()>(found.push(run)))?;
/// }
/// found.extend(decoder.finish());
/// assert_eq!(found, [14..19]);
/// # Ok::<_, ()>(())
/// ```
#[derive(Debug, Default)]
pub struct RunDecoder {
    /// The last run, which may continue in the next piece.
    open: Option<Range<u64>>,
}

impl RunDecoder {
    /// Decodes `piece`, whose first bit is bit `first` of the bitmap, and calls
    /// `each` for every run that is known to be complete.
    ///
    /// Pieces ascend. Bits between two pieces are 0.
    ///
    /// # Errors
    ///
    /// The first error of `each`.
    #[inline]
    pub fn piece<E>(
        &mut self,
        first: u64,
        piece: &[u8],
        mut each: impl FnMut(Range<u64>) -> Result<(), E>,
    ) -> Result<(), E> {
        for run in runs(piece) {
            let run = first + run.start..first + run.end;
            match &mut self.open {
                Some(open) if open.end == run.start => open.end = run.end,
                open => {
                    if let Some(complete) = open.replace(run) {
                        each(complete)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns the last run, which no further piece continues.
    #[must_use]
    pub fn finish(self) -> Option<Range<u64>> {
        self.open
    }
}

/// Encodes a bitmap of `size` bytes in which the bits of `runs` are set, in
/// pieces of at most 1 MiB. `each` receives the offset of a piece in the
/// bitmap, in bytes, and its bytes.
///
/// Pieces in which `kept` has no bit are omitted, so gaps in the guest's
/// memory cost nothing. `kept` contains `runs`. A caller that writes a bitmap
/// twice passes what the first bitmap had as `kept`, so the second one replaces
/// every piece of the first.
///
/// The runs of both iterators ascend and do not overlap.
///
/// # Errors
///
/// The first error of `each`.
pub fn encode<E>(
    kept: impl IntoIterator<Item = Range<u64>>,
    runs: impl IntoIterator<Item = Range<u64>>,
    size: u64,
    mut each: impl FnMut(u64, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut piece = vec![0; size.min(PIECE) as usize];
    let (mut kept, mut runs) = (kept.into_iter().peekable(), runs.into_iter().peekable());
    let mut start = 0;
    while let Some(next) = kept.peek() {
        start = start.max(next.start / 8 / PIECE * PIECE);
        if start >= size {
            break;
        }
        let piece = &mut piece[..(size - start).min(PIECE) as usize];
        piece.fill(0);
        let end = start + piece.len() as u64;
        let bits = start * 8..end * 8;
        take_runs(&mut kept, &bits, |_| {});
        take_runs(&mut runs, &bits, |run| {
            set(piece, run.start - bits.start..run.end - bits.start);
        });
        each(start, piece)?;
        start = end;
    }
    Ok(())
}

/// Calls `each` for the part of each run that lies in `bits`. A run that
/// continues after `bits` stays in `runs`.
fn take_runs(
    runs: &mut Peekable<impl Iterator<Item = Range<u64>>>,
    bits: &Range<u64>,
    mut each: impl FnMut(Range<u64>),
) {
    while let Some(run) = runs.peek() {
        let inside = run.start.max(bits.start)..run.end.min(bits.end);
        if !inside.is_empty() {
            each(inside);
        }
        if run.end > bits.end {
            break;
        }
        runs.next();
    }
}

/// A set of numbers below a limit: one bit for each of them.
///
/// The default is a set to which no number can be added.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BitSet {
    words: Vec<u64>,
    len: u64,
}

impl BitSet {
    /// Makes an empty set for numbers below `limit`.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self {
            words: vec![0; limit.div_ceil(WORD) as usize],
            len: 0,
        }
    }

    /// Returns how many numbers the set contains.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Returns whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds `numbers`. Returns how many of them are new.
    ///
    /// # Panics
    ///
    /// If the words of the set end before `numbers`.
    #[inline]
    pub fn insert(&mut self, numbers: Range<u64>) -> u64 {
        if numbers.is_empty() {
            return 0;
        }
        let last = numbers.end - 1;
        let first_mask = u64::MAX << (numbers.start % WORD);
        let last_mask = u64::MAX >> (WORD - 1 - last % WORD);
        let add = |word: &mut u64, mask: u64| {
            let new = (mask & !*word).count_ones();
            *word |= mask;
            u64::from(new)
        };
        let new = match &mut self.words[(numbers.start / WORD) as usize..=(last / WORD) as usize] {
            [] => 0,
            [only] => add(only, first_mask & last_mask),
            [first, between @ .., last] => {
                let between = between.iter_mut().map(|word| add(word, u64::MAX));
                between.sum::<u64>() + add(first, first_mask) + add(last, last_mask)
            }
        };
        self.len += new;
        new
    }

    /// Returns whether the set contains the first of `numbers`, and the first
    /// number of `numbers` for which the answer differs, or `numbers.end`.
    ///
    /// # Panics
    ///
    /// If the words of the set end before `numbers`.
    #[inline]
    #[must_use]
    pub fn next_change(&self, numbers: Range<u64>) -> (bool, u64) {
        let mut at = numbers.start;
        let inside = self.words[(at / WORD) as usize] >> (at % WORD) & 1 == 1;
        while at < numbers.end {
            let word = self.words[(at / WORD) as usize];
            let other = if inside { !word } else { word } >> (at % WORD);
            if other != 0 {
                at += u64::from(other.trailing_zeros());
                break;
            }
            at = (at / WORD + 1) * WORD;
        }
        (inside, at.min(numbers.end))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::single_range_in_vec_init)]
    use std::collections::BTreeSet;
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    /// Ascending runs that neither overlap nor touch: of gaps and lengths.
    fn laid_out(parts: &[(u64, u64)]) -> Vec<Range<u64>> {
        let mut end = 0;
        let run = |&(gap, len): &(u64, u64)| {
            let start = end + gap;
            end = start + len;
            start..end
        };
        parts.iter().map(run).collect()
    }

    fn spread_runs() -> impl Strategy<Value = Vec<Range<u64>>> {
        let gap = prop_oneof![1u64..5, 1u64..300, Just(PIECE * 8), Just(PIECE * 20)];
        let len = prop_oneof![1u64..3, 1u64..300, Just(PIECE * 9)];
        prop::collection::vec((gap, len), 0..8).prop_map(|parts| laid_out(&parts))
    }

    fn close_runs() -> impl Strategy<Value = Vec<Range<u64>>> {
        prop::collection::vec((1u64..150, 1u64..150), 0..20).prop_map(|parts| laid_out(&parts))
    }

    fn bitmap_of(runs: &[Range<u64>], size: usize) -> Vec<u8> {
        let mut bitmap = vec![0; size];
        for run in runs {
            set(&mut bitmap, run.clone());
        }
        bitmap
    }

    fn size_for(runs: &[Range<u64>], more: u64) -> u64 {
        runs.last().map_or(0, |run| run.end.div_ceil(8)) + more
    }

    fn pieces(kept: &[Range<u64>], runs: &[Range<u64>], size: u64) -> Vec<(u64, Vec<u8>)> {
        let mut pieces = Vec::new();
        let each = |at, piece: &[u8]| {
            pieces.push((at, piece.to_vec()));
            Ok::<_, Infallible>(())
        };
        let Ok(()) = encode(kept.to_vec(), runs.to_vec(), size, each);
        pieces
    }

    fn decoded(pieces: &[(u64, Vec<u8>)]) -> Vec<Range<u64>> {
        let (mut decoder, mut found) = (RunDecoder::default(), Vec::new());
        for (at, piece) in pieces {
            let each = |run| {
                found.push(run);
                Ok::<_, Infallible>(())
            };
            let Ok(()) = decoder.piece(at * 8, piece, each);
        }
        found.extend(decoder.finish());
        found
    }

    #[test]
    fn lowest_bit_of_a_byte_comes_first() {
        let mut bitmap = [0; 4];
        for bits in [3..3, 1..3, 7..25] {
            set(&mut bitmap, bits);
        }
        assert_eq!(bitmap, [0b1000_0110, 0xff, 0xff, 1]);
    }

    #[test]
    #[should_panic(expected = "after the bitmap")]
    fn setting_bits_after_the_bitmap_panics() {
        set(&mut [0; 3], 20..25);
    }

    #[test]
    fn error_of_the_caller_ends_encoding_and_decoding() {
        let each = |at, _: &[u8]| if at > 0 { Err(at) } else { Ok(()) };
        let all = || std::iter::once(0..PIECE * 32);
        assert_eq!(encode(all(), all(), PIECE * 4, each), Err(PIECE));
        let mut decoder = RunDecoder::default();
        assert_eq!(decoder.piece(0, &[0b101], Err), Err(0..1));
    }

    #[test]
    fn pieces_without_kept_bits_are_omitted() {
        let far = PIECE * 8 * 5;
        let size = PIECE * 7 + 1;
        let offsets = |kept: &[Range<u64>]| -> Vec<u64> {
            let pieces = pieces(kept, &[far..far + 1], size);
            pieces.iter().map(|piece| piece.0).collect()
        };
        assert_eq!(offsets(&[]), Vec::<u64>::new());
        assert_eq!(offsets(&[far..far + 1]), [PIECE * 5]);
        assert_eq!(offsets(&[0..1, far..far + 9]), [0, PIECE * 5]);
        assert_eq!(offsets(&[far - 1..far + 1]), [PIECE * 4, PIECE * 5]);
        let whole = 0..size * 8;
        let every: Vec<u64> = (0..8).map(|n| n * PIECE).collect();
        assert_eq!(offsets(&[whole]), every);
    }

    proptest! {
        #[test]
        fn runs_of_set_runs_are_those_runs(runs in close_runs(), more in 0u64..20) {
            let size = size_for(&runs, more);
            let bitmap = bitmap_of(&runs, size as usize);
            prop_assert_eq!(super::runs(&bitmap).collect::<Vec<_>>(), runs);
        }

        #[test]
        fn any_bytes_set_by_their_runs_are_those_bytes(
            bytes in prop::collection::vec(prop_oneof![Just(0), Just(0xff), any::<u8>()], 0..80),
        ) {
            let found: Vec<_> = runs(&bytes).collect();
            prop_assert_eq!(bitmap_of(&found, bytes.len()), bytes);
            prop_assert!(found.windows(2).all(|pair| pair[0].end < pair[1].start));
        }

        #[test]
        fn set_agrees_with_single_bits(
            puts in prop::collection::vec((0u64..700, 0u64..200), 0..12),
            size in 113usize..120,
        ) {
            let mut bitmap = vec![0; size];
            let mut model = BTreeSet::new();
            for (start, len) in puts {
                model.extend(start..start + len);
                set(&mut bitmap, start..start + len);
            }
            for bit in 0..1100 {
                prop_assert_eq!(is_set(&bitmap, bit), model.contains(&bit));
            }
        }

        #[test]
        fn bit_set_agrees_with_a_model(
            puts in prop::collection::vec((0u64..500, 0u64..200), 0..20),
            from in 0u64..700,
        ) {
            let (mut bits, mut model) = (BitSet::new(700), BTreeSet::new());
            for (start, len) in puts {
                let before = model.len();
                model.extend(start..start + len);
                let new = bits.insert(start..start + len);
                prop_assert_eq!(new, (model.len() - before) as u64);
                prop_assert_eq!(bits.len(), model.len() as u64);
            }
            let inside = model.contains(&from);
            let end = (from..700).find(|n| model.contains(n) != inside);
            prop_assert_eq!(bits.next_change(from..700), (inside, end.unwrap_or(700)));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn pieces_together_are_the_whole_bitmap(runs in spread_runs(), more in 0u64..PIECE * 2) {
            let size = size_for(&runs, more);
            let pieces = pieces(&runs, &runs, size);
            let mut whole = vec![0; size as usize];
            for (at, piece) in &pieces {
                prop_assert!(piece.len() as u64 <= PIECE);
                whole[*at as usize..][..piece.len()].copy_from_slice(piece);
            }
            prop_assert!(whole == bitmap_of(&runs, size as usize));
            prop_assert_eq!(decoded(&pieces), runs);
        }

        #[test]
        fn run_over_pieces_is_decoded_as_one(runs in close_runs(), size in 1usize..9) {
            let bitmap = bitmap_of(&runs, size_for(&runs, 3) as usize);
            let pieces: Vec<_> = bitmap
                .chunks(size)
                .enumerate()
                .filter(|(_, piece)| piece.iter().any(|byte| *byte != 0))
                .map(|(index, piece)| ((index * size) as u64, piece.to_vec()))
                .collect();
            prop_assert_eq!(decoded(&pieces), runs);
        }

        #[test]
        fn runs_outside_kept_pieces_are_omitted(runs in spread_runs(), kept in spread_runs()) {
            let size = size_for(&runs, 0).max(size_for(&kept, 0));
            let whole = bitmap_of(&runs, size as usize);
            for (at, piece) in pieces(&kept, &runs, size) {
                prop_assert!(piece == whole[at as usize..][..piece.len()]);
            }
        }
    }
}

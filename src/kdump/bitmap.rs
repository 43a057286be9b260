//! Page bitmaps: one bit for each page frame, lowest bit of a byte first.
//!
//! Source: makedumpfile `IMPLEMENTATION`, "1st-bitmap" and "2nd-bitmap". Bitmaps of Windows dumps are
//! the same.
#![forbid(unsafe_code)]

use std::iter::Peekable;
use std::ops::Range;

/// Sets the bits from `bits.start` up to `bits.end` in `bitmap`.
///
/// # Panics
///
/// If the bitmap is shorter than that.
pub fn set_bits(bitmap: &mut [u8], bits: Range<u64>) {
    if bits.is_empty() {
        return;
    }
    let (first, last) = (bits.start / 8, (bits.end - 1) / 8);
    let (first_mask, last_mask) = (0xff << (bits.start % 8), 0xff >> (7 - (bits.end - 1) % 8));
    let bytes = &mut bitmap[first as usize..=last as usize];
    if let [only] = bytes {
        *only |= first_mask & last_mask;
    } else if let [first, between @ .., last] = bytes {
        *first |= first_mask;
        between.fill(0xff);
        *last |= last_mask;
    }
}

/// Whether bit `index` is set; a bit past the end is not.
#[must_use]
pub fn get_bit(bitmap: &[u8], index: u64) -> bool {
    usize::try_from(index / 8)
        .ok()
        .and_then(|byte| bitmap.get(byte))
        .is_some_and(|byte| byte >> (index % 8) & 1 == 1)
}

/// The runs of set bits of `bitmap`, in order. No run is empty, and no two touch each other.
pub fn runs(bitmap: &[u8]) -> impl Iterator<Item = Range<u64>> + '_ {
    let mut next = 0;
    std::iter::from_fn(move || {
        let start = next_bit(bitmap, next, true)?;
        let end = next_bit(bitmap, start, false).unwrap_or(bitmap.len() as u64 * 8);
        next = end;
        Some(start..end)
    })
}

/// The first bit from `from` on that has the value `set`.
fn next_bit(bitmap: &[u8], from: u64, set: bool) -> Option<u64> {
    let first = usize::try_from(from / 8).ok()?;
    // The bits that are looked for are ones.
    let wanted = |byte: &u8| if set { *byte } else { !*byte };
    let rest = wanted(bitmap.get(first)?) >> (from % 8);
    if rest != 0 {
        return Some(from + u64::from(rest.trailing_zeros()));
    }
    let later = &bitmap[first + 1..];
    let index = later.iter().position(|byte| wanted(byte) != 0)?;
    let bit = wanted(&later[index]).trailing_zeros();
    Some((first + 1 + index) as u64 * 8 + u64::from(bit))
}

/// Makes a bitmap of `size` bytes in which the bits of `runs` are set, piece by piece: `each` gets a
/// piece and its offset in the bitmap. Pieces in which `all` has no bit are omitted, so that gaps in
/// the guest's memory cost nothing. Both ascend, and `all` contains all of `runs`.
pub(crate) fn for_each_piece<E>(
    all: impl Iterator<Item = Range<u64>>,
    runs: impl Iterator<Item = Range<u64>>,
    size: u64,
    mut each: impl FnMut(u64, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    const PIECE: u64 = 1 << 20;
    let mut piece = vec![0; size.min(PIECE) as usize];
    let (mut all, mut runs) = (all.peekable(), runs.peekable());
    let mut start = 0;
    while start < size {
        let next = all.peek().map_or(size, |run| run.start / 8);
        if next >= start + PIECE {
            start = next - next % PIECE;
            continue;
        }
        let piece = &mut piece[..(size - start).min(PIECE) as usize];
        piece.fill(0);
        let bits = start * 8..(start + piece.len() as u64) * 8;
        take_runs(&mut all, &bits, |_| {});
        take_runs(&mut runs, &bits, |run| {
            set_bits(piece, run.start - bits.start..run.end - bits.start);
        });
        each(start, piece)?;
        start += PIECE;
    }
    Ok(())
}

/// Calls `each` with the parts of `runs` that lie in `bits`. A run that goes on after them stays.
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lowest_bit_of_a_byte_is_the_first_page_frame() {
        let mut bitmap = [0; 4];
        set_bits(&mut bitmap, 3..3);
        set_bits(&mut bitmap, 1..3);
        set_bits(&mut bitmap, 7..25);
        assert_eq!(bitmap, [0b1000_0110, 0xff, 0xff, 1]);
        let all: Vec<_> = runs(&bitmap).collect();
        assert_eq!(all, [1..3, 7..25]);
    }

    proptest! {
        #[test]
        fn set_range_has_the_bits_of_the_range_alone(start in 0u64..100, len in 0u64..100) {
            let mut bitmap = [0; 25];
            set_bits(&mut bitmap, start..start + len);
            for bit in 0..300 {
                prop_assert_eq!(get_bit(&bitmap, bit), (start..start + len).contains(&bit));
            }
        }

        #[test]
        fn runs_are_the_set_bits_and_do_not_touch(
            bitmap in prop::collection::vec(prop_oneof![Just(0), Just(0xff), any::<u8>()], 0..40),
        ) {
            let all: Vec<_> = runs(&bitmap).collect();
            prop_assert!(all.iter().all(|run| !run.is_empty()));
            prop_assert!(all.windows(2).all(|pair| pair[0].end < pair[1].start));
            for bit in 0..bitmap.len() as u64 * 8 {
                let inside = all.iter().any(|run| run.contains(&bit));
                prop_assert_eq!(inside, get_bit(&bitmap, bit));
            }
        }
    }
}

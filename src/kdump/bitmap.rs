//! Page bitmaps: one bit for each page frame, lowest bit of a byte first.
//!
//! Source: makedumpfile `IMPLEMENTATION`, "1st-bitmap" and "2nd-bitmap".
#![forbid(unsafe_code)]

use std::iter::Peekable;
use std::ops::Range;

use crate::selection::FrameRun;

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

/// Whether bit `index` is set; bits past the end are not.
#[must_use]
pub fn get_bit(bitmap: &[u8], index: u64) -> bool {
    usize::try_from(index / 8)
        .ok()
        .and_then(|byte| bitmap.get(byte))
        .is_some_and(|byte| byte >> (index % 8) & 1 == 1)
}

/// Makes a bitmap of `size` bytes in which the bits of `runs` are set, piece
/// by piece: `each` is given a piece and its offset in the bitmap. Pieces in
/// which `all` has no bit are left out, so that gaps in the guest's memory
/// cost nothing. Both ascend, and `all` has all of `runs`.
pub(crate) fn for_each_piece<E>(
    all: impl Iterator<Item = FrameRun>,
    runs: impl Iterator<Item = FrameRun>,
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
            set_bits(piece, run.start - bits.start..run.end() - bits.start);
        });
        each(start, piece)?;
        start += PIECE;
    }
    Ok(())
}

/// Calls `each` with what of `runs` lies in `bits`. A run that goes on behind
/// them stays.
fn take_runs(
    runs: &mut Peekable<impl Iterator<Item = FrameRun>>,
    bits: &Range<u64>,
    mut each: impl FnMut(FrameRun),
) {
    while let Some(run) = runs.peek() {
        if let Some(inside) = run.clipped(bits) {
            each(inside);
        }
        if run.end() > bits.end {
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
    fn bitmap_bytes() {
        let mut bitmap = [0; 4];
        set_bits(&mut bitmap, 3..3);
        set_bits(&mut bitmap, 1..3);
        set_bits(&mut bitmap, 7..25);
        assert_eq!(bitmap, [0b1000_0110, 0xff, 0xff, 1]);
    }

    proptest! {
        #[test]
        fn as_one_bit_after_the_other(start in 0u64..100, len in 0u64..100) {
            let mut bitmap = [0; 25];
            set_bits(&mut bitmap, start..start + len);
            for bit in 0..300 {
                prop_assert_eq!(get_bit(&bitmap, bit), (start..start + len).contains(&bit));
            }
        }
    }
}

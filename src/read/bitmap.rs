//! Page bitmaps in a dump: the runs of their set bits.
#![forbid(unsafe_code)]

use std::ops::Range;

use crate::bitmap::RunDecoder;
use crate::read::{Input, VmcoreError};
use crate::selection::FrameRun;

/// The most bytes of a bitmap that are read at once.
const PIECE: u64 = 64 << 10;

/// Calls `each` for the runs of set bits in the bitmap that lies in the bytes
/// `bitmap` of the dump.
///
/// The runs ascend, do not touch, and count from the bitmap's first bit. Holes
/// of the dump are skipped.
pub(crate) fn for_each_run(
    input: &Input,
    bitmap: Range<u64>,
    mut each: impl FnMut(FrameRun) -> Result<(), VmcoreError>,
) -> Result<(), VmcoreError> {
    let mut each = |bits: Range<u64>| {
        each(FrameRun {
            start: bits.start,
            count: bits.end - bits.start,
        })
    };
    let mut decoder = RunDecoder::default();
    let mut buf = vec![0; PIECE.min(bitmap.end - bitmap.start) as usize];
    let mut at = bitmap.start;
    loop {
        at = input.skip_hole(at, bitmap.end);
        if at >= bitmap.end {
            break;
        }
        let piece = &mut buf[..(bitmap.end - at).min(PIECE) as usize];
        input.read_at(at, piece)?;
        decoder.piece((at - bitmap.start) * 8, piece, &mut each)?;
        at += piece.len() as u64;
    }
    decoder.finish().map_or(Ok(()), each)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    /// The numbers of the set bits, by the runs that are found in them.
    fn found(bitmap: &[u8], offset: usize) -> Vec<u64> {
        let mut bytes = vec![0xff; offset];
        bytes.extend(bitmap);
        bytes.push(0xff);
        let end = offset as u64 + bitmap.len() as u64;
        let input = Input::open(Arc::new(bytes)).unwrap();
        let mut bits = Vec::new();
        for_each_run(&input, offset as u64..end, |run| {
            assert!(run.count > 0 && bits.last().is_none_or(|last| last + 1 < run.start));
            bits.extend(run.start..run.end());
            Ok(())
        })
        .unwrap();
        bits
    }

    fn set_bits(bitmap: &[u8]) -> Vec<u64> {
        let is_set = |bit: &u64| bitmap[(bit / 8) as usize] >> (bit % 8) & 1 == 1;
        (0..bitmap.len() as u64 * 8).filter(is_set).collect()
    }

    proptest! {
        #[test]
        fn runs_have_the_set_bits(
            bitmap in prop::collection::vec(
                prop_oneof![Just(0), Just(0xff), any::<u8>()],
                0..40,
            ),
            offset in 0..20usize,
        ) {
            prop_assert_eq!(found(&bitmap, offset), set_bits(&bitmap));
        }
    }

    #[test]
    fn a_run_over_the_end_of_a_piece_is_one_run() {
        let mut bitmap = vec![0; 2 * PIECE as usize + 3];
        bitmap[PIECE as usize - 1..PIECE as usize + 9].fill(0xff);
        bitmap[2 * PIECE as usize + 2] = 0x80;
        assert_eq!(found(&bitmap, 5), set_bits(&bitmap));
    }
}

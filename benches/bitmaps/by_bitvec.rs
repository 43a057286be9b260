//! The functions of `guestdump::bitmap` on the crate `bitvec`.

use std::hint::black_box;
use std::ops::Range;

use bitvec::prelude::{BitSlice, BitVec, Lsb0};

use super::{Bitmaps, FRAMES, READ_SIZE, changes};

pub(crate) struct ByBitvec;

fn indexes(bits: &Range<u64>) -> Range<usize> {
    bits.start as usize..bits.end as usize
}

impl Bitmaps for ByBitvec {
    type Set = BitVec<u64, Lsb0>;

    fn encode(runs: &[Range<u64>]) -> u64 {
        const PIECE: usize = 1 << 20;
        let mut bytes = 0;
        let mut piece = vec![0; PIECE];
        let mut runs = runs.iter().cloned().peekable();
        for start in (0..FRAMES).step_by(PIECE * 8) {
            piece.fill(0);
            let end = start + PIECE as u64 * 8;
            let bits = BitSlice::<u8, Lsb0>::from_slice_mut(&mut piece);
            while let Some(run) = runs.peek() {
                let inside = run.start.max(start)..run.end.min(end);
                if !inside.is_empty() {
                    bits[indexes(&(inside.start - start..inside.end - start))].fill(true);
                }
                if run.end > end {
                    break;
                }
                runs.next();
            }
            bytes += black_box(&piece).len() as u64;
        }
        bytes
    }

    fn decode(bitmap: &[u8]) -> (u64, u64) {
        let (mut runs, mut pages) = (0, 0);
        let mut open: Option<Range<u64>> = None;
        for (first, piece) in (0..).step_by(READ_SIZE * 8).zip(bitmap.chunks(READ_SIZE)) {
            let bits = BitSlice::<u8, Lsb0>::from_slice(piece);
            let mut at = 0;
            while let Some(zeroes) = bits[at..].first_one() {
                let start = at + zeroes;
                at = start + bits[start..].leading_ones();
                let run = first + start as u64..first + at as u64;
                match &mut open {
                    Some(open) if open.end == run.start => open.end = run.end,
                    open => {
                        if let Some(complete) = open.replace(run) {
                            runs += 1;
                            pages += complete.end - complete.start;
                        }
                    }
                }
            }
        }
        if let Some(complete) = open {
            runs += 1;
            pages += complete.end - complete.start;
        }
        (runs, pages)
    }

    fn set(runs: &[Range<u64>]) -> (Self::Set, u64) {
        let mut set = BitVec::repeat(false, FRAMES as usize);
        let new = runs.iter().map(|run| {
            let bits = &mut set[indexes(run)];
            let new = bits.count_zeros() as u64;
            bits.fill(true);
            new
        });
        let new = new.sum();
        (set, new)
    }

    fn changes(set: &Self::Set) -> u64 {
        changes(|at| {
            let rest = &set[indexes(&(at..FRAMES))];
            let inside = rest[0];
            let len = if inside {
                rest.leading_ones()
            } else {
                rest.leading_zeros()
            };
            (inside, at + len as u64)
        })
    }
}

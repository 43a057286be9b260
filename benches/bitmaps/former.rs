//! The bitmaps of commit c0bf5b3: `kdump/bitmap.rs`, `kdump/reader.rs` and
//! `pipeline/frames.rs`, without the reading of files and the list of RAM.

use std::hint::black_box;
use std::iter::Peekable;
use std::ops::Range;

use super::{Bitmaps, FRAMES, READ_SIZE, changes};

pub(crate) struct Former;

#[derive(Clone, Copy)]
struct FrameRun {
    start: u64,
    count: u64,
}

impl FrameRun {
    fn end(&self) -> u64 {
        self.start + self.count
    }

    fn clipped(&self, frames: &Range<u64>) -> Option<Self> {
        let start = self.start.max(frames.start);
        let count = self.end().min(frames.end).checked_sub(start)?;
        (count > 0).then_some(Self { start, count })
    }
}

fn of_range(run: &Range<u64>) -> FrameRun {
    FrameRun {
        start: run.start,
        count: run.end - run.start,
    }
}

impl Bitmaps for Former {
    type Set = Vec<u64>;

    fn encode(runs: &[Range<u64>]) -> u64 {
        let mut bytes = 0;
        let each = |_, piece: &[u8]| {
            bytes += black_box(piece).len() as u64;
            Ok(())
        };
        let all = std::iter::once(of_range(&(0..FRAMES)));
        for_each_piece(all, runs.iter().map(of_range), FRAMES / 8, each).unwrap();
        bytes
    }

    fn decode(bitmap: &[u8]) -> (u64, u64) {
        let (mut runs, mut pages) = (0, 0);
        // Readers joined what was cut at the end of a piece.
        let mut end = u64::MAX;
        for_each_run(bitmap, |run| {
            runs += u64::from(run.start != end);
            pages += run.count;
            end = run.end();
            Ok(())
        })
        .unwrap();
        (runs, pages)
    }

    fn set(runs: &[Range<u64>]) -> (Self::Set, u64) {
        let mut bits = vec![0; FRAMES.div_ceil(64) as usize];
        let new = runs.iter().map(|run| set(&mut bits, run.start, run.end));
        let new = new.sum();
        (bits, new)
    }

    fn changes(bits: &Self::Set) -> u64 {
        changes(|at| next_change(bits, at, FRAMES))
    }
}

pub(crate) fn set_bits(bitmap: &mut [u8], bits: Range<u64>) {
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

fn for_each_piece(
    all: impl Iterator<Item = FrameRun>,
    runs: impl Iterator<Item = FrameRun>,
    size: u64,
    mut each: impl FnMut(u64, &[u8]) -> std::io::Result<()>,
) -> std::io::Result<()> {
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

fn for_each_run(
    bitmap: &[u8],
    mut each: impl FnMut(FrameRun) -> std::io::Result<()>,
) -> std::io::Result<()> {
    for (at, piece) in (0..).step_by(READ_SIZE).zip(bitmap.chunks(READ_SIZE)) {
        let mut run: Option<FrameRun> = None;
        for (frame, &byte) in (at * 8..).step_by(8).zip(piece.iter()) {
            if byte == 0xff
                && let Some(run) = &mut run
            {
                run.count += 8;
                continue;
            }
            for bit in 0..8 {
                let set = byte >> bit & 1 == 1;
                match &mut run {
                    Some(run) if set => run.count += 1,
                    None if set => {
                        run = Some(FrameRun {
                            start: frame + bit,
                            count: 1,
                        });
                    }
                    Some(ended) => {
                        each(*ended)?;
                        run = None;
                    }
                    None => {
                        if byte >> bit == 0 {
                            break;
                        }
                    }
                }
            }
        }
        if let Some(run) = run {
            each(run)?;
        }
    }
    Ok(())
}

fn set(bits: &mut [u64], start: u64, end: u64) -> u64 {
    let mut new = 0;
    let mut at = start;
    while at < end {
        let stop = end.min((at / 64 + 1) * 64);
        let ones = u64::MAX >> (64 - (stop - at)) << (at % 64);
        let word = &mut bits[(at / 64) as usize];
        new += u64::from((ones & !*word).count_ones());
        *word |= ones;
        at = stop;
    }
    new
}

fn next_change(bits: &[u64], bit: u64, stop: u64) -> (bool, u64) {
    let is_in = bits[(bit / 64) as usize] >> (bit % 64) & 1 == 1;
    let mut at = bit;
    while at < stop {
        let word = bits[(at / 64) as usize];
        let other = if is_in { !word } else { word } >> (at % 64);
        if other != 0 {
            at += u64::from(other.trailing_zeros());
            break;
        }
        at = (at / 64 + 1) * 64;
    }
    (is_in, at.min(stop))
}

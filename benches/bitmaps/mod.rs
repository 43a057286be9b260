//! Three implementations of page bitmaps: `guestdump::bitmap`, the code that it
//! replaced, and the crate `bitvec`.

pub(crate) mod by_bitvec;
pub(crate) mod former;

use std::hint::black_box;
use std::ops::Range;

use testkit::Random;

/// Page frames of a guest with 64 GiB of memory.
pub(crate) const FRAMES: u64 = (64 << 30) / 4096;

/// Bytes that a reader reads at once.
const READ_SIZE: usize = 64 << 10;

/// Runs of page frames in use, by name of the pattern.
pub(crate) fn patterns() -> [(&'static str, Vec<Range<u64>>); 3] {
    [
        // Every other page.
        ("alternate", runs(|_| (1, 1))),
        // Blocks of 1 to 64 pages, as a guest that ran for long has them.
        (
            "fragmented",
            runs(|random| (1 + random % 64, 1 + random / 64 % 64)),
        ),
        // 512 MiB in use, 2 MiB free.
        ("long", runs(|_| (131_072, 512))),
    ]
}

/// Runs of as many frames, and gaps after them, as `next` makes of a number.
fn runs(next: impl Fn(u64) -> (u64, u64)) -> Vec<Range<u64>> {
    let (mut runs, mut at, mut random) = (Vec::new(), 1, Random::new(1));
    loop {
        let (count, gap) = next(random.word() >> 40);
        if at + count > FRAMES {
            return runs;
        }
        runs.push(at..at + count);
        at += count + gap;
    }
}

/// What the patterns are measured with.
pub(crate) trait Bitmaps {
    type Set;
    /// Encodes `runs` in pieces. Returns the number of bytes.
    fn encode(runs: &[Range<u64>]) -> u64;
    /// Decodes the runs of a bitmap that is read in pieces. Returns how many
    /// runs and pages there are.
    fn decode(bitmap: &[u8]) -> (u64, u64);
    /// Makes a set of `runs`. Returns how many frames it has, too.
    fn set(runs: &[Range<u64>]) -> (Self::Set, u64);
    /// Visits the changes of a set. Returns how many there are.
    fn changes(set: &Self::Set) -> u64;
}

/// `guestdump::bitmap`.
pub(crate) struct Present;

impl Bitmaps for Present {
    type Set = guestdump::bitmap::BitSet;

    fn encode(runs: &[Range<u64>]) -> u64 {
        let mut bytes = 0;
        let each = |_, piece: &[u8]| {
            bytes += black_box(piece).len() as u64;
            Ok::<_, std::io::Error>(())
        };
        guestdump::bitmap::encode(
            std::iter::once(0..FRAMES),
            runs.iter().cloned(),
            FRAMES / 8,
            each,
        )
        .unwrap();
        bytes
    }

    fn decode(bitmap: &[u8]) -> (u64, u64) {
        let (mut runs, mut pages) = (0, 0);
        let mut each = |run: Range<u64>| {
            runs += 1;
            pages += run.end - run.start;
            Ok::<_, std::io::Error>(())
        };
        let mut decoder = guestdump::bitmap::RunDecoder::default();
        for (first, piece) in (0..).step_by(READ_SIZE * 8).zip(bitmap.chunks(READ_SIZE)) {
            decoder.piece(first, piece, &mut each).unwrap();
        }
        decoder.finish().map(each);
        (runs, pages)
    }

    fn set(runs: &[Range<u64>]) -> (Self::Set, u64) {
        let mut set = Self::Set::new(FRAMES);
        let new = runs.iter().map(|run| set.insert(run.clone())).sum();
        (set, new)
    }

    fn changes(set: &Self::Set) -> u64 {
        changes(|at| set.next_change(at..FRAMES))
    }
}

/// Visits all changes that `next` finds.
fn changes(next: impl Fn(u64) -> (bool, u64)) -> u64 {
    let (mut at, mut found) = (0, 0);
    while at < FRAMES {
        let (inside, end) = next(at);
        found += 1 + u64::from(black_box(inside));
        at = end;
    }
    found
}

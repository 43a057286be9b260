//! What some bytes of a page say about all of it: whether it is worth
//! compressing, and which pages may be the same.
#![forbid(unsafe_code)]

/// A piece of a page of which one line is looked at.
const PIECE: usize = 512;
const LINE: usize = 64;
const WORD: usize = size_of::<u64>();

/// One eighth of a page: a line of each piece, at a different place in each,
/// because structures in memory begin at multiples of powers of 2.
fn lines(page: &[u8]) -> impl Iterator<Item = &[u8; LINE]> {
    let (pieces, _) = page.as_chunks::<PIECE>();
    pieces.iter().enumerate().map(|(number, piece)| {
        let (lines, _) = piece.as_chunks::<LINE>();
        &lines[number * 3 % lines.len()]
    })
}

/// A hash of the sample. Pages that are the same have the same; other pages
/// may have it too.
pub(crate) fn hash(page: &[u8]) -> u64 {
    /// 2^64 divided by the golden ratio: odd, with bits everywhere.
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    // One for each word of a line, so that none waits for another.
    let mut lanes = [FACTOR; LINE / WORD];
    let mix =
        |lane: &mut u64, word: u64| *lane = (*lane ^ word).wrapping_mul(FACTOR).rotate_left(29);
    for line in lines(page) {
        let (words, _) = line.as_chunks::<WORD>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            mix(lane, u64::from_le_bytes(*word));
        }
    }
    let mut all = 0;
    for lane in lanes {
        mix(&mut all, lane);
    }
    all
}

/// Whether the page looks like random bytes, which no codec shrinks: what is
/// encrypted or compressed already. A page of which this is wrong is stored
/// as it is, which costs what compression would have saved.
pub(crate) fn looks_random(page: &[u8]) -> bool {
    let (mut len, mut high) = (0, 0);
    for line in lines(page) {
        len += line.len();
        high += line.iter().filter(|byte| **byte >= 0x80).count();
    }
    // Cheap, and true of text, of numbers and of most code.
    if high.abs_diff(len / 2) > len / 8 {
        return false;
    }
    // How many pairs of bytes are the same. Of 256 random bytes 127 are, with
    // a standard deviation of 11; of bytes that take only 180 values 181.
    let (mut counts, mut len, mut pairs) = ([0u16; 256], 0, 0);
    for line in lines(page) {
        let half = &line[..LINE / 2];
        len += half.len() as u64;
        for byte in half {
            let count = &mut counts[usize::from(*byte)];
            pairs += u64::from(*count);
            *count += 1;
        }
    }
    2 * pairs * 180 < len * len
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::codec::Codec;
    use crate::testing::Random;

    fn random(seed: u64, len: usize) -> Vec<u8> {
        Random::new(seed).bytes(len)
    }

    #[test]
    fn random_pages_are_given_up() {
        for len in [4096, 16384, 65536] {
            for seed in 0..1000 {
                assert!(looks_random(&random(seed, len)), "{len} {seed}");
            }
        }
    }

    #[test]
    fn pages_that_shrink_are_not_given_up() {
        let text: Vec<u8> = (0..1000)
            .flat_map(|n| format!("{n} ").into_bytes())
            .collect();
        let pointers: Vec<u8> = (0u64..512)
            .flat_map(|n| (0xffff_8880_0000_0000 + n * 0x9_1c40).to_le_bytes())
            .collect();
        // All byte values, none more often than the others.
        let mut few = random(1, 4096);
        few.iter_mut().for_each(|byte| *byte &= 0x9f);
        let mut zero_tail = random(2, 4096);
        zero_tail[3000..].fill(0);
        let mut zero_head = random(3, 4096);
        zero_head[..600].fill(0);
        for page in [&text[..2048], &pointers, &few, &zero_tail, &zero_head] {
            assert!(!looks_random(page));
        }
    }

    #[test]
    fn what_is_given_up_is_what_no_codec_shrinks() {
        for &codec in Codec::ALL {
            if !codec.is_available() {
                continue;
            }
            let mut compressor = codec.compressor().unwrap();
            // From all zeroes to all random.
            for zeroes in (0..4096).step_by(64) {
                let mut page = random(7, 4096);
                page[..zeroes].fill(0);
                let mut data = Vec::new();
                let shrunk = compressor.compress(&page, &mut data).unwrap();
                if looks_random(&page) && shrunk {
                    assert!(data.len() > 4096 * 9 / 10, "{codec:?} {zeroes}");
                }
            }
        }
    }

    #[test]
    fn equal_pages_have_equal_hashes_and_others_mostly_not() {
        let pages: Vec<_> = (0..1000).map(|seed| random(seed, 4096)).collect();
        let mut hashes: Vec<_> = pages.iter().map(|page| hash(page)).collect();
        assert_eq!(hash(&pages[5].clone()), hashes[5]);
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), 1000);
    }
}

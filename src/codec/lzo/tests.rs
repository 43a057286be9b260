//! Streams with every form of copies and literals, which other decompressors read.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::stream::{REACH, Stream, room};
use super::{BuiltinLzo, decompress};
use crate::codec::Compress;
use crate::testing::Random;

#[derive(Clone, Copy)]
enum Token {
    Literals(usize),
    /// Distance and length.
    Copy(usize, usize),
}
use Token::{Copy as Repeat, Literals};

/// The page that `tokens` produce. Its literals do not repeat soon.
fn page_of(tokens: &[Token]) -> Vec<u8> {
    let mut page = Vec::new();
    let mut random = Random::new(1);
    for token in tokens {
        match *token {
            Literals(count) => page.extend(random.bytes(count)),
            Repeat(distance, len) => {
                for at in page.len()..page.len() + len {
                    page.push(page[at - distance]);
                }
            }
        }
    }
    page
}

fn stream_of(tokens: &[Token], page: &[u8]) -> Vec<u8> {
    let mut buffer = vec![0xa5; room(page.len())];
    let mut stream = Stream::new(&mut buffer);
    let mut at = 0;
    for token in tokens {
        match *token {
            Literals(count) => {
                stream.literals(page, at, at + count);
                at += count;
            }
            Repeat(distance, len) => {
                stream.copy(distance, len);
                at += len;
            }
        }
    }
    assert_eq!(at, page.len());
    stream.finish().to_vec()
}

/// lzokay and, in a build with it, minilzo's safe decompressor read `page` back.
fn assert_read_back(stream: &[u8], page: &[u8]) {
    let mut back = vec![0; page.len()];
    assert_eq!(decompress(stream, &mut back).unwrap(), page.len());
    assert!(back == page, "lzokay");
    #[cfg(feature = "minilzo")]
    {
        let lzo = minilzo_rs::LZO::init().unwrap();
        let back = lzo.decompress_safe(stream, page.len()).unwrap();
        assert!(back == page, "minilzo");
    }
}

fn assert_tokens_read_back(tokens: &[Token]) {
    let page = page_of(tokens);
    assert_read_back(&stream_of(tokens, &page), &page);
}

/// Compresses `page`, reads it back, and returns the stream's length.
fn compressed_len(page: &[u8]) -> usize {
    let mut lzo = BuiltinLzo::new();
    let stream = lzo.compress(page).unwrap().unwrap();
    assert_read_back(stream, page);
    stream.len()
}

/// The last length of each form, and the first of the next.
const LENGTHS: &[usize] = &[
    4, 5, 8, 9, 10, 11, 12, 33, 34, 35, 64, 65, 128, 263, 264, 265, 287, 288, 289, 1000, 4000,
];
const DISTANCES: &[usize] = &[
    1,
    2,
    7,
    8,
    9,
    2047,
    2048,
    2049,
    16383,
    16384,
    16385,
    16386,
    32767,
    32768,
    32769,
    REACH - 1,
];
const RUNS: &[usize] = &[
    1, 2, 3, 4, 5, 16, 17, 18, 19, 237, 238, 239, 255, 256, 257, 273, 274, 528, 529, 4000, 66000,
];

#[test]
fn every_form_of_copy_is_read_back() {
    for &distance in DISTANCES {
        let mut tokens = vec![Literals(REACH)];
        let mut runs = RUNS.iter().cycle();
        for &len in LENGTHS {
            // After literals, after a copy, and before each number of literals that a
            // copy counts.
            for few in 0..=4 {
                tokens.push(Repeat(distance, len));
                tokens.push(Repeat(distance, len));
                if few > 0 {
                    tokens.push(Literals(few));
                    tokens.push(Repeat(distance, len));
                    tokens.push(Literals(*runs.next().unwrap()));
                }
            }
        }
        assert_tokens_read_back(&tokens);
    }
}

#[test]
fn every_form_of_literals_is_read_back_at_begin_and_end() {
    for &first in RUNS {
        assert_tokens_read_back(&[Literals(first)]);
        for &last in RUNS {
            assert_tokens_read_back(&[Literals(first), Repeat(1, 4)]);
            assert_tokens_read_back(&[Literals(first), Repeat(1, 4), Literals(last)]);
            assert_tokens_read_back(&[
                Literals(first),
                Repeat(1, 300),
                Literals(last),
                Repeat(first.min(REACH - 1), 7),
            ]);
        }
    }
}

#[test]
fn the_bytes_are_those_of_the_kernels_description() {
    let bytes = |tokens: &[Token]| stream_of(tokens, &page_of(tokens));
    let page = page_of(&[Literals(19)]);
    let literals = |from: usize, len: usize| page[from..from + len].iter().copied();

    let near = bytes(&[Literals(3), Repeat(2, 4)]);
    let mut expected = vec![17 + 3];
    expected.extend(literals(0, 3));
    expected.extend([0b0110_0100, 0, 0x11, 0, 0]);
    assert_eq!(near, expected);

    let middle = bytes(&[Literals(4), Repeat(3, 33), Literals(2), Repeat(1, 9)]);
    let mut expected = vec![17 + 4];
    expected.extend(literals(0, 4));
    expected.extend([0b0011_1111, 2 << 2 | 2, 0]);
    expected.extend(literals(4, 2));
    expected.extend([0b0010_0111, 0, 0, 0x11, 0, 0]);
    assert_eq!(middle, expected);

    let long = bytes(&[Literals(4), Repeat(1, 34), Literals(4), Repeat(1, 4)]);
    let mut expected = vec![17 + 4];
    expected.extend(literals(0, 4));
    expected.extend([0b0010_0000, 1, 0, 0, 1]);
    expected.extend(literals(4, 4));
    expected.extend([0b0110_0000, 0, 0x11, 0, 0]);
    assert_eq!(long, expected);

    let far = bytes(&[Literals(16385), Repeat(16385, 4), Literals(3)]);
    assert_eq!(far[0], 0);
    let end = &far[far.len() - 9..];
    assert_eq!(end[..3], [0b0001_0010, 1 << 2 | 3, 0]);
    assert_eq!(end[6..], [0x11, 0, 0]);
}

#[test]
fn short_pages_and_pages_longer_than_a_reach_are_read_back() {
    let several = [REACH - 1, REACH, REACH + 1, REACH + 9, 2 * REACH + 100];
    for len in (1..64).chain([4095, 4096, 4097, 8192]).chain(several) {
        compressed_len(&vec![7; len]);
        let bytes = |byte: fn(usize) -> usize| (0..len).map(|at| byte(at) as u8).collect();
        let pages: [Vec<u8>; 2] = [bytes(|at| at), bytes(|at| (at * at) >> 3)];
        pages.iter().for_each(|page| _ = compressed_len(page));
    }
}

#[test]
fn repeated_bytes_become_copies() {
    let zeroes = compressed_len(&[0; 4096]);
    assert!(zeroes < 32, "{zeroes}");
    // Each pointer after the first is a copy and two literals.
    let pointers: Vec<u8> = (0..512u64)
        .flat_map(|n| (0xffff_8880_0000_0000 | (n * 64)).to_le_bytes())
        .collect();
    let len = compressed_len(&pointers);
    assert!(len < 4096 * 5 / 8, "{len}");
}

#[test]
fn incompressible_pages_fit_into_the_buffer() {
    for len in [1, 4096, 16384, 65536, 1 << 20] {
        let page = page_of(&[Literals(len)]);
        assert!(compressed_len(&page) > len);
    }
}

proptest! {
    #[test]
    fn pages_of_repeated_pieces_are_read_back(
        pieces in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), 1usize..30), 1..200)
    ) {
        let page: Vec<u8> = pieces.iter().flat_map(|(piece, times)| piece.repeat(*times)).collect();
        prop_assume!(!page.is_empty());
        compressed_len(&page);
    }

    #[test]
    fn random_tokens_are_read_back(
        tokens in prop::collection::vec((1usize..400, 1usize..REACH, 4usize..400), 1..100)
    ) {
        let mut all = vec![Literals(300)];
        let mut len = 300;
        for (count, distance, copied) in tokens {
            all.extend([Repeat(1 + distance % len.min(REACH - 1), copied), Literals(count)]);
            len += copied + count;
        }
        assert_tokens_read_back(&all);
    }
}

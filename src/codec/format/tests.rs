//! Streams of tokens that reach every form of them, read by others' decompressors.
#![allow(clippy::unwrap_used)]

use crate::codec::Codec;
use crate::codec::lz77::Tokens;

#[derive(Clone, Copy)]
enum Token {
    Literals(usize),
    /// Distance and length.
    Copy(usize, usize),
}
use Token::{Copy as Repeat, Literals};

/// The page that `tokens` stand for. Its literals do not repeat soon.
fn page_of(tokens: &[Token]) -> Vec<u8> {
    let mut page = Vec::new();
    let mut state = 1u64;
    for token in tokens {
        match *token {
            Literals(count) => page.extend((0..count).map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 56) as u8
            })),
            Repeat(distance, len) => {
                for at in page.len()..page.len() + len {
                    page.push(page[at - distance]);
                }
            }
        }
    }
    page
}

fn give<T: Tokens>(stream: &mut T, tokens: &[Token], page: &[u8]) {
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
}

#[cfg(feature = "lzo")]
fn lzo1x(tokens: &[Token], page: &[u8]) -> Vec<u8> {
    use super::lzo1x::Lzo1x;
    let mut buffer = vec![0xa5; Lzo1x::room(page.len())];
    let mut stream = Lzo1x::new(&mut buffer);
    give(&mut stream, tokens, page);
    stream.finish().to_vec()
}

#[cfg(feature = "snappy")]
fn snappy(tokens: &[Token], page: &[u8]) -> Vec<u8> {
    use super::snappy::Snappy;
    let mut buffer = vec![0xa5; Snappy::room(page.len())];
    let mut stream = Snappy::new(&mut buffer, page.len() as u32);
    give(&mut stream, tokens, page);
    stream.finish().to_vec()
}

/// Whether no copy is farther away than the format `T` can say.
fn are_within_reach<T: Tokens>(tokens: &[Token]) -> bool {
    let is_near = |token: &Token| !matches!(*token, Repeat(distance, _) if distance >= T::REACH);
    tokens.iter().all(is_near)
}

fn assert_read_back(tokens: &[Token]) {
    let page = page_of(tokens);
    let mut back = vec![0; page.len()];
    #[cfg(feature = "lzo")]
    if are_within_reach::<super::lzo1x::Lzo1x<'_>>(tokens) {
        let stream = lzo1x(tokens, &page);
        Codec::Lzo.decompress(&stream, &mut back).unwrap();
        assert!(back == page, "lzokay");
        #[cfg(feature = "minilzo")]
        {
            let lzo = minilzo_rs::LZO::init().unwrap();
            assert!(
                lzo.decompress_safe(&stream, page.len()).unwrap() == page,
                "minilzo"
            );
        }
    }
    #[cfg(feature = "snappy")]
    {
        assert!(are_within_reach::<super::snappy::Snappy<'_>>(tokens));
        Codec::Snappy
            .decompress(&snappy(tokens, &page), &mut back)
            .unwrap();
        assert!(back == page, "snap");
    }
}

/// What is the last of one form or the first of the next, in either format.
const LENGTHS: &[usize] = &[
    4, 5, 8, 9, 10, 11, 12, 33, 34, 59, 60, 61, 64, 65, 67, 68, 69, 128, 131, 132, 263, 264, 265,
    287, 288, 289, 1000, 4000,
];
const DISTANCES: &[usize] = &[
    1, 2, 7, 8, 9, 2047, 2048, 2049, 16383, 16384, 16385, 16386, 32767, 32768, 32769, 49151,
];
const RUNS: &[usize] = &[
    1, 2, 3, 4, 5, 16, 17, 18, 19, 59, 60, 61, 237, 238, 239, 255, 256, 257, 273, 274, 528, 529,
    4000, 66000,
];

#[test]
fn every_copy_is_read_back() {
    for &distance in DISTANCES {
        let mut tokens = vec![Literals(49152)];
        let mut runs = RUNS.iter().cycle();
        for &len in LENGTHS {
            // Behind literals, behind a copy, and before as many literals as a copy says.
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
        assert_read_back(&tokens);
    }
    let farthest = [
        Literals(65535),
        Repeat(65535, 30),
        Literals(2),
        Repeat(65535, 4),
    ];
    assert_read_back(&farthest);
}

#[test]
fn every_beginning_and_end_is_read_back() {
    for &first in RUNS {
        assert_read_back(&[Literals(first)]);
        for &last in RUNS {
            assert_read_back(&[Literals(first), Repeat(1, 4)]);
            assert_read_back(&[Literals(first), Repeat(1, 4), Literals(last)]);
            assert_read_back(&[
                Literals(first),
                Repeat(1, 300),
                Literals(last),
                Repeat(first.min(49151), 7),
            ]);
        }
    }
}

/// The examples of the formats' descriptions.
#[test]
fn the_bytes_are_those_of_the_descriptions() {
    let tokens = [Literals(3), Repeat(2, 4)];
    let page = page_of(&tokens);
    let [a, b, c] = *page.first_chunk().unwrap();
    #[cfg(feature = "snappy")]
    assert_eq!(snappy(&tokens, &page), [7, 2 << 2, a, b, c, 1, 2]);
    #[cfg(feature = "lzo")]
    assert_eq!(
        lzo1x(&tokens, &page),
        [17 + 3, a, b, c, 0b0110_0100, 0, 0x11, 0, 0]
    );
}

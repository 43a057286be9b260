//! The raw snappy stream, as snappy's `format_description.txt` describes it.
//!
//! The length of what was compressed, then elements: literals, and copies of at most
//! 64 bytes. The two lowest bits of an element's first byte say which.
#![forbid(unsafe_code)]

use super::stream::{BEHIND, Stream};
use crate::codec::lz77::{SHORTEST, Tokens};

const LITERAL: u8 = 0;
/// `OOOLLL01 OOOOOOOO`: 4 to 11 bytes, less than 2 KiB away.
const COPY_1: u8 = 1;
/// `LLLLLL10 OOOOOOOO OOOOOOOO`: 1 to 64 bytes, less than 64 KiB away.
const COPY_2: u8 = 2;

const COPY_1_LONGEST: usize = 11;
const COPY_1_REACH: usize = 2048;
const COPY_LONGEST: usize = 64;
/// Literals of which the tag has the count less 1; 60 and more say how many bytes behind
/// it have that, from one on.
const LITERALS_SHORT: usize = 60;

/// Writes a stream into a buffer that has room for it.
pub(in crate::codec) struct Snappy<'b> {
    stream: Stream<'b>,
}

impl<'b> Snappy<'b> {
    /// Bytes that a stream of `len` bytes takes at most, and what is written behind
    /// its end.
    pub(in crate::codec) fn room(len: usize) -> usize {
        len + len / 16 + BEHIND + 16
    }

    /// The stream of a page of `page_len` bytes. `buffer` must have
    /// [`room`](Self::room).
    pub(in crate::codec) fn new(buffer: &'b mut [u8], page_len: u32) -> Self {
        let mut stream = Stream::new(buffer);
        let mut rest = page_len;
        while rest >= 0x80 {
            stream.put([rest as u8 | 0x80]);
            rest >>= 7;
        }
        stream.put([rest as u8]);
        Self { stream }
    }

    /// The whole stream.
    pub(in crate::codec) fn finish(self) -> &'b [u8] {
        self.stream.finish()
    }

    #[inline(always)]
    fn literals_tag(&mut self, len: usize) {
        let less = len - 1;
        if less < LITERALS_SHORT {
            return self.stream.put([(less as u8) << 2 | LITERAL]);
        }
        let bytes = (less as u32).to_le_bytes();
        let needed = (u32::BITS - (less as u32).leading_zeros()).div_ceil(8) as usize;
        self.stream
            .put([((LITERALS_SHORT + needed - 1) as u8) << 2 | LITERAL]);
        self.stream.put_first(bytes, needed);
    }

    #[inline(always)]
    fn copy_2(&mut self, distance: usize, len: usize) {
        let [low, high] = (distance as u16).to_le_bytes();
        self.stream
            .put([((len - 1) as u8) << 2 | COPY_2, low, high]);
    }
}

impl Tokens for Snappy<'_> {
    const REACH: usize = 1 << 16;

    #[inline(always)]
    fn literals(&mut self, page: &[u8], from: usize, to: usize) {
        self.literals_tag(to - from);
        self.stream.put_literals(page, from, to);
    }

    #[inline(always)]
    fn copy(&mut self, distance: usize, mut len: usize) {
        // The last piece must not be too short for a copy of two bytes.
        while len >= COPY_LONGEST + SHORTEST {
            self.copy_2(distance, COPY_LONGEST);
            len -= COPY_LONGEST;
        }
        if len > COPY_LONGEST {
            self.copy_2(distance, COPY_LONGEST - SHORTEST);
            len -= COPY_LONGEST - SHORTEST;
        }
        if len <= COPY_1_LONGEST && distance < COPY_1_REACH {
            let tag = ((distance >> 8) << 5 | (len - SHORTEST) << 2) as u8 | COPY_1;
            self.stream.put([tag, distance as u8]);
        } else {
            self.copy_2(distance, len);
        }
    }
}

//! The LZO1X stream, as the kernel's `Documentation/staging/lzo.rst` describes it
//! (version 0, without its run-length extension).
//!
//! Instructions are copies, whose two lowest bits of the last byte but one say how
//! many literals follow, 0 to 3, and runs of at least four literals.
#![forbid(unsafe_code)]

use super::stream::{BEHIND, Stream};
use crate::codec::lz77::Tokens;

/// A copy of distance 16,384 ends the stream.
const END: [u8; 3] = [0x11, 0, 0];

/// So many literals in the first instruction, which has nothing to copy from:
/// this number is added to their count.
const FIRST: usize = 17;
const FIRST_MOST: usize = u8::MAX as usize - FIRST;

/// Literals that the copy before says.
const FEW: usize = 3;
/// A run of literals has its length less this in four bits, or 0 and more bytes.
const RUN_LESS: usize = 3;
const RUN_SHORT: usize = RUN_LESS + 15;

/// `1LLDDDSS HHHHHHHH` and `01LDDDSS HHHHHHHH`: up to 8 bytes, within 2 KiB.
const NEAR: usize = 2048;
const NEAR_LONGEST: usize = 8;

/// `001LLLLL DDDDDDSS DDDDDDDD`: within 16 KiB.
const MIDDLE: usize = 16384;
const MIDDLE_TAG: u8 = 0x20;
const MIDDLE_SHORT: usize = 2 + 31;

/// `0001HLLL DDDDDDSS DDDDDDDD`: from 16 KiB on.
const FAR_TAG: u8 = 0x10;
const FAR_SHORT: usize = 2 + 7;
const FAR_HIGH: u8 = 0x08;

/// Writes a stream into a buffer that has room for it.
pub(in crate::codec) struct Lzo1x<'b> {
    stream: Stream<'b>,
}

impl<'b> Lzo1x<'b> {
    /// Bytes that a stream of `len` bytes takes at most, and what is written behind
    /// its end.
    pub(in crate::codec) fn room(len: usize) -> usize {
        // The most is added by runs of 19 literals and a far copy of 4.
        len + len / 16 + END.len() + BEHIND + 16
    }

    /// `buffer` must have [`room`](Self::room).
    pub(in crate::codec) fn new(buffer: &'b mut [u8]) -> Self {
        Self {
            stream: Stream::new(buffer),
        }
    }

    /// The whole stream.
    pub(in crate::codec) fn finish(mut self) -> &'b [u8] {
        self.stream.put(END);
        self.stream.finish()
    }

    /// What a length is more than its bits can say.
    fn put_rest(&mut self, mut rest: usize) {
        while rest > usize::from(u8::MAX) {
            self.stream.put([0]);
            rest -= usize::from(u8::MAX);
        }
        self.stream.put([rest as u8]);
    }

    #[inline(always)]
    fn literals_tag(&mut self, len: usize) {
        if self.stream.len == 0 && len <= FIRST_MOST {
            self.stream.put([(FIRST + len) as u8]);
        } else if len <= FEW {
            self.stream.buffer[self.stream.len - 2] |= len as u8;
        } else if len <= RUN_SHORT {
            self.stream.put([(len - RUN_LESS) as u8]);
        } else {
            self.stream.put([0]);
            self.put_rest(len - RUN_SHORT);
        }
    }

    /// A copy that is longer, or farther away, than most.
    fn far_copy(&mut self, distance: usize, len: usize) {
        let (tag, short, distance) = match distance {
            ..=MIDDLE => (MIDDLE_TAG, MIDDLE_SHORT, distance - 1),
            _ => {
                let distance = distance - MIDDLE;
                let high = if distance < MIDDLE { 0 } else { FAR_HIGH };
                (FAR_TAG | high, FAR_SHORT, distance % MIDDLE)
            }
        };
        if len <= short {
            self.stream.put([tag | (len - 2) as u8]);
        } else {
            self.stream.put([tag]);
            self.put_rest(len - short);
        }
        self.stream.put(((distance << 2) as u16).to_le_bytes());
    }
}

impl Tokens for Lzo1x<'_> {
    const REACH: usize = 3 * MIDDLE;

    #[inline(always)]
    fn literals(&mut self, page: &[u8], from: usize, to: usize) {
        self.literals_tag(to - from);
        self.stream.put_literals(page, from, to);
    }

    #[inline(always)]
    fn copy(&mut self, distance: usize, len: usize) {
        if len <= NEAR_LONGEST && distance <= NEAR {
            let distance = distance - 1;
            let tag = (len - 1) << 5 | (distance & 7) << 2;
            self.stream.put([tag as u8, (distance >> 3) as u8]);
        } else if len <= MIDDLE_SHORT && distance <= MIDDLE {
            let [low, high] = (((distance - 1) << 2) as u16).to_le_bytes();
            self.stream.put([MIDDLE_TAG | (len - 2) as u8, low, high]);
        } else {
            self.far_copy(distance, len);
        }
    }
}

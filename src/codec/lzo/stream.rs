//! The LZO1X stream, as the kernel's `Documentation/staging/lzo.rst` describes it
//! (version 0, without its run-length extension).
//!
//! A stream consists of copies and of runs of at least four literals. Up to three
//! literals follow a copy directly; the two lowest bits of the copy's last byte but
//! one contain their number.
#![forbid(unsafe_code)]

/// A copy of distance 16,384 ends the stream.
const END: [u8; 3] = [0x11, 0, 0];

/// The first instruction has nothing to copy from. Up to [`FIRST_MOST`] literals are
/// stored as this number plus their count.
const FIRST: usize = 17;
const FIRST_MOST: usize = u8::MAX as usize - FIRST;

/// The most literals that the copy before them counts.
const FEW: usize = 3;
/// A run stores its length less this in four bits, or 0 and further bytes.
const RUN_LESS: usize = 3;
const RUN_SHORT: usize = RUN_LESS + 15;

/// `1LLDDDSS HHHHHHHH` and `01LDDDSS HHHHHHHH`: up to 8 bytes, within 2 KiB.
const NEAR: usize = 2048;
const NEAR_LONGEST: usize = 8;

/// `001LLLLL DDDDDDSS DDDDDDDD`: within 16 KiB.
const MIDDLE: usize = 16384;
const MIDDLE_TAG: u8 = 0x20;
const MIDDLE_SHORT: usize = 2 + 31;

/// `0001HLLL DDDDDDSS DDDDDDDD`: beyond 16 KiB.
const FAR_TAG: u8 = 0x10;
const FAR_SHORT: usize = 2 + 7;
const FAR_HIGH: u8 = 0x08;

/// The distance of every copy is less than this.
pub(super) const REACH: usize = 3 * MIDDLE;

/// Literals are copied in steps of this many bytes.
const LITERALS_AT_ONCE: usize = 16;

/// The buffer's length that any stream of `len` bytes needs.
pub(super) fn room(len: usize) -> usize {
    // Runs of 19 literals with a far copy of 4 bytes between them add most. Literals
    // may be written past the stream's end, in whole steps.
    len + len / 16 + END.len() + 2 * LITERALS_AT_ONCE + 16
}

/// Writes a stream into a buffer that has [`room`] for it.
pub(super) struct Stream<'b> {
    buffer: &'b mut [u8],
    len: usize,
}

impl<'b> Stream<'b> {
    pub(super) fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, len: 0 }
    }

    /// Ends the stream and returns it.
    pub(super) fn finish(mut self) -> &'b [u8] {
        self.put(END);
        &self.buffer[..self.len]
    }

    /// Appends `page[from..to]`, which is not empty, as literals. A copy must lie
    /// between two calls.
    #[inline(always)]
    pub(super) fn literals(&mut self, page: &[u8], from: usize, to: usize) {
        let len = to - from;
        self.literals_tag(len);
        match page[from..].first_chunk::<LITERALS_AT_ONCE>() {
            Some(literals) if len <= LITERALS_AT_ONCE => self.put_first(*literals, len),
            _ => {
                self.buffer[self.len..self.len + len].copy_from_slice(&page[from..to]);
                self.len += len;
            }
        }
    }

    /// Appends a copy of `len` bytes, at least 4, that lie `distance` bytes before,
    /// less than [`REACH`].
    #[inline(always)]
    pub(super) fn copy(&mut self, distance: usize, len: usize) {
        if len <= NEAR_LONGEST && distance <= NEAR {
            let distance = distance - 1;
            let tag = (len - 1) << 5 | (distance & 7) << 2;
            self.put([tag as u8, (distance >> 3) as u8]);
        } else if len <= MIDDLE_SHORT && distance <= MIDDLE {
            let [low, high] = (((distance - 1) << 2) as u16).to_le_bytes();
            self.put([MIDDLE_TAG | (len - 2) as u8, low, high]);
        } else {
            self.far_copy(distance, len);
        }
    }

    /// Appends a copy that is longer, or farther away, than most.
    fn far_copy(&mut self, distance: usize, len: usize) {
        let (tag, short, distance) = if distance <= MIDDLE {
            (MIDDLE_TAG, MIDDLE_SHORT, distance - 1)
        } else {
            let distance = distance - MIDDLE;
            let high = if distance < MIDDLE { 0 } else { FAR_HIGH };
            (FAR_TAG | high, FAR_SHORT, distance % MIDDLE)
        };
        if len <= short {
            self.put([tag | (len - 2) as u8]);
        } else {
            self.put([tag]);
            self.put_rest(len - short);
        }
        self.put(((distance << 2) as u16).to_le_bytes());
    }

    #[inline(always)]
    fn literals_tag(&mut self, len: usize) {
        if self.len == 0 && len <= FIRST_MOST {
            self.put([(FIRST + len) as u8]);
        } else if len <= FEW {
            self.buffer[self.len - 2] |= len as u8;
        } else if len <= RUN_SHORT {
            self.put([(len - RUN_LESS) as u8]);
        } else {
            self.put([0]);
            self.put_rest(len - RUN_SHORT);
        }
    }

    /// Appends the part of a length that its instruction has no bits for.
    fn put_rest(&mut self, mut rest: usize) {
        while rest > usize::from(u8::MAX) {
            self.put([0]);
            rest -= usize::from(u8::MAX);
        }
        self.put([rest as u8]);
    }

    #[inline(always)]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.put_first(bytes, N);
    }

    /// Appends the first `len` of `bytes`. The next call overwrites the others.
    #[inline(always)]
    fn put_first<const N: usize>(&mut self, bytes: [u8; N], len: usize) {
        self.buffer[self.len..self.len + N].copy_from_slice(&bytes);
        self.len += len;
    }
}

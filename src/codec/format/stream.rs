//! A buffer that a stream is written into.
#![forbid(unsafe_code)]

/// Literals are copied in steps of so many bytes.
const LITERALS_AT_ONCE: usize = 16;

/// So many bytes may be written behind a stream's end.
pub(super) const BEHIND: usize = 2 * LITERALS_AT_ONCE;

/// A stream so far, in a buffer that has room for all of it.
pub(super) struct Stream<'b> {
    pub(super) buffer: &'b mut [u8],
    pub(super) len: usize,
}

impl<'b> Stream<'b> {
    pub(super) fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, len: 0 }
    }

    pub(super) fn finish(self) -> &'b [u8] {
        &self.buffer[..self.len]
    }

    #[inline(always)]
    pub(super) fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.put_first(bytes, N);
    }

    /// The first `len` of some bytes. The rest is written over.
    #[inline(always)]
    pub(super) fn put_first<const N: usize>(&mut self, bytes: [u8; N], len: usize) {
        self.buffer[self.len..self.len + N].copy_from_slice(&bytes);
        self.len += len;
    }

    /// `page[from..to]`.
    #[inline(always)]
    pub(super) fn put_literals(&mut self, page: &[u8], from: usize, to: usize) {
        let len = to - from;
        match page[from..].first_chunk::<LITERALS_AT_ONCE>() {
            Some(literals) if len <= LITERALS_AT_ONCE => self.put_first(*literals, len),
            _ => {
                self.buffer[self.len..self.len + len].copy_from_slice(&page[from..to]);
                self.len += len;
            }
        }
    }
}

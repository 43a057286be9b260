//! Numbers that look random and are the same on every run.
//!
//! `tests/kit` includes this file. Unit tests cannot use it from there: the package on
//! crates.io has unit tests and no `tests/kit`.

/// A linear congruential generator with Knuth's factor.
pub struct Random(u64);

impl Random {
    /// Begins the sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits. The high ones are the more random ones.
    pub fn word(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        self.0
    }

    /// A number below `end`, or 0 if there is none.
    pub fn below(&mut self, end: usize) -> usize {
        (self.word() >> 33) as usize % end.max(1)
    }

    /// A byte of any value.
    pub fn byte(&mut self) -> u8 {
        (self.word() >> 56) as u8
    }

    /// Fills `bytes` with bytes of any value.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.byte();
        }
    }

    /// `len` bytes of any value.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.byte()).collect()
    }
}

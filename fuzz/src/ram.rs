//! Guest memory of pieces.

use std::io;

use guestdump::GuestMemory;
use guestdump::memory::{MemoryRange, SliceMemory};
use testkit::pieces::Piece;

/// RAM in one range.
pub struct Ram {
    pub start: u64,
    pub bytes: Vec<u8>,
}

impl Ram {
    /// `size` bytes from `start` on. Pieces outside of it are left out.
    pub fn new(start: u64, size: usize, pieces: &[Piece]) -> Self {
        let mut bytes = vec![0; size];
        for piece in pieces {
            let at = piece.offset as usize;
            for (to, from) in bytes.iter_mut().skip(at).zip(&piece.bytes) {
                *to = *from;
            }
        }
        Self { start, bytes }
    }

    fn slices(&self) -> SliceMemory<'_> {
        SliceMemory::new([(self.start, &self.bytes[..])]).unwrap()
    }
}

impl GuestMemory for Ram {
    fn ranges(&self) -> Vec<MemoryRange> {
        self.slices().ranges()
    }

    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        self.slices().read(gpa, buf)
    }
}

//! A sink that keeps a dump in memory.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::sink::extents::Extents;
use crate::sink::{DumpSink, PositionedSink, SinkAccess};

/// A positioned sink that keeps the dump in memory, for tests and for small guests.
///
/// Holes take no memory: a dump of one page at a high address is long, but the buffer stores what
/// was written and no more. [`read::Vmcore`](crate::read::Vmcore) opens the buffer as it is.
/// [`into_bytes`](Self::into_bytes) returns one `Vec` in which holes take memory, too.
#[derive(Debug, Default)]
pub struct BufferSink {
    extents: Mutex<Extents>,
}

impl BufferSink {
    /// Makes an empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the length of the dump in bytes, holes included.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.lock().len()
    }

    /// Returns the dump. Holes are zeroes.
    ///
    /// The `Vec` is as long as the dump, so its holes take address space, and memory on a host
    /// that does not overcommit. [`size`](Self::size) tells the length. A dump with large holes
    /// is better read from the buffer, which implements [`read::ReadAt`](crate::read::ReadAt).
    ///
    /// # Panics
    ///
    /// If there is no memory for a `Vec` of that length. [`try_into_bytes`](Self::try_into_bytes)
    /// returns an error instead.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        let len = self.size();
        match self.try_into_bytes() {
            Ok(bytes) => bytes,
            Err(error) => panic!("a dump of {len} bytes as one Vec: {error}"),
        }
    }

    /// Returns the dump, as [`into_bytes`](Self::into_bytes) does.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`](io::ErrorKind::OutOfMemory) if there is no memory for a `Vec` of that length.
    pub fn try_into_bytes(self) -> io::Result<Vec<u8>> {
        self.extents
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .try_into_bytes()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Extents> {
        self.extents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DumpSink for BufferSink {
    fn access(&mut self) -> SinkAccess<'_> {
        SinkAccess::Positioned(self)
    }
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl PositionedSink for BufferSink {
    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<usize> {
        self.lock().write(offset, buf)?;
        Ok(buf.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.lock().set_len(len);
        Ok(())
    }
}

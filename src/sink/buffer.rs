//! A sink that keeps a dump in memory.

use std::io;
use std::sync::{Mutex, PoisonError};

use crate::sink::{DumpSink, PositionedSink, SinkAccess};

/// A positioned sink that keeps the dump in memory, for tests and for small guests. Holes take as
/// much memory as data.
#[derive(Debug, Default)]
pub struct BufferSink {
    bytes: Mutex<Vec<u8>>,
}

impl BufferSink {
    /// Makes an empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the bytes that were written.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn with<R>(&self, f: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        f(&mut self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
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
        let too_large = || io::Error::from(io::ErrorKind::FileTooLarge);
        let start = usize::try_from(offset).map_err(|_| too_large())?;
        let end = start.checked_add(buf.len()).ok_or_else(too_large)?;
        self.with(|bytes| {
            if bytes.len() < end {
                bytes
                    .try_reserve(end - bytes.len())
                    .map_err(io::Error::other)?;
                bytes.resize(end, 0);
            }
            bytes[start..end].copy_from_slice(buf);
            Ok(buf.len())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        self.with(|bytes| bytes.resize(len, 0));
        Ok(())
    }
}

//! A sink that writes a dump as a stream of bytes.

use std::io;

use crate::sink::{DumpSink, SinkAccess};

/// A stream sink over any [`io::Write`]: a pipe, a socket, standard output, an upload. It writes
/// bytes strictly forward, and [`DumpSink::finish`] flushes the writer.
#[derive(Debug)]
pub struct StreamSink<W> {
    inner: W,
}

impl<W: io::Write + Send> StreamSink<W> {
    /// Makes a sink that writes to `inner`.
    pub fn new(inner: W) -> Self {
        Self { inner }
    }

    /// Returns the writer, with everything that was written to it.
    pub fn into_inner(self) -> W {
        self.inner
    }
}

impl<W: io::Write + Send> DumpSink for StreamSink<W> {
    fn access(&mut self) -> SinkAccess<'_> {
        SinkAccess::Stream(&mut self.inner)
    }

    fn finish(&mut self) -> io::Result<()> {
        retry_interrupted(|| self.inner.flush())
    }
}

pub(super) fn retry_interrupted<T>(mut f: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match f() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

//! Sinks that count or fail.

use std::io;

use guestdump::DumpSink;
use guestdump::sink::SinkAccess;

/// Takes nothing: a dump has planned all, and writes nothing.
pub struct FullSink;

impl DumpSink for FullSink {
    fn access(&mut self) -> SinkAccess<'_> {
        SinkAccess::Stream(self)
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl io::Write for FullSink {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A stream that takes few bytes at a time, and is interrupted now and then.
#[derive(Default)]
pub struct SlowStream {
    pub bytes: Vec<u8>,
    calls: usize,
}

impl DumpSink for SlowStream {
    fn access(&mut self) -> SinkAccess<'_> {
        SinkAccess::Stream(self)
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl io::Write for SlowStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.calls += 1;
        if self.calls.is_multiple_of(5) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let n = buf.len().min(1 + self.calls * 7919 % 60_000);
        self.bytes.extend_from_slice(&buf[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

//! Sinks that fail on purpose, take little at a time, or keep nothing.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use guestdump::DumpSink;
use guestdump::sink::{PositionedSink, SinkAccess};

/// How a sink misbehaves, at its `nth` write and from there on.
#[derive(Debug, Clone, Copy)]
pub enum SinkFault {
    Error(io::ErrorKind),
    WroteNothing,
    Panic,
}

/// A sink that counts calls, takes a few bytes at a time, is interrupted now
/// and then, and fails when it is told to.
#[derive(Debug, Default)]
pub struct FaultySink {
    pub bytes: Mutex<Vec<u8>>,
    pub calls: AtomicUsize,
    pub finished: bool,
    pub stream: bool,
    pub short_writes: bool,
    pub fault: Option<(usize, SinkFault)>,
}

impl FaultySink {
    /// A stream without room: a dump plans everything and writes nothing.
    pub fn full_stream() -> Self {
        Self {
            stream: true,
            fault: Some((0, SinkFault::Error(io::ErrorKind::StorageFull))),
            ..Self::default()
        }
    }

    /// A stream that takes a few bytes at a time.
    pub fn slow_stream() -> Self {
        Self {
            stream: true,
            short_writes: true,
            ..Self::default()
        }
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes.into_inner().unwrap()
    }

    pub fn len(&self) -> usize {
        self.bytes.lock().unwrap().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn take(&self, offset: Option<u64>, buf: &[u8]) -> io::Result<usize> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        match self.fault {
            Some((at, SinkFault::Error(kind))) if call >= at => return Err(kind.into()),
            Some((at, SinkFault::WroteNothing)) if call >= at => return Ok(0),
            Some((at, SinkFault::Panic)) if call >= at => panic!("the sink explodes"),
            _ => {}
        }
        if self.short_writes && call % 3 == 1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let n = if self.short_writes {
            buf.len().min(1 + call * 7919 % 5000)
        } else {
            buf.len()
        };
        let mut bytes = self.bytes.lock().unwrap();
        let start = offset.map_or(bytes.len(), |o| o as usize);
        if bytes.len() < start + n {
            bytes.resize(start + n, 0);
        }
        bytes[start..start + n].copy_from_slice(&buf[..n]);
        Ok(n)
    }
}

impl DumpSink for FaultySink {
    fn access(&mut self) -> SinkAccess<'_> {
        if self.stream {
            SinkAccess::Stream(self)
        } else {
            SinkAccess::Positioned(self)
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.finished = true;
        Ok(())
    }
}

impl PositionedSink for FaultySink {
    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<usize> {
        self.take(Some(offset), buf)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes.lock().unwrap().resize(len as usize, 0);
        Ok(())
    }
}

impl io::Write for FaultySink {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.take(None, buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A sink that takes everything and keeps nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nowhere;

impl DumpSink for Nowhere {
    fn access(&mut self) -> SinkAccess<'_> {
        SinkAccess::Positioned(self)
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl PositionedSink for Nowhere {
    fn write_at(&self, _: u64, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Ok(())
    }
}

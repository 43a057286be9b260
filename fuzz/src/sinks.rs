//! Sinks that count or fail.

use std::collections::BTreeSet;
use std::io;
use std::sync::Mutex;

use guestdump::DumpSink;
use guestdump::sink::{PositionedSink, SinkAccess};

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

/// A file on a disk of some blocks, which are taken when they are written.
pub struct Disk {
    blocks: usize,
    pub finished: bool,
    state: Mutex<(Vec<u8>, BTreeSet<u64>)>,
}

const BLOCK: u64 = 4096;

impl Disk {
    pub fn new(blocks: usize) -> Self {
        Self {
            blocks,
            finished: false,
            state: Mutex::default(),
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.state.lock().unwrap().0.clone()
    }
}

impl DumpSink for Disk {
    fn access(&mut self) -> SinkAccess<'_> {
        SinkAccess::Positioned(self)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.finished = true;
        Ok(())
    }
}

impl PositionedSink for Disk {
    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<usize> {
        let (bytes, taken) = &mut *self.state.lock().unwrap();
        let mut end = offset + buf.len() as u64;
        for block in offset / BLOCK..end.div_ceil(BLOCK) {
            if taken.len() == self.blocks && !taken.contains(&block) {
                end = end.min(block * BLOCK).max(offset);
                break;
            }
            taken.insert(block);
        }
        if end == offset {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let written = offset as usize..end as usize;
        bytes.resize(bytes.len().max(written.end), 0);
        bytes[written.clone()].copy_from_slice(&buf[..written.len()]);
        Ok(written.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let (bytes, taken) = &mut *self.state.lock().unwrap();
        bytes.resize(len as usize, 0);
        taken.retain(|block| block * BLOCK < len);
        Ok(())
    }
}

//! A file on a small disk.

use std::collections::BTreeSet;
use std::io;
use std::sync::Mutex;

use guestdump::DumpSink;
use guestdump::read::Vmcore;
use guestdump::sink::{PositionedSink, SinkAccess};

/// Bytes in a block.
const BLOCK: u64 = 4096;

/// A file on a disk whose blocks are taken when they are written.
#[derive(Debug, Default)]
pub struct Disk {
    /// How many blocks there are.
    size: usize,
    can_reserve: bool,
    /// The first write that fails, and how many writes fail.
    broken: Option<(usize, usize)>,
    /// How often the dump was finished.
    pub finished: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    taken: BTreeSet<u64>,
    writes: usize,
}

impl State {
    /// Takes blocks for these bytes, up to `size` blocks in all. Returns the number of
    /// bytes for which there was room.
    fn take(&mut self, size: usize, start: u64, len: u64) -> u64 {
        for block in start / BLOCK..(start + len).div_ceil(BLOCK) {
            if self.taken.len() == size && !self.taken.contains(&block) {
                return (block * BLOCK).saturating_sub(start);
            }
            self.taken.insert(block);
        }
        len
    }
}

impl Disk {
    /// A disk of `size` blocks.
    pub fn new(size: usize) -> Self {
        Self {
            size,
            ..Self::default()
        }
    }

    /// Whether space can be taken in advance without writing.
    pub fn can_reserve(mut self, can: bool) -> Self {
        self.can_reserve = can;
        self
    }

    /// `count` writes fail, from the write `first` on.
    pub fn broken(mut self, first: usize, count: usize) -> Self {
        self.broken = Some((first, count));
        self
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> Vec<u8> {
        self.state.lock().unwrap().bytes.clone()
    }

    /// Opens the file as a dump.
    #[track_caller]
    pub fn dump(&self) -> Vmcore {
        Vmcore::open(self.bytes()).unwrap()
    }
}

impl DumpSink for Disk {
    fn access(&mut self) -> SinkAccess<'_> {
        SinkAccess::Positioned(self)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.finished += 1;
        Ok(())
    }
}

impl PositionedSink for Disk {
    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<usize> {
        let state = &mut *self.state.lock().unwrap();
        state.writes += 1;
        if let Some((from, count)) = self.broken
            && (from..from.saturating_add(count)).contains(&(state.writes - 1))
        {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        let n = state.take(self.size, offset, buf.len() as u64) as usize;
        if n == 0 {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        let start = offset as usize;
        if state.bytes.len() < start + n {
            state.bytes.resize(start + n, 0);
        }
        state.bytes[start..start + n].copy_from_slice(&buf[..n]);
        Ok(n)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.bytes.resize(len as usize, 0);
        state.taken.retain(|block| block * BLOCK < len);
        Ok(())
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        if !self.can_reserve {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let state = &mut *self.state.lock().unwrap();
        state.bytes.resize(len as usize, 0);
        if state.take(self.size, 0, len) == len {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(libc::ENOSPC))
        }
    }
}

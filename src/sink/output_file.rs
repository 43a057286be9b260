//! An open file that a sink writes to.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::host::page_cache::WriteBehind;
use crate::sink::PositionedSink;

/// An open file that a sink writes to, at positions or as a stream.
#[derive(Debug)]
pub(super) struct OutputFile {
    pub(super) file: File,
    /// Keeps the file out of the page cache.
    behind: Option<WriteBehind>,
}

impl OutputFile {
    pub(super) fn new(file: File, nocache: bool) -> Self {
        Self {
            file,
            behind: nocache.then(WriteBehind::default),
        }
    }

    /// Records that `bytes` were written, and returns their number.
    fn wrote(&self, bytes: usize) -> io::Result<usize> {
        if let Some(behind) = &self.behind {
            behind.wrote(&self.file, bytes as u64)?;
        }
        Ok(bytes)
    }

    /// Waits until a non-blocking pipe or socket accepts more bytes.
    fn wait(&self) -> io::Result<()> {
        poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], None)?;
        Ok(())
    }

    /// Flushes the file if it is kept out of the page cache. The caller has written
    /// everything.
    pub(super) fn finish(&self) -> io::Result<()> {
        match &self.behind {
            Some(behind) => behind.finish(&self.file),
            None => Ok(()),
        }
    }
}

impl PositionedSink for OutputFile {
    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<usize> {
        self.wrote(FileExt::write_at(&self.file, buf, offset)?)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, len) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                Err(io::ErrorKind::Unsupported.into())
            }
            result => Ok(result?),
        }
    }
}

impl Write for OutputFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        loop {
            match self.file.write(buf) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.wait()?,
                result => return self.wrote(result?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

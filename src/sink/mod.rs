//! Where the bytes of a dump go: files, buffers, pipes, sockets.
//!
//! A sink hands out one of two accesses ([`SinkAccess`]): a *positioned* one,
//! to which several threads write at any offset, or a *stream*, which takes
//! bytes strictly forward. Formats that need positions are refused for a
//! stream before anything is written.
//!
//! ```
//! use guestdump::memory::SliceMemory;
//! use guestdump::sink::StreamSink;
//! use guestdump::{DumpOptions, Format, dump};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let ram = vec![1; 1 << 20];
//! let memory = SliceMemory::new([(0, &ram[..])])?;
//! // Any `io::Write`: a pipe, a socket, an upload.
//! let mut sink = StreamSink::new(Vec::new());
//! dump(&memory, &mut sink, &DumpOptions::new(Format::Elf))?;
//! assert!(sink.into_inner().starts_with(b"\x7fELF"));
//! # Ok(())
//! # }
//! ```
//!
//! As a user names it, `file:PATH`, `fd:N`, `-` or a path, and on the disk before
//! it has its name:
//!
//! ```no_run
//! # #[cfg(feature = "file")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use guestdump::sink::{FileSinkOptions, Target};
//!
//! let target: Target = "file:/var/crash/guest.vmcore".parse()?;
//! let sink = target.open(FileSinkOptions::new().sync(true))?;
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "file"))]
//! # fn main() {}
//! ```

mod buffer;
#[cfg(feature = "file")]
mod file;
mod output;
#[cfg(feature = "file")]
mod output_file;
mod stream;
#[cfg(feature = "file")]
mod target;

use std::io;

pub use buffer::BufferSink;
#[cfg(feature = "file")]
pub use file::{FdSink, FileSink, FileSinkOptions};
pub(crate) use output::{ForwardOutput, Output};
pub use stream::StreamSink;
#[cfg(feature = "file")]
pub use target::{Target, TargetError};

/// Where a dump goes.
///
/// A dump calls [`access`](Self::access) once, writes, and calls
/// [`finish`](Self::finish) once if everything went well, or if it failed and
/// what there is was to be kept ([`crate::KdumpOptions::raw_or_partial`]). After
/// any other failure `finish` is not called: a sink that is dropped unfinished must leave
/// nothing behind that looks like a finished dump.
pub trait DumpSink: Send {
    /// How this sink takes bytes.
    fn access(&mut self) -> SinkAccess<'_>;

    /// Makes the dump visible and durable as far as the sink promises it.
    ///
    /// # Errors
    ///
    /// If that fails; the dump then counts as failed.
    fn finish(&mut self) -> io::Result<()>;
}

impl<S: DumpSink + ?Sized> DumpSink for Box<S> {
    fn access(&mut self) -> SinkAccess<'_> {
        (**self).access()
    }
    fn finish(&mut self) -> io::Result<()> {
        (**self).finish()
    }
}

/// The two ways to take bytes.
#[non_exhaustive]
pub enum SinkAccess<'a> {
    /// Bytes at any offset, from several threads.
    Positioned(&'a dyn PositionedSink),
    /// Bytes strictly forward. A dump takes care of short writes, repeats
    /// interrupted ones and reports `Ok(0)` as an error.
    Stream(&'a mut (dyn io::Write + Send)),
}

impl std::fmt::Debug for SinkAccess<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Positioned(_) => "Positioned",
            Self::Stream(_) => "Stream",
        })
    }
}

/// A place that takes bytes at any offset.
///
/// It begins empty, and bytes that are never written must read as zeroes:
/// dumps leave holes for untouched memory.
pub trait PositionedSink: Sync {
    /// Writes some bytes of `buf` at `offset` and returns how many, like
    /// [`std::os::unix::fs::FileExt::write_at`]. A dump takes care of short
    /// writes, repeats interrupted ones and reports `Ok(0)` as an error.
    ///
    /// # Errors
    ///
    /// Whatever the place reports.
    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<usize>;

    /// Sets the final length in bytes, behind all that was written. A dump
    /// calls it once, before [`DumpSink::finish`]; one that is kept though it
    /// failed also cuts off what was written in vain.
    ///
    /// # Errors
    ///
    /// Whatever the place reports.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Takes the space for the first `len` bytes, so that writing them later
    /// does not fail for lack of it. They still read as zeroes. Only a dump
    /// that is to be kept if it fails asks for it, and writes zeroes where
    /// the answer is [`io::ErrorKind::Unsupported`], the default.
    ///
    /// # Errors
    ///
    /// If there is not enough space.
    fn reserve(&self, len: u64) -> io::Result<()> {
        let _ = len;
        Err(io::ErrorKind::Unsupported.into())
    }
}

//! Sinks take the bytes of a dump: files, buffers, pipes, sockets.
//!
//! A sink offers one of two kinds of access ([`SinkAccess`]). Several threads write to a
//! *positioned* sink at any offset. A *stream* takes bytes strictly forward. A format that needs
//! positions is refused for a stream before anything is written.
//!
//! ```
//! use guestdump::memory::SliceMemory;
//! use guestdump::sink::StreamSink;
//! use guestdump::{DumpOptions, Format, GuestInfo, Machine, dump};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let ram = vec![1; 1 << 20];
//! let memory = SliceMemory::new([(0, &ram[..])])?;
//! // Any `io::Write`: a pipe, a socket, an upload.
//! let mut sink = StreamSink::new(Vec::new());
//! let options = DumpOptions::new(GuestInfo::new(Machine::X86_64), Format::Elf);
//! dump(&memory, &mut sink, &options)?;
//! assert!(sink.into_inner().starts_with(b"\x7fELF"));
//! # Ok(())
//! # }
//! ```
//!
//! [`Target`] parses the name of a sink: `file:PATH`, `fd:N`, `-` or a path. The option `sync`
//! waits until the dump is on the disk before the file gets its name.
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
mod extents;
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

/// Takes the bytes of one dump.
///
/// A dump calls [`access`](Self::access) once and writes. It calls [`finish`](Self::finish) once if
/// it succeeded. It also does so if it failed and the caller asked to keep an incomplete dump
/// ([`crate::KdumpOptions::raw_or_partial`]).
///
/// After any other failure `finish` is not called. A sink that is dropped unfinished must leave
/// nothing that looks like a finished dump.
pub trait DumpSink: Send {
    /// Returns the way in which this sink takes bytes.
    fn access(&mut self) -> SinkAccess<'_>;

    /// Makes the dump visible, and durable as far as the sink promises it.
    ///
    /// # Errors
    ///
    /// If that fails. The dump then counts as failed.
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

/// The two ways in which a sink takes bytes.
pub enum SinkAccess<'a> {
    /// The sink takes bytes at any offset, from several threads.
    Positioned(&'a dyn PositionedSink),
    /// The sink takes bytes strictly forward. A dump continues after a short write, repeats an
    /// interrupted one, and reports `Ok(0)` as an error.
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

/// A sink that takes bytes at any offset.
///
/// The sink begins empty. Bytes that are never written must read as zeroes, because dumps leave
/// holes for untouched memory.
pub trait PositionedSink: Sync {
    /// Writes some bytes of `buf` at `offset` and returns how many, like
    /// [`std::os::unix::fs::FileExt::write_at`]. A dump continues after a short write, repeats an
    /// interrupted one, and reports `Ok(0)` as an error.
    ///
    /// # Errors
    ///
    /// If the bytes cannot be written.
    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<usize>;

    /// Sets the final length in bytes, which is at least the end of the last write that counts. A
    /// dump calls this once, before [`DumpSink::finish`]. For an incomplete dump that is kept, this
    /// also cuts off the bytes that do not belong to it.
    ///
    /// # Errors
    ///
    /// If the length cannot be set.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Reserves space for the first `len` bytes, so that writing them later cannot fail for lack of
    /// it. They still read as zeroes.
    ///
    /// Only a dump that is kept if it fails calls this. It writes zeroes instead if the error is
    /// [`io::ErrorKind::Unsupported`], which is the default.
    ///
    /// # Errors
    ///
    /// If there is not enough space.
    fn reserve(&self, len: u64) -> io::Result<()> {
        let _ = len;
        Err(io::ErrorKind::Unsupported.into())
    }
}

//! Whole writes to either kind of sink: the loops around short and
//! interrupted writes, and the count of what was written.

use std::io;
use std::sync::{Mutex, PoisonError};

use super::stream::retry_interrupted;
use super::{PositionedSink, SinkAccess};
use crate::error::{Error, Result};
use crate::progress::Progress;

/// The place where blocks of a dump go, addressed by file offset. Blocks for
/// a stream must come in the order of the stream.
pub(crate) struct Output<'a> {
    target: Target<'a>,
    progress: &'a Progress,
}

enum Target<'a> {
    Positioned(&'a dyn PositionedSink),
    Stream(Mutex<Stream<'a>>),
}

struct Stream<'a> {
    writer: Forward<'a>,
    position: u64,
}

enum Forward<'a> {
    Stream(&'a mut (dyn io::Write + Send)),
    Positioned(&'a dyn PositionedSink),
}

impl<'a> Output<'a> {
    pub(crate) fn new(access: SinkAccess<'a>, progress: &'a Progress) -> Self {
        let target = match access {
            SinkAccess::Positioned(sink) => Target::Positioned(sink),
            SinkAccess::Stream(writer) => Target::Stream(Mutex::new(Stream {
                writer: Forward::Stream(writer),
                position: 0,
            })),
        };
        Self { target, progress }
    }

    /// An output that only goes forward, even over a positioned sink.
    pub(crate) fn forward(access: SinkAccess<'a>, progress: &'a Progress) -> Self {
        let writer = match access {
            SinkAccess::Positioned(sink) => Forward::Positioned(sink),
            SinkAccess::Stream(writer) => Forward::Stream(writer),
        };
        let target = Target::Stream(Mutex::new(Stream {
            writer,
            position: 0,
        }));
        Self { target, progress }
    }

    /// Whether blocks may be written in any order, by several threads.
    pub(crate) fn is_positioned(&self) -> bool {
        matches!(self.target, Target::Positioned(_))
    }

    /// Writes all of `bytes` at `offset` of a positioned output. A stream
    /// fills the gap up to `offset` with zeroes first; it cannot go back.
    pub(crate) fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        match &self.target {
            Target::Positioned(sink) => {
                write_all_at(*sink, offset, bytes)?;
                self.progress.add_written(bytes.len() as u64);
                Ok(())
            }
            Target::Stream(stream) => {
                let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
                self.fill(&mut stream, offset)?;
                self.forward_all(&mut stream, bytes)
            }
        }
    }

    /// Writes all parts, one behind the other, where the stream stands.
    pub(crate) fn append(&self, parts: &[&[u8]]) -> Result<()> {
        let Target::Stream(stream) = &self.target else {
            unreachable!("append is for forward outputs");
        };
        let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
        parts
            .iter()
            .try_for_each(|bytes| self.forward_all(&mut stream, bytes))
    }

    /// Makes the output exactly `len` bytes long.
    pub(crate) fn set_len(&self, len: u64) -> Result<()> {
        match &self.target {
            Target::Positioned(sink) => sink.set_len(len).map_err(|source| Error::Write {
                offset: len,
                len: 0,
                source,
            }),
            Target::Stream(stream) => {
                let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
                self.fill(&mut stream, len)
            }
        }
    }

    fn fill(&self, stream: &mut Stream<'_>, offset: u64) -> Result<()> {
        static ZEROES: [u8; 64 << 10] = [0; 64 << 10];
        debug_assert!(stream.position <= offset, "a stream cannot go back");
        while stream.position < offset {
            let n = (offset - stream.position).min(ZEROES.len() as u64) as usize;
            self.forward_all(stream, &ZEROES[..n])?;
        }
        Ok(())
    }

    fn forward_all(&self, stream: &mut Stream<'_>, bytes: &[u8]) -> Result<()> {
        let offset = stream.position;
        match &mut stream.writer {
            Forward::Positioned(sink) => write_all_at(*sink, offset, bytes)?,
            Forward::Stream(writer) => write_all(bytes, offset, |_, part| writer.write(part))?,
        }
        stream.position += bytes.len() as u64;
        self.progress.add_written(bytes.len() as u64);
        Ok(())
    }
}

fn write_all_at(sink: &dyn PositionedSink, offset: u64, bytes: &[u8]) -> Result<()> {
    write_all(bytes, offset, |at, part| sink.write_at(at, part))
}

fn write_all(
    bytes: &[u8],
    offset: u64,
    mut write: impl FnMut(u64, &[u8]) -> io::Result<usize>,
) -> Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        let at = offset + done as u64;
        let left = &bytes[done..];
        let result = match retry_interrupted(|| write(at, left)) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Ok(n) if n > left.len() => Err(io::Error::other(
                "the sink claims to have written more than it was given",
            )),
            result => result,
        };
        done += result.map_err(|source| Error::Write {
            offset: at,
            len: left.len(),
            source,
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Takes at most 3 bytes a call and is interrupted every other time.
    #[derive(Default)]
    struct Awkward {
        bytes: Vec<u8>,
        calls: usize,
        stop_at: Option<usize>,
    }

    impl io::Write for Awkward {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.calls += 1;
            if self.calls % 2 == 1 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            if self.stop_at.is_some_and(|n| self.bytes.len() >= n) {
                return Ok(0);
            }
            let n = buf.len().min(3);
            self.bytes.extend_from_slice(&buf[..n]);
            Ok(n)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn short_and_interrupted_writes_are_completed() {
        let mut sink = Awkward::default();
        let progress = Progress::new();
        let output = Output::new(SinkAccess::Stream(&mut sink), &progress);
        output.write_at(0, b"hello world").unwrap();
        output.write_at(13, b"!").unwrap();
        output.set_len(16).unwrap();
        assert_eq!(sink.bytes, b"hello world\0\0!\0\0");
        assert_eq!(progress.snapshot().written, 16);
    }

    #[test]
    fn writing_nothing_is_an_error_with_its_offset() {
        let mut sink = Awkward {
            stop_at: Some(6),
            ..Awkward::default()
        };
        let progress = Progress::new();
        let output = Output::new(SinkAccess::Stream(&mut sink), &progress);
        match output.write_at(0, b"hello world").unwrap_err() {
            Error::Write { offset, source, .. } => {
                assert_eq!(offset, 6);
                assert_eq!(source.kind(), io::ErrorKind::WriteZero);
            }
            other => panic!("{other}"),
        }
    }
}

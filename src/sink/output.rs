//! Complete writes to either kind of sink. This module continues after short writes, repeats
//! interrupted ones, and counts what was written.

use std::io;
use std::sync::{Mutex, PoisonError};

use crate::fault::Fault;
use crate::sink::stream::retry_interrupted;
use crate::sink::{PositionedSink, SinkAccess};
use crate::workers::Progress;

/// Number of zero bytes that are written at once.
const RESERVED_AT_ONCE: u64 = 1 << 20;

/// The output that takes the blocks of a dump, addressed by file offset. Blocks for a stream must
/// come in ascending order.
pub(crate) enum Output<'a> {
    Positioned {
        sink: &'a dyn PositionedSink,
        progress: &'a Progress,
    },
    Stream(ForwardOutput<'a>),
}

impl<'a> Output<'a> {
    pub(crate) fn new(access: SinkAccess<'a>, progress: &'a Progress) -> Self {
        match access {
            SinkAccess::Positioned(sink) => Self::Positioned { sink, progress },
            stream @ SinkAccess::Stream(_) => Self::Stream(ForwardOutput::new(stream, progress)),
        }
    }

    /// Whether several threads may write blocks in any order.
    pub(crate) fn is_positioned(&self) -> bool {
        matches!(self, Self::Positioned { .. })
    }

    /// Writes all of `bytes` at `offset`. A stream first fills the gap up to `offset` with zeroes;
    /// it cannot go back.
    pub(crate) fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Fault> {
        match self {
            Self::Positioned { sink, progress } => {
                write_all_at(*sink, offset, bytes)?;
                progress.add_written(bytes.len() as u64);
                Ok(())
            }
            Self::Stream(output) => {
                output.fill(offset)?;
                output.append(&[bytes])
            }
        }
    }

    /// Reserves space for the first `len` bytes of an empty sink. It writes zeroes if the sink
    /// cannot reserve.
    pub(crate) fn reserve(&self, len: u64) -> Result<(), Fault> {
        let Self::Positioned { sink, .. } = self else {
            return Ok(());
        };
        match retry_interrupted(|| sink.reserve(len)) {
            Err(e) if e.kind() == io::ErrorKind::Unsupported => {
                let zeroes = vec![0; len.min(RESERVED_AT_ONCE) as usize];
                (0..len).step_by(zeroes.len()).try_for_each(|at| {
                    let n = (len - at).min(RESERVED_AT_ONCE) as usize;
                    write_all_at(*sink, at, &zeroes[..n])
                })
            }
            result => result.map_err(|source| Fault::Write {
                offset: 0,
                len: usize::try_from(len).unwrap_or(usize::MAX),
                source,
            }),
        }
    }

    /// Makes the output exactly `len` bytes long.
    pub(crate) fn set_len(&self, len: u64) -> Result<(), Fault> {
        match self {
            Self::Positioned { sink, .. } => sink.set_len(len).map_err(|source| Fault::Write {
                offset: len,
                len: 0,
                source,
            }),
            Self::Stream(output) => output.fill(len),
        }
    }
}

/// An output that goes only forward, even over a positioned sink.
pub(crate) struct ForwardOutput<'a> {
    state: Mutex<Forward<'a>>,
    progress: &'a Progress,
}

struct Forward<'a> {
    access: SinkAccess<'a>,
    position: u64,
}

impl<'a> ForwardOutput<'a> {
    pub(crate) fn new(access: SinkAccess<'a>, progress: &'a Progress) -> Self {
        Self {
            state: Mutex::new(Forward {
                access,
                position: 0,
            }),
            progress,
        }
    }

    /// Writes all parts, one after the other.
    pub(crate) fn append(&self, parts: &[&[u8]]) -> Result<(), Fault> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        parts
            .iter()
            .try_for_each(|bytes| self.append_to(&mut state, bytes))
    }

    /// Writes zeroes up to `offset`, if the stream has not reached it.
    fn fill(&self, offset: u64) -> Result<(), Fault> {
        static ZEROES: [u8; 64 << 10] = [0; 64 << 10];
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        debug_assert!(state.position <= offset, "a stream cannot go back");
        while state.position < offset {
            let n = (offset - state.position).min(ZEROES.len() as u64) as usize;
            self.append_to(&mut state, &ZEROES[..n])?;
        }
        Ok(())
    }

    fn append_to(&self, state: &mut Forward<'_>, bytes: &[u8]) -> Result<(), Fault> {
        let offset = state.position;
        match &mut state.access {
            SinkAccess::Positioned(sink) => write_all_at(*sink, offset, bytes)?,
            SinkAccess::Stream(writer) => write_all(bytes, offset, |_, part| writer.write(part))?,
        }
        state.position += bytes.len() as u64;
        self.progress.add_written(bytes.len() as u64);
        Ok(())
    }
}

fn write_all_at(sink: &dyn PositionedSink, offset: u64, bytes: &[u8]) -> Result<(), Fault> {
    write_all(bytes, offset, |at, part| sink.write_at(at, part))
}

fn write_all(
    bytes: &[u8],
    offset: u64,
    mut write: impl FnMut(u64, &[u8]) -> io::Result<usize>,
) -> Result<(), Fault> {
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
        done += result.map_err(|source| Fault::Write {
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

    /// A writer that takes at most 3 bytes a call and is interrupted every other time.
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
            Fault::Write { offset, source, .. } => {
                assert_eq!(offset, 6);
                assert_eq!(source.kind(), io::ErrorKind::WriteZero);
            }
            other => panic!("{other}"),
        }
    }
}

//! A sink that does what a test says at one of its writes.

use std::io::{self, Write};
use std::sync::Mutex;

use guestdump::DumpSink;
use guestdump::sink::{PositionedSink, SinkAccess};

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum SinkFault {
    /// Takes so many bytes only.
    Short(usize),
    /// Is interrupted so many times.
    Interrupted(usize),
    /// Fails from now on, with this number of the system's.
    Error(i32),
    /// The same, after it took so many bytes.
    ShortThenError(usize, i32),
    WroteNothing,
    /// Claims to have taken more than it was given.
    TookMore,
    Panic,
}

impl SinkFault {
    /// Whether a dump goes on all the same.
    pub(crate) fn is_harmless(self) -> bool {
        matches!(self, Self::Short(_) | Self::Interrupted(_))
    }
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) bytes: Vec<u8>,
    /// Lengths of the writes so far.
    pub(crate) writes: Vec<usize>,
    pub(crate) finished: usize,
    pub(crate) lengths_set: usize,
    /// Offset and length of the write that failed first.
    pub(crate) failed: Option<(u64, usize)>,
    /// Calls after that.
    pub(crate) afterwards: usize,
    interrupted: usize,
}

/// Faults of what is no write.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Other {
    FinishFails,
    FinishPanics,
    SetLenFails,
    SetLenPanics,
    AccessPanics,
}

#[derive(Debug, Default)]
pub(crate) struct Scripted {
    pub(crate) stream: bool,
    /// At this write.
    pub(crate) fault: Option<(usize, SinkFault)>,
    pub(crate) other: Option<Other>,
    pub(crate) state: Mutex<State>,
}

impl Scripted {
    fn take(&self, offset: Option<u64>, buf: &[u8]) -> io::Result<usize> {
        let mut state = self.state.lock().unwrap();
        let start = offset.map_or(state.bytes.len(), |o| o as usize);
        let call = state.writes.len();
        if state.failed.is_some() {
            state.afterwards += 1;
        }
        let mut n = buf.len();
        let fault = self.fault.filter(|(at, _)| *at <= call);
        if let Some((at, fault)) = fault {
            let first = at == call;
            let error = |number| Err(io::Error::from_raw_os_error(number));
            let result = match fault {
                SinkFault::Interrupted(times) if first && state.interrupted < times => {
                    state.interrupted += 1;
                    return Err(io::ErrorKind::Interrupted.into());
                }
                SinkFault::Short(len) | SinkFault::ShortThenError(len, _) if first => {
                    n = len.clamp(1, n);
                    None
                }
                SinkFault::Error(number) | SinkFault::ShortThenError(_, number) => {
                    Some(error(number))
                }
                SinkFault::WroteNothing => Some(Ok(0)),
                SinkFault::TookMore => Some(Ok(n + 1)),
                SinkFault::Panic => {
                    state.failed.get_or_insert((start as u64, buf.len()));
                    drop(state);
                    // A panic without the message and the backtrace.
                    std::panic::resume_unwind(Box::new("the sink explodes"));
                }
                SinkFault::Short(_) | SinkFault::Interrupted(_) => None,
            };
            if let Some(result) = result {
                state.failed.get_or_insert((start as u64, buf.len()));
                return result;
            }
        }
        state.writes.push(buf.len());
        if state.bytes.len() < start + n {
            state.bytes.resize(start + n, 0);
        }
        state.bytes[start..start + n].copy_from_slice(&buf[..n]);
        Ok(n)
    }
}

impl DumpSink for Scripted {
    fn access(&mut self) -> SinkAccess<'_> {
        assert_ne!(self.other, Some(Other::AccessPanics), "no access");
        if self.stream {
            SinkAccess::Stream(self)
        } else {
            SinkAccess::Positioned(self)
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.state.lock().unwrap().finished += 1;
        match self.other {
            Some(Other::FinishFails) => Err(io::ErrorKind::StorageFull.into()),
            Some(Other::FinishPanics) => panic!("no end"),
            _ => Ok(()),
        }
    }
}

impl PositionedSink for Scripted {
    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<usize> {
        self.take(Some(offset), buf)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.lengths_set += 1;
        match self.other {
            Some(Other::SetLenFails) => return Err(io::ErrorKind::StorageFull.into()),
            Some(Other::SetLenPanics) => {
                drop(state);
                panic!("no length");
            }
            _ => {}
        }
        state.bytes.resize(len as usize, 0);
        Ok(())
    }
}

impl Write for Scripted {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.take(None, buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

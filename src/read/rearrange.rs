//! Rearranging a flattened stream into a raw dump in one pass, as
//! `makedumpfile -R` does.
#![forbid(unsafe_code)]

use std::io::{self, Read};

use crate::fault::Fault;
use crate::kdump::flattened::{FileHeader, RecordHeader};
use crate::sink::{DumpSink, Output, SinkAccess};
use crate::workers::Progress;

/// Why a flattened stream cannot be rearranged. Offsets are in bytes of the
/// stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RearrangeError {
    /// The stream is not in the flattened format.
    #[error("the input is not in makedumpfile's flattened format")]
    NotFlattened,
    /// The sink takes bytes only forward.
    #[error("a dump can only be rearranged into a file that can be written at any position")]
    NeedsPositions,
    /// The stream contains a record that no writer writes.
    #[error("the input is damaged at offset {offset}: {what}")]
    Damaged {
        /// Offset at which the record begins.
        offset: u64,
        /// Description of the damage.
        what: String,
    },
    /// The stream ends without its end record.
    #[error("the input ends at offset {offset}, before its end record: the dump is incomplete")]
    Truncated {
        /// Offset at which the stream ends.
        offset: u64,
    },
    /// The stream cannot be read.
    #[error("cannot read the input at offset {offset}")]
    Read {
        /// Offset in the stream.
        offset: u64,
        /// Error of the stream.
        source: io::Error,
    },
    /// The sink failed, or [`Progress::cancel`] was called.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The sink took every byte but could not finish.
    #[error("the dump is written but cannot be finished")]
    Finish(#[source] io::Error),
}

/// The most bytes that are held in memory.
const BUFFER: usize = 256 << 10;

/// Writes the raw form of the flattened stream `input` to `sink` and finishes
/// it. Returns the raw form's length in bytes. `progress` counts bytes of the
/// stream; its total stays 0.
///
/// # Errors
///
/// Any [`RearrangeError`]; the sink is not finished then.
pub fn rearrange(
    input: &mut dyn Read,
    sink: &mut dyn DumpSink,
    progress: &Progress,
) -> Result<u64, RearrangeError> {
    let mut input = Input { input, offset: 0 };
    let mut head = vec![0; FileHeader::SIZE];
    input.read_exact(&mut head).map_err(|error| match error {
        RearrangeError::Truncated { .. } => RearrangeError::NotFlattened,
        other => other,
    })?;
    if FileHeader::decode(&head) != Some(FileHeader::CURRENT) {
        return Err(RearrangeError::NotFlattened);
    }
    let access = sink.access();
    if matches!(access, SinkAccess::Stream(_)) {
        return Err(RearrangeError::NeedsPositions);
    }
    progress.start(0);
    let output = Output::new(access, progress);
    let len = copy_records(&mut input, &output, progress)?;
    sink.finish().map_err(RearrangeError::Finish)?;
    Ok(len)
}

fn copy_records(
    input: &mut Input<'_>,
    output: &Output<'_>,
    progress: &Progress,
) -> Result<u64, RearrangeError> {
    let mut buffer = vec![0; BUFFER];
    let mut raw_len = 0;
    loop {
        let at = input.offset;
        let mut bytes = [0; RecordHeader::SIZE];
        input.read_exact(&mut bytes)?;
        let data = RecordHeader::decode(&bytes).map(|header| header.data());
        let data = data.unwrap_or(Ok(None));
        let Some((start, len)) = data.map_err(|error| RearrangeError::Damaged {
            offset: at,
            what: error.to_string(),
        })?
        else {
            break;
        };
        let mut done = 0;
        while done < len {
            if progress.is_cancelled() {
                return Err(Fault::Cancelled.into());
            }
            let part = &mut buffer[..(len - done).min(BUFFER as u64) as usize];
            input.read_exact(part)?;
            output.write_at(start + done, part)?;
            done += part.len() as u64;
            progress.add_done(part.len() as u64);
        }
        raw_len = raw_len.max(start + len);
    }
    output.set_len(raw_len)?;
    Ok(raw_len)
}

struct Input<'a> {
    input: &'a mut dyn Read,
    offset: u64,
}

impl Input<'_> {
    /// Fills `buf`. An error states the offset that the stream reached.
    fn read_exact(&mut self, mut buf: &mut [u8]) -> Result<(), RearrangeError> {
        while !buf.is_empty() {
            match self.input.read(buf) {
                Ok(0) => {
                    return Err(RearrangeError::Truncated {
                        offset: self.offset,
                    });
                }
                Ok(n) => {
                    self.offset += n as u64;
                    buf = &mut buf[n..];
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(RearrangeError::Read {
                        offset: self.offset,
                        source,
                    });
                }
            }
        }
        Ok(())
    }
}

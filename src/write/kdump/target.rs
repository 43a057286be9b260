//! The file or stream that a kdump dump goes to.
#![forbid(unsafe_code)]

use super::completion::Completion;
use super::flattened::FlattenedOutput;
use crate::fault::Fault;
use crate::sink::{ForwardOutput, Output, SinkAccess};
use crate::workers::Progress;

/// The place of the raw file's parts, addressed by their offsets in it.
pub(crate) enum Target<'a> {
    Raw(Output<'a>),
    Flattened(FlattenedOutput<'a>),
}

impl<'a> Target<'a> {
    /// The target of a dump. A flattened one begins with its file header.
    pub(crate) fn open(
        completion: Completion,
        access: SinkAccess<'a>,
        progress: &'a Progress,
    ) -> Result<Self, Fault> {
        match completion {
            Completion::Raw | Completion::RawKept => Ok(Self::Raw(Output::new(access, progress))),
            Completion::Flattened | Completion::FlattenedBitmapLater => {
                let output = ForwardOutput::new(access, progress);
                FlattenedOutput::begin(output).map(Self::Flattened)
            }
        }
    }

    pub(crate) fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Fault> {
        match self {
            Self::Raw(output) => output.write_at(offset, bytes),
            Self::Flattened(output) => output.write_at(offset, bytes),
        }
    }

    /// Takes the space for the first `len` bytes of a raw file.
    pub(crate) fn reserve(&self, len: u64) -> Result<(), Fault> {
        match self {
            Self::Raw(output) => output.reserve(len),
            Self::Flattened(_) => Ok(()),
        }
    }

    /// Ends the file after `len` bytes, a flattened one with its end record.
    pub(crate) fn end(&self, len: u64) -> Result<(), Fault> {
        match self {
            Self::Raw(output) => output.set_len(len),
            Self::Flattened(output) => output.end(),
        }
    }
}

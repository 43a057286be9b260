//! The error of every reader.

use std::io;

use crate::codec::Codec;

/// Why a dump cannot be read.
///
/// Offsets are in bytes of the dump. For a flattened dump they are offsets in
/// its raw form, unless the message states otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmcoreError {
    /// The file is not a dump.
    #[error(
        "the file is neither an ELF core nor a kdump-compressed dump, raw or flattened, nor a Windows dump"
    )]
    NotADump,
    /// A kind of dump that this crate cannot read.
    #[error("the dump cannot be read: {0}")]
    Unsupported(String),
    /// The file ends before bytes that its headers promise.
    #[error("the dump is cut short: {what} at offset {offset} reaches past its end at {end}")]
    Truncated {
        /// Name of the missing part.
        what: &'static str,
        /// Offset at which the missing part begins.
        offset: u64,
        /// Offset at which the dump ends.
        end: u64,
    },
    /// The dump contains something that no writer writes.
    #[error("the dump is damaged at offset {offset}: {what}")]
    Damaged {
        /// Offset in the dump.
        offset: u64,
        /// Description of the damage.
        what: String,
    },
    /// The file cannot be read.
    #[error("cannot read {len} bytes at offset {offset} of the dump")]
    Read {
        /// Offset in the dump.
        offset: u64,
        /// Number of bytes.
        len: u64,
        /// Error of the input.
        source: io::Error,
    },
    /// A page was lost when the dump was written.
    #[error("the page at guest-physical address {gpa:#x} is missing; the dump is incomplete")]
    PageMissing {
        /// The page's guest-physical address.
        gpa: u64,
    },
    /// A page cannot be decompressed.
    #[error(
        "the page at guest-physical address {gpa:#x}, offset {offset}, cannot be decompressed ({codec:?})"
    )]
    Decompress {
        /// The page's guest-physical address.
        gpa: u64,
        /// Offset of the page's data.
        offset: u64,
        /// Codec of the page.
        codec: Codec,
        /// Error of the codec.
        source: io::Error,
    },
    /// The dump says that it is not complete.
    #[error("the dump says that it is incomplete")]
    Incomplete,
    /// [`Progress::cancel`](crate::Progress::cancel) was called.
    #[error("cancelled")]
    Cancelled,
}

impl VmcoreError {
    /// Returns the offset in the dump, if the error has one.
    #[must_use]
    pub const fn offset(&self) -> Option<u64> {
        match *self {
            Self::Truncated { offset, .. }
            | Self::Damaged { offset, .. }
            | Self::Read { offset, .. }
            | Self::Decompress { offset, .. } => Some(offset),
            _ => None,
        }
    }

    pub(crate) fn damaged(offset: u64, what: impl Into<String>) -> Self {
        Self::Damaged {
            offset,
            what: what.into(),
        }
    }
}

/// Converts the error for [`GuestMemory`](crate::GuestMemory), whose methods
/// return errors of the host.
impl From<VmcoreError> for io::Error {
    fn from(error: VmcoreError) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

//! Why a dump cannot be read.

use std::io;

use crate::codec::Codec;

/// Why a dump cannot be read. Offsets are in bytes of the dump; for a
/// flattened one, of its raw form unless they say otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmcoreError {
    /// The file is something else.
    #[error(
        "the file is neither an ELF core nor a kdump-compressed dump, raw or flattened, nor a Windows dump"
    )]
    NotADump,
    /// A kind of dump that this crate cannot read.
    #[error("the dump cannot be read: {0}")]
    Unsupported(String),
    /// The file ends before something that its headers promise.
    #[error("the dump is cut short: {what} at offset {offset} reaches past its end at {end}")]
    Truncated {
        /// What is missing.
        what: &'static str,
        /// Where it would begin.
        offset: u64,
        /// Where the dump ends.
        end: u64,
    },
    /// Something that no writer writes.
    #[error("the dump is damaged at offset {offset}: {what}")]
    Damaged {
        /// Where.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// The file cannot be read.
    #[error("cannot read {len} bytes at offset {offset} of the dump")]
    Read {
        /// Where.
        offset: u64,
        /// How many bytes.
        len: u64,
        /// What the system reported.
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
        /// Where its data lies.
        offset: u64,
        /// How it is compressed.
        codec: Codec,
        /// What the codec reported.
        source: io::Error,
    },
    /// The dump says itself that it is not complete.
    #[error("the dump says that it is incomplete")]
    Incomplete,
    /// [`Progress::cancel`](crate::Progress::cancel) was called.
    #[error("cancelled")]
    Cancelled,
}

impl VmcoreError {
    /// The offset in the dump, where the error has one.
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

/// For [`GuestMemory`](crate::GuestMemory), whose errors are the host's.
impl From<VmcoreError> for io::Error {
    fn from(error: VmcoreError) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

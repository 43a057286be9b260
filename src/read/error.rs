//! The error of every reader.

use std::io;

use crate::codec::Codec;
use crate::memory::{Lack, list_lacks};
use crate::read::FileKind;

/// Why a dump cannot be read.
///
/// Offsets are in bytes of the dump. For a flattened dump they are offsets in
/// its raw form, unless the message states otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmcoreError {
    /// The file is not a dump, or a dump of a kind that this crate does not
    /// open. The kind is `None` if the file's first bytes do not tell it.
    #[error("{}", not_a_dump(*.0))]
    NotADump(Option<FileKind>),
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
    /// Two parts of the dump contain different bytes for the same guest-physical address. The
    /// core of a process does so, and old copies of `/proc/kcore`.
    #[error(
        "the dump has different bytes for the guest-physical address {gpa:#x}, at offsets {} and {}; is it the core of a process? process-core: reads one",
        offsets[0], offsets[1]
    )]
    Conflict {
        /// The guest-physical address.
        gpa: u64,
        /// Both offsets in the dump.
        offsets: [u64; 2],
    },
    /// The file is the core of a process.
    #[error(
        "the file is the core of a process, not a dump of a guest; if the process ran a guest, process-core: finds its RAM"
    )]
    ProcessCore,
    /// The files are not parts of one split dump.
    #[error("the files are not parts of one dump: {0}")]
    Parts(String),
    /// The dump contains no guest memory.
    #[error("the dump contains no guest memory that can be read")]
    NoMemory,
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
    /// The dump is not complete. Everything that is there can be read.
    #[error("the dump is incomplete: {}", list_lacks(lacks))]
    Incomplete {
        /// The lacks of the dump.
        lacks: Vec<Lack>,
    },
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
            Self::Incomplete { ref lacks } => match lacks.as_slice() {
                [Lack::CutShort { offset, .. }, ..] => Some(*offset),
                _ => None,
            },
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

fn not_a_dump(kind: Option<FileKind>) -> String {
    match kind {
        Some(kind) => format!("the file is {kind}: {}", kind.advice()),
        None => "the file is neither an ELF core nor a kdump-compressed dump, raw or flattened, \
                 nor a Windows dump"
            .to_owned(),
    }
}

/// Converts the error for [`GuestMemory`](crate::GuestMemory), whose methods
/// return errors of the host.
impl From<VmcoreError> for io::Error {
    fn from(error: VmcoreError) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

//! Failures of reading guest memory and of writing a dump.
//!
//! Every room above may fail in these ways. What a room refuses beforehand is
//! in an error type of its own.
#![forbid(unsafe_code)]

use std::io;

/// A failure while guest memory is read or a dump is written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Guest memory cannot be read.
    #[error("cannot read {len} bytes of guest memory at guest-physical address {gpa:#x}")]
    Read {
        /// The guest-physical address.
        gpa: u64,
        /// How many bytes were asked for.
        len: u64,
        /// The error that the memory reported.
        source: io::Error,
    },
    /// The guest memory gave bytes in place, but not as many as were asked for.
    #[error(
        "the guest memory gave {got} bytes in place of the {len} at guest-physical address {gpa:#x}; GuestMemory::as_slice must return the whole range"
    )]
    SliceLength {
        /// The guest-physical address.
        gpa: u64,
        /// How many bytes were asked for.
        len: u64,
        /// How many bytes the memory gave.
        got: u64,
    },
    /// The sink does not accept bytes.
    #[error("cannot write {len} bytes at offset {offset} of the dump")]
    Write {
        /// Offset in the dump, in bytes.
        offset: u64,
        /// How many bytes were left to write.
        len: usize,
        /// The error that the sink reported.
        source: io::Error,
    },
    /// A codec failed.
    #[error("cannot compress a page at guest-physical address {gpa:#x}")]
    Compress {
        /// The page's guest-physical address.
        gpa: u64,
        /// The error that the codec reported.
        source: io::Error,
    },
    /// A thread that helps with the dump cannot be started.
    #[error("cannot start a thread for the dump")]
    Thread(#[source] io::Error),
    /// The guest memory or the sink panicked.
    #[error("the guest memory or the sink panicked: {0}")]
    Panicked(String),
    /// [`Progress::cancel`](crate::Progress::cancel) was called.
    #[error("the dump was cancelled")]
    Cancelled,
}

/// Joins an error and its causes by `: `. A cause that the text before it
/// already ends with is not repeated.
#[must_use]
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

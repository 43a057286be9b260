//! Why a header of a Windows dump is refused, or cannot be made.
#![forbid(unsafe_code)]

use crate::abi::FieldOverflow;

/// Why a header of a Windows dump is refused, or cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The header has another length.
    #[error("a Windows dump header has 4096 or 8192 bytes, this has {len}")]
    Size {
        /// Its length in bytes.
        len: usize,
    },
    /// `Signature` and `ValidDump` are not those of a header of this size.
    #[error(
        "the Windows dump header of {len} bytes begins with '{}'; 4096 bytes begin with 'PAGEDUMP', 8192 with 'PAGEDU64'",
        .found.escape_ascii()
    )]
    Signature {
        /// Length of the header in bytes.
        len: usize,
        /// Its first eight bytes.
        found: [u8; 8],
    },
    /// A value does not fit into its field.
    #[error(transparent)]
    Overflow(#[from] FieldOverflow),
    /// The guest's memory has more pieces than the header has room for.
    #[error(
        "the guest's memory has {runs} pieces and a header of win-dmp has room for {max}; to join them takes {gap_pages} pages of zeroes, more than {limit}; use win-dmp-bitmap instead"
    )]
    TooManyRuns {
        /// Pieces of memory.
        runs: usize,
        /// The limit.
        max: usize,
        /// Pages of the smallest gaps that would have to be filled.
        gap_pages: u64,
        /// Pages that may be filled.
        limit: u64,
    },
}

//! Options and errors of guest memory of vm-memory, common to all its versions.
#![forbid(unsafe_code)]

use crate::memory::{MemoryRange, RangeError};

/// Why guest memory of a monitor is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VmMemoryError {
    /// A region is not made of whole pages, or regions overlap.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// A range that is to be dumped is not all in the regions.
    #[error("the range {range} is not all in the regions of the guest memory")]
    NotInRegions {
        /// The range.
        range: MemoryRange,
    },
}

/// How guest memory is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Reads {
    /// By `process_vm_readv(2)` on this process. Memory that is protected, or whose file
    /// was truncated, is an error. If the system call is missing or not allowed (`ENOSYS`,
    /// `EPERM`), memory is read as [`Volatile`](Self::Volatile).
    #[default]
    SystemCall,
    /// By vm-memory's own volatile copy, without a system call. Memory that cannot be read
    /// sends a signal (`SIGBUS`, `SIGSEGV`) to this process.
    Volatile,
}

/// The source that tells which memory was ever touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Populated {
    /// The system: `/proc/self/smaps`, `/proc/self/pagemap`, and `SEEK_DATA` on mapped
    /// files. Memory counts as populated wherever these do not tell for sure.
    #[default]
    Detect,
    /// The system, with `/proc/self/maps` instead of `smaps`. The caller knows that no
    /// userfaultfd serves pages of the guest's memory. The kernel takes a tenth of a
    /// second or more to make `smaps`, for each GiB that is in memory in pages of 4 KiB.
    NoUserfaultfd,
    /// The files alone, without `/proc`. The caller knows that each region with a file is
    /// mapped from it with `MAP_SHARED`, and that no userfaultfd serves its pages. Regions
    /// without a file count as populated.
    SharedFiles,
    /// No source: all memory counts as populated.
    Everything,
}

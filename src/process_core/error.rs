//! The errors of process cores.

use crate::guest::vmcoreinfo::VmcoreinfoError;
use crate::memory::RangeError;
use crate::read::{RegionError, VmcoreError};

use crate::process_core::{Missing, RamBlock};

/// Why guest memory cannot be taken from a process's core file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessCoreError {
    /// The file is not a core of a process.
    #[error(
        "the file is no ELF core of a process; a compressed core (.zst, .lz4, .xz, .gz) has to be decompressed first"
    )]
    NotACore,
    /// The headers cannot be used.
    #[error("the core file's headers cannot be used")]
    Headers(#[source] VmcoreError),
    /// The list of RAM blocks is bad.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// A RAM block's host-virtual address is not page-aligned, or its end does
    /// not fit into 64 bits.
    #[error(
        "the host-virtual address {:#x} of the range {} is not page-aligned or too high",
        .0.hva, .0.range
    )]
    BadAddress(RamBlock),
    /// The core file contains no page of the guest's RAM.
    #[error(
        "none of the guest's RAM is in the core file: at host-virtual address {:#x} {}",
        .0.hva, .0.reason
    )]
    NothingThere(Box<Missing>),
    /// The regions of the core file cannot be used as memory.
    #[error(transparent)]
    Memory(#[from] RegionError),
    /// The search for QEMU's RAM blocks failed.
    #[error(
        "cannot find the guest's RAM in the core file by itself: {0}; give a map with guest-physical and host-virtual address of each RAM block (guestdump: --map, see docs/process-core.md)"
    )]
    NotFound(#[from] SearchError),
}

/// Why QEMU's RAM blocks were not found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// No segment can be a RAM block.
    #[error(
        "no segment with {} MiB or more of data that is writable and not executable; {hint}",
        crate::process_core::blocks::MIN_BLOCK >> 20
    )]
    NoCandidates {
        /// The likely cause.
        hint: String,
    },
    /// No segment contains VMCOREINFO.
    #[error(
        "VMCOREINFO of a Linux kernel is in none of the {segments} largest segments with data; {hint}"
    )]
    NoVmcoreinfo {
        /// Number of segments that were searched.
        segments: usize,
        /// Another possible cause.
        hint: String,
    },
    /// A segment contains VMCOREINFO, but no known arrangement of RAM fits it.
    #[error(
        "VMCOREINFO of {osrelease} is there, but the kernel and its page tables do not fit any known arrangement of RAM in one block"
    )]
    NotVerified {
        /// The kernel's release.
        osrelease: String,
    },
    /// Several arrangements of RAM fit.
    #[error("several arrangements of RAM fit the kernel {osrelease}: {arrangements}")]
    Ambiguous {
        /// The kernel's release.
        osrelease: String,
        /// Machine and ranges of each arrangement.
        arrangements: String,
    },
    /// Guest memory cannot be scanned for VMCOREINFO.
    #[error("cannot scan for VMCOREINFO")]
    Scan(#[from] VmcoreinfoError),
    /// [`Progress::cancel`](crate::Progress::cancel) was called.
    #[error("cancelled")]
    Cancelled,
}

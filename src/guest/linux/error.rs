//! Why a kernel's memory does not say what was asked for.

use std::io;

use crate::fault::Fault;
use crate::guest::paging::TranslateError;
use crate::guest::vmcoreinfo::VmcoreinfoError;
use crate::memory::RangeError;
use crate::selection::SelectionError;

/// Why a kernel's memory does not say what was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// The memory's ranges are bad.
    #[error(transparent)]
    Ranges(#[from] RangeError),
    /// The filter covers no RAM.
    #[error("no RAM lies in the {length:#x} bytes from guest-physical address {begin:#x} on")]
    NoPages {
        /// First guest-physical address.
        begin: u64,
        /// Length in bytes.
        length: u64,
    },
    /// VMCOREINFO cannot be used.
    #[error("VMCOREINFO cannot be used")]
    Vmcoreinfo(#[source] VmcoreinfoError),
    /// The search failed or was cancelled.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// There is no VMCOREINFO, by which everything is found.
    #[error("the guest has no VMCOREINFO: it runs no Linux, or one without CONFIG_VMCORE_INFO")]
    NoVmcoreinfo,
    /// VMCOREINFO lacks what is needed.
    #[error("VMCOREINFO of kernel {osrelease} has no {what}")]
    Missing {
        /// The line that is missing, as `SYMBOL(prb)`.
        what: String,
        /// The kernel's release.
        osrelease: String,
    },
    /// The dump has larger pages than the kernel.
    #[error("the kernel's pages have {kernel} bytes, the dump's {dump}; omit the page size")]
    PageSize {
        /// Bytes in a page of the kernel.
        kernel: u64,
        /// Bytes in a page of the dump.
        dump: u64,
    },
    /// A virtual address cannot be found in guest memory.
    #[error("cannot follow the kernel's address {vaddr:#x}")]
    Unmapped {
        /// The guest-virtual address.
        vaddr: u64,
        /// The error of the page tables; `None` for an architecture whose page
        /// tables are not known.
        source: Option<TranslateError>,
    },
    /// Memory cannot be read.
    #[error(
        "cannot read {len} bytes at the kernel's address {vaddr:#x}, guest-physical address {gpa:#x}"
    )]
    Read {
        /// The guest-virtual address.
        vaddr: u64,
        /// The guest-physical address.
        gpa: u64,
        /// How many bytes.
        len: usize,
        /// The error that the memory reported.
        source: io::Error,
    },
    /// A structure's contents make no sense.
    #[error("{what} at the kernel's address {vaddr:#x} makes no sense: {why}")]
    Damaged {
        /// The structure.
        what: &'static str,
        /// Its guest-virtual address.
        vaddr: u64,
        /// The mistake.
        why: String,
    },
}

impl From<VmcoreinfoError> for KernelError {
    fn from(error: VmcoreinfoError) -> Self {
        match error {
            VmcoreinfoError::Fault(fault) => Self::Fault(fault),
            error => Self::Vmcoreinfo(error),
        }
    }
}

impl From<SelectionError> for KernelError {
    fn from(error: SelectionError) -> Self {
        match error {
            SelectionError::Ranges(error) => Self::Ranges(error),
            SelectionError::EmptyFilter { begin, length } => Self::NoPages { begin, length },
        }
    }
}

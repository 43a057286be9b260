//! Why VMCOREINFO cannot be used.
#![forbid(unsafe_code)]

use std::io;

use crate::fault::Fault;
use crate::vmcoreinfo::{MAX_SIZE, NotVmcoreinfo};

/// Why VMCOREINFO cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmcoreinfoError {
    /// The bytes are something else.
    #[error(transparent)]
    NotVmcoreinfo(#[from] NotVmcoreinfo),
    /// The guest has not filled the fw_cfg entry in.
    #[error(
        "the guest has not told the vmcoreinfo device where its note is; is qemu_fw_cfg loaded in the guest?"
    )]
    FwCfgEmpty,
    /// The note is larger than any kernel writes.
    #[error(
        "the note of {size} bytes at guest-physical address {gpa:#x} is larger than {MAX_SIZE} bytes"
    )]
    TooLarge {
        /// Its guest-physical address.
        gpa: u64,
        /// Its claimed size in bytes.
        size: u64,
    },
    /// Guest memory cannot be read there.
    #[error("cannot read the note of {size} bytes at guest-physical address {gpa:#x}")]
    Unreadable {
        /// Its guest-physical address.
        gpa: u64,
        /// Its size in bytes.
        size: u64,
        /// The error that the memory reported.
        source: io::Error,
    },
    /// Guest memory cannot be scanned.
    #[error("cannot scan guest memory at guest-physical address {gpa:#x} for VMCOREINFO")]
    Scan {
        /// The guest-physical address.
        gpa: u64,
        /// The error that the memory reported.
        source: io::Error,
    },
    /// The search failed or was cancelled.
    #[error(transparent)]
    Fault(#[from] Fault),
}

//! VMCOREINFO that was found, and where.
#![forbid(unsafe_code)]

use std::fmt;

use crate::vmcoreinfo::Vmcoreinfo;

/// Where VMCOREINFO was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// The caller gave the bytes.
    Given,
    /// The note or a header of another dump of the guest.
    Dump,
    /// The note in a dump of QEMU's own, which the vmcoreinfo device leads QEMU to.
    Qemu,
    /// The caller gave the guest-physical address.
    Note {
        /// Guest-physical address of the note, or of the text.
        gpa: u64,
    },
    /// The guest told the fw_cfg device.
    FwCfg {
        /// Guest-physical address of the note.
        gpa: u64,
    },
    /// The scan of guest RAM.
    Scan {
        /// Guest-physical address of the note or the text.
        gpa: u64,
    },
}

impl Origin {
    /// One word for it: `given`, `dump`, `qemu`, `note`, `fw_cfg` or `scan`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::Dump => "dump",
            Self::Qemu => "qemu",
            Self::Note { .. } => "note",
            Self::FwCfg { .. } => "fw_cfg",
            Self::Scan { .. } => "scan",
        }
    }

    /// The guest-physical address, unless the bytes came from elsewhere.
    #[must_use]
    pub const fn gpa(&self) -> Option<u64> {
        match *self {
            Self::Given | Self::Dump | Self::Qemu => None,
            Self::Note { gpa } | Self::FwCfg { gpa } | Self::Scan { gpa } => Some(gpa),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given => f.write_str("given"),
            Self::Dump => f.write_str("from the dump's note"),
            Self::Qemu => f.write_str("from QEMU's vmcoreinfo device"),
            Self::Note { gpa } => write!(f, "given at {gpa:#x}"),
            Self::FwCfg { gpa } => write!(f, "from QEMU's vmcoreinfo device, at {gpa:#x}"),
            Self::Scan { gpa } => write!(f, "found at {gpa:#x}"),
        }
    }
}

/// VMCOREINFO and how it was found.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Located {
    /// The chosen one.
    pub info: Vmcoreinfo,
    /// Where it was found.
    pub origin: Origin,
    /// Whether guest memory contains the kernel that it describes: `init_uts_ns` lies where
    /// VMCOREINFO says and has the same release, and the kernel's page tables map it there. If not,
    /// nothing proves that VMCOREINFO belongs to this guest.
    pub verified: bool,
    /// VMCOREINFO that the caller's source gave and that was not used: it describes a kernel that
    /// is not in memory, and the scan found one that is.
    pub rejected: Option<Rejected>,
    /// All that a scan found, the best one first. There may be several: a
    /// crashed kernel and its capture kernel, or one from before a reboot.
    pub candidates: Vec<Candidate>,
}

/// VMCOREINFO that does not describe the kernel in guest memory.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Rejected {
    /// The text.
    pub info: Vmcoreinfo,
    /// Its origin.
    pub origin: Origin,
}

/// A VMCOREINFO that a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Candidate {
    /// Guest-physical address of the note or the text.
    pub gpa: u64,
    /// Its `OSRELEASE`.
    pub osrelease: String,
    /// Its `CRASHTIME`: the kernel has crashed. In a guest that runs its
    /// capture kernel this tells the main kernel from that.
    pub crash_time: Option<u64>,
    /// Its `KERNELOFFSET`: how far KASLR moved the kernel in this boot.
    pub kernel_offset: Option<u64>,
    /// Whether the kernel is really in memory, as [`Located::verified`] says.
    pub verified: bool,
}

impl Candidate {
    pub(super) fn new(gpa: u64, info: &Vmcoreinfo, verified: bool) -> Self {
        Self {
            gpa,
            osrelease: info.osrelease(),
            crash_time: info.crash_time(),
            kernel_offset: info.kernel_offset(),
            verified,
        }
    }
}

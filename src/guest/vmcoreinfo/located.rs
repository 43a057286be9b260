//! VMCOREINFO that was found, and where.
#![forbid(unsafe_code)]

use crate::vmcoreinfo::Vmcoreinfo;

/// Where VMCOREINFO was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// The caller gave the bytes.
    Given,
    /// The caller gave the guest-physical address of the note.
    Note {
        /// Guest-physical address of the note.
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
    /// One word for it: `given`, `note`, `fw_cfg` or `scan`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::Note { .. } => "note",
            Self::FwCfg { .. } => "fw_cfg",
            Self::Scan { .. } => "scan",
        }
    }

    /// The guest-physical address, unless the caller gave the bytes.
    #[must_use]
    pub const fn gpa(&self) -> Option<u64> {
        match *self {
            Self::Given => None,
            Self::Note { gpa } | Self::FwCfg { gpa } | Self::Scan { gpa } => Some(gpa),
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
    /// All that a scan found, the chosen one first. There may be several: a
    /// crashed kernel and its capture kernel, or one from before a reboot.
    pub candidates: Vec<Candidate>,
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
    /// Whether the kernel's `init_uts_ns` lies where VMCOREINFO says and has
    /// the same release: the kernel is really in memory.
    pub verified: bool,
}

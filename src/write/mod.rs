//! Writers of dumps: one file or folder for each format.
//!
//! [`dump`](crate::dump()) plans a dump and calls them. A caller sees of this room what it gives
//! and gets: sections of an ELF dump, and the facts of a Windows dump.
//!
//! ```
//! use guestdump::write::Section;
//! use guestdump::{DumpOptions, ElfOptions, GuestInfo, Machine};
//!
//! let keys = Section::new("pv_meta", vec![0; 64]);
//! let format = ElfOptions::new().sections([keys]);
//! let options = DumpOptions::new(GuestInfo::new(Machine::S390x), format);
//! ```

use std::io;

pub(crate) mod elf;
pub(crate) mod elf_sections;
pub(crate) mod kdump;
pub(crate) mod notes;
pub(crate) mod raw;
pub(crate) mod windmp;

pub use elf_sections::{Section, SectionsError};
pub use windmp::WindowsSummary;

use crate::abi::FieldOverflow;
use crate::fault::Fault;

/// Why a laid-out dump could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The caller's function did not give the contents of a section.
    #[error("cannot get the contents of the section {name:?}")]
    Section { name: String, source: io::Error },
    /// The dump failed after these pages, and says so itself.
    #[error("the dump is incomplete, {pages} of {of} pages are in it")]
    Incomplete { pages: u64, of: u64, cause: Fault },
}

/// The fault of a header that cannot be encoded. The layout excludes it.
pub(crate) fn overflow(error: FieldOverflow) -> Fault {
    Fault::Write {
        offset: 0,
        len: 0,
        source: io::Error::new(io::ErrorKind::FileTooLarge, error),
    }
}

/// The guest's memory does not fit into the format's fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooHigh {
    /// The guest-physical address after the last byte.
    pub(crate) end: u64,
}

//! Errors of a dump.
#![forbid(unsafe_code)]

use std::io;

use crate::dump::Refusal;
use crate::fault::Fault;
use crate::guest::linux::KernelError;
use crate::guest::paging::PagingError;
use crate::guest::vmcoreinfo::VmcoreinfoError;
use crate::guest::windows::{WinDmpError, WindowsError};
use crate::memory::RangeError;
use crate::selection::SelectionError;
use crate::write::{SectionsError, WriteError};

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error after which there is no dump, or an incomplete one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The dump was refused, and nothing was written.
    #[error(transparent)]
    Refused(Refusal),
    /// Reading memory or writing the dump failed.
    #[error(transparent)]
    Failed(#[from] Fault),
    /// The caller's function failed to give the contents of a section.
    #[error("cannot get the contents of the section {name:?}")]
    Section {
        /// The section's name.
        name: String,
        /// The error that the function reported.
        source: io::Error,
    },
    /// The sink accepted every byte but failed to finish.
    #[error("the dump is written but cannot be finished")]
    Finish(#[source] io::Error),
    /// The dump failed, and the pages that were written are kept, as
    /// [`KdumpOptions::raw_or_partial`](crate::KdumpOptions::raw_or_partial) asks for. The sink is
    /// finished, and the dump says that it is incomplete.
    #[error("the dump is incomplete, {pages} of {of} pages are in it")]
    Incomplete {
        /// Number of pages in the dump.
        pages: u64,
        /// Number of pages in a complete dump.
        of: u64,
        /// The failure.
        #[source]
        cause: Fault,
    },
}

impl Error {
    /// Whether the dump was refused before the first byte was written.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_))
    }

    /// Whether the dump ended because [`Progress::cancel`] was called. This includes a dump that
    /// was kept.
    ///
    /// [`Progress::cancel`]: crate::Progress::cancel
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(
            self,
            Self::Failed(Fault::Cancelled)
                | Self::Incomplete {
                    cause: Fault::Cancelled,
                    ..
                }
        )
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<RangeError> for Error {
    fn from(error: RangeError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<WinDmpError> for Error {
    fn from(error: WinDmpError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<VmcoreinfoError> for Error {
    fn from(error: VmcoreinfoError) -> Self {
        match error {
            VmcoreinfoError::Fault(fault) => Self::Failed(fault),
            error => Self::Refused(Refusal::Vmcoreinfo(error)),
        }
    }
}

impl From<SelectionError> for Error {
    fn from(error: SelectionError) -> Self {
        Self::Refused(match error {
            SelectionError::Ranges(error) => Refusal::Ranges(error),
            SelectionError::EmptyFilter { begin, length } => Refusal::EmptyFilter { begin, length },
        })
    }
}

impl From<PagingError> for Error {
    fn from(error: PagingError) -> Self {
        match error {
            PagingError::Machine(machine) => Self::Refused(Refusal::PagingMachine { machine }),
            PagingError::NoPageTables => Self::Refused(Refusal::NoPageTables),
            PagingError::Fault(fault) => Self::Failed(fault),
        }
    }
}

impl From<KernelError> for Error {
    fn from(error: KernelError) -> Self {
        match error {
            KernelError::Fault(fault) => Self::Failed(fault),
            KernelError::Vmcoreinfo(error) => error.into(),
            error => Self::Refused(Refusal::Kernel(error)),
        }
    }
}

impl From<WindowsError> for Error {
    fn from(error: WindowsError) -> Self {
        match error {
            WindowsError::WinDmp(error) => Self::Refused(Refusal::WinDmp(error)),
            WindowsError::Vmcoreinfo(error) => error.into(),
            WindowsError::Fault(fault) => Self::Failed(fault),
        }
    }
}

impl From<WriteError> for Error {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Fault(fault) => Self::Failed(fault),
            WriteError::Section { name, source } => Self::Section { name, source },
            WriteError::Incomplete { pages, of, cause } => Self::Incomplete { pages, of, cause },
        }
    }
}

impl From<SectionsError> for Error {
    fn from(error: SectionsError) -> Self {
        Self::Refused(error.into())
    }
}

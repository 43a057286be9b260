//! Which pages a dump excludes, and what happens if the kernel does not tell.
#![forbid(unsafe_code)]

use crate::guest::linux::DumpLevel;

/// The policy of a dump with a [`DumpLevel`] for a guest whose kernel does not
/// say what its pages are used for. Such a guest has no VMCOREINFO, runs no
/// Linux, or its memory map is damaged or of an unknown kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum OnUnknownKernel {
    /// The dump is refused, with [`Refusal::DumpLevel`](crate::Refusal::DumpLevel).
    #[default]
    Fail,
    /// All pages are dumped, and the summary says why.
    DumpAll,
}

impl OnUnknownKernel {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Fail, Self::DumpAll];

    /// The name, as the command spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::DumpAll => "dump-all",
        }
    }
}

/// The pages that a dump excludes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub(crate) struct PageFilter {
    pub(crate) level: DumpLevel,
    pub(crate) on_unknown_kernel: OnUnknownKernel,
}

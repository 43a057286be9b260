//! The ways in which a kdump dump becomes complete.
#![forbid(unsafe_code)]

use crate::kdump::Container;

/// How a dump says that it is complete, and what a failure leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Completion {
    /// A raw dump. Its header says that it is incomplete until it is written
    /// once more. A failed dump is discarded.
    Raw,
    /// A raw dump as [`Raw`](Self::Raw), which after a failure becomes a dump of
    /// the pages that are stored.
    RawKept,
    /// A flattened dump. It is incomplete without its end record.
    Flattened,
    /// A flattened dump some of whose pages may turn out to be unreadable. Its
    /// second bitmap follows the pages, because a stream cannot take it back.
    FlattenedBitmapLater,
}

impl Completion {
    /// The way for a dump in this container. A flattened dump ignores
    /// `keep_partial`.
    pub(crate) const fn new(container: Container, keep_partial: bool, may_leave_out: bool) -> Self {
        match container {
            Container::Raw if keep_partial => Self::RawKept,
            Container::Raw => Self::Raw,
            Container::Flattened if may_leave_out => Self::FlattenedBitmapLater,
            Container::Flattened => Self::Flattened,
        }
    }

    /// Whether the header says that the dump is incomplete until it is complete.
    pub(super) const fn marks_header(self) -> bool {
        matches!(self, Self::Raw | Self::RawKept)
    }

    /// Whether a failed dump is kept. Its space is reserved at the beginning.
    pub(super) const fn is_kept(self) -> bool {
        matches!(self, Self::RawKept)
    }

    /// Whether the second bitmap precedes the pages.
    pub(super) const fn has_early_bitmap(self) -> bool {
        !matches!(self, Self::FlattenedBitmapLater)
    }

    /// Whether blocks are written in order: to a stream, and where a failed dump
    /// must know what it has.
    pub(super) const fn is_in_order(self) -> bool {
        !matches!(self, Self::Raw)
    }
}

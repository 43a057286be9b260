//! The kinds of pages of a demo guest.
#![forbid(unsafe_code)]

/// The contents of a page of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PageKind {
    /// Zeroes that the host has never backed.
    /// [`next_populated`](crate::GuestMemory::next_populated) does not find them.
    Unpopulated,
    /// Zeroes in populated memory.
    Zero,
    /// Lines of words and numbers, like a log.
    Text,
    /// 64-bit words: pointers, small numbers, zeroes.
    Table,
    /// Random bytes, which do not compress.
    Random,
    /// A structure of the kernel; not all zeroes.
    Kernel,
}

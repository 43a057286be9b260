//! The kinds of Windows dumps that hold all of a guest's memory.

/// How a Windows dump stores the guest's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DumpKind {
    /// A full dump: all RAM, in runs that the header names.
    Full,
    /// A bitmap dump: the pages that a bitmap names, however many runs the RAM
    /// has.
    Bitmap,
}

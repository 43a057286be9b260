//! The two containers of a kdump-compressed dump.

/// How the bytes of a kdump-compressed dump are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Container {
    /// Each byte at its offset: a file that readers open directly.
    Raw,
    /// makedumpfile's flattened format: records that a stream carries.
    Flattened,
}

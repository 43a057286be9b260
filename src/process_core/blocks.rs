//! RAM blocks of a guest, and why a core file may lack them.

use std::fmt;
use std::path::PathBuf;

use crate::memory::MemoryRange;

/// The smallest segment that may be a RAM block when there is no map, in bytes.
pub(super) const MIN_BLOCK: u64 = 8 << 20;

/// A range of guest memory and its address in the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RamBlock {
    /// Guest-physical range.
    pub range: MemoryRange,
    /// Host-virtual address of its first byte, a multiple of
    /// [`MIN_PAGE_SIZE`](crate::memory::MIN_PAGE_SIZE).
    pub hva: u64,
}

/// Guest memory that is not in a core file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missing {
    /// Guest-physical range.
    pub range: MemoryRange,
    /// Host-virtual address of its first byte.
    pub hva: u64,
    /// Reason why the memory is missing.
    pub reason: MissingReason,
}

/// Why memory is not in a core file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MissingReason {
    /// No program header contains the address.
    NoSegment,
    /// A program header contains the address, but the core omits its bytes.
    LeftOut,
    /// The core file ends before the bytes that it promises.
    CutShort,
    /// The core omits the memory, which was a mapping of a file. The file may
    /// contain it.
    InFile {
        /// The file's name when the core was written.
        path: PathBuf,
        /// Offset of the first byte in it, in bytes.
        offset: u64,
    },
}

impl MissingReason {
    /// Returns the reason as one word: `no_segment`, `left_out`, `cut_short` or
    /// `in_file`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NoSegment => "no_segment",
            Self::LeftOut => "left_out",
            Self::CutShort => "cut_short",
            Self::InFile { .. } => "in_file",
        }
    }

    /// Returns the reason for memory `bytes` further on.
    pub(super) fn further(&self, bytes: u64) -> Self {
        match self {
            Self::InFile { path, offset } => Self::InFile {
                path: path.clone(),
                offset: offset.saturating_add(bytes),
            },
            other => other.clone(),
        }
    }
}

impl fmt::Display for MissingReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSegment => f.write_str(
                "the core file has no segment; is the address right? gdb leaves out what QEMU \
                 excludes with -machine dump-guest-core=off, as libvirt has it do unless the \
                 domain has <memory dumpCore='on'> (gdb: set dump-excluded-mappings on)",
            ),
            Self::LeftOut => f.write_str(
                "the bytes were left out of the core file: QEMU excludes guest RAM \
                 (MADV_DONTDUMP) with -machine dump-guest-core=off, as libvirt has it do unless \
                 the domain has <memory dumpCore='on'>, and /proc/PID/coredump_filter may leave \
                 out shared memory (bit 1), private and shared files (bits 2 and 3) and huge \
                 pages (bits 5 and 6)",
            ),
            Self::CutShort => f.write_str(
                "the core file is cut short (a limit of ulimit -c or of the host's core handler, \
                 or a full disk)",
            ),
            Self::InFile { path, offset } => write!(
                f,
                "the memory was a mapping of the file {} from offset {offset:#x} on, which is not \
                 in the core file; take it from that file",
                path.display()
            ),
        }
    }
}

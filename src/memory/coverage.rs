//! The knowledge of a source of guest memory about the memory that it lacks.
#![forbid(unsafe_code)]

use std::fmt;

use crate::memory::MemoryRange;

/// The facts that a [`GuestMemory`](crate::GuestMemory) knows about guest memory that it does
/// not contain.
///
/// A running guest lacks nothing, which is the default. A dump that is read again may be
/// filtered, cut short or a part of a set. A dump that is written takes these facts over:
///
/// - [`absent`](Self::absent) pages are RAM that the new dump excludes too;
/// - [`dump_level`](Self::dump_level) becomes a part of the new dump's level;
/// - [`vmemmap_excluded`](Self::vmemmap_excluded) becomes a mark in the new dump;
/// - a source with [`lacks`](Self::lacks) is refused, or makes a dump that says that it is
///   incomplete, as [`DumpOptions::keep_incomplete`](crate::DumpOptions::keep_incomplete) asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Coverage {
    /// RAM that the memory does not contain, as guest-physical ranges. They ascend, and overlap
    /// neither each other nor the memory's own ranges.
    pub absent: Vec<MemoryRange>,
    /// The dump level by which pages were excluded: the sum of bits of `makedumpfile -d`.
    pub dump_level: u32,
    /// Whether the kernel's page structures of excluded pages are excluded too, as by
    /// `makedumpfile -e`.
    pub vmemmap_excluded: bool,
    /// The reasons why the memory is less than its writer meant it to be. Empty if it is whole.
    pub lacks: Vec<Lack>,
}

impl Coverage {
    /// Describes memory that lacks nothing.
    #[must_use]
    pub fn complete() -> Self {
        Self::default()
    }

    /// Whether the memory is all that its writer meant it to be. Pages that a dump level
    /// excluded on purpose do not count.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.lacks.is_empty()
    }

    /// Returns the number of bytes of RAM that the memory does not contain.
    #[must_use]
    pub fn absent_bytes(&self) -> u64 {
        self.absent.iter().map(|range| range.size()).sum()
    }
}

/// A reason why a source is less than the guest memory that it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lack {
    /// The dump's header says that the dump is incomplete.
    Marked,
    /// The file ends before bytes that its headers promise.
    CutShort {
        /// Name of the first part that is missing.
        what: &'static str,
        /// Offset in the dump at which the missing part begins.
        offset: u64,
        /// Offset at which the dump ends.
        end: u64,
    },
    /// The file is one part of a dump that was split.
    Part {
        /// The first page frame of the part.
        start: u64,
        /// The page frame after the last one of the part.
        end: u64,
    },
    /// A part of a dump that was split is missing from a set of parts.
    MissingPart {
        /// The first page frame of the part.
        start: u64,
        /// The page frame after the last one of the part.
        end: u64,
    },
    /// Segments of an ELF core state no guest-physical address, so their memory cannot be used.
    NoAddress {
        /// Number of such segments.
        segments: u64,
        /// Their memory in bytes.
        bytes: u64,
    },
    /// The dump excludes memory on purpose, and nothing says which.
    Excludes {
        /// The excluded memory, in words.
        what: &'static str,
    },
    /// The header counts more pages than the dump has.
    FewerPages {
        /// Pages that the header counts.
        written: u64,
        /// Pages in the dump.
        found: u64,
    },
    /// The notes do not add up, so CPUs or VMCOREINFO may be lost.
    DamagedNotes {
        /// Offset of the first damaged note in the dump.
        offset: u64,
    },
    /// A core file of a process lacks RAM of the guest.
    NotInCore {
        /// The missing RAM in bytes.
        bytes: u64,
        /// The first missing range.
        first: MemoryRange,
    },
}

impl Lack {
    /// Returns a name for programs: a word that does not change.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Marked => "marked",
            Self::CutShort { .. } => "cut-short",
            Self::Part { .. } => "part",
            Self::MissingPart { .. } => "missing-part",
            Self::NoAddress { .. } => "no-address",
            Self::Excludes { .. } => "excludes",
            Self::FewerPages { .. } => "fewer-pages",
            Self::DamagedNotes { .. } => "damaged-notes",
            Self::NotInCore { .. } => "not-in-core",
        }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Marked => f.write_str("its header says that it is incomplete"),
            Self::CutShort { what, offset, end } => write!(
                f,
                "it is cut short: {what} at offset {offset} reaches past its end at {end}"
            ),
            Self::Part { start, end } => write!(
                f,
                "it is one part of a split dump, with page frames {start:#x} to {end:#x}"
            ),
            Self::MissingPart { start, end } => write!(
                f,
                "the part of the split dump with page frames {start:#x} to {end:#x} is missing"
            ),
            Self::NoAddress { segments, bytes } => write!(
                f,
                "{segments} of its segments, with {bytes} bytes, state no guest-physical address"
            ),
            Self::Excludes { what } => {
                write!(f, "it has {what}, and its header does not say which")
            }
            Self::FewerPages { written, found } => {
                write!(
                    f,
                    "its header counts {written} pages, and {found} are there"
                )
            }
            Self::DamagedNotes { offset } => write!(
                f,
                "the note at offset {offset} is damaged, and what follows it is lost"
            ),
            Self::NotInCore { bytes, first } => write!(
                f,
                "{bytes} bytes of the guest's RAM are not in the core file, first {first}"
            ),
        }
    }
}

/// Lists reasons in a sentence.
pub(crate) fn list(lacks: &[Lack]) -> String {
    let all: Vec<_> = lacks.iter().map(Lack::to_string).collect();
    all.join("; ")
}

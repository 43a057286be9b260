//! Everything that goes into a kdump dump.
#![forbid(unsafe_code)]

use super::completion::Completion;
use crate::arch::Machine;
use crate::codec::Engine;
use crate::guest::reader::HeaderFacts;
use crate::memory::{GuestMemory, UnreadableLog};
use crate::selection::Selection;
use crate::write::notes::NoteSegment;

/// The contents of a dump.
#[derive(Clone, Copy)]
pub(crate) struct KdumpContents<'a> {
    pub(crate) memory: &'a dyn GuestMemory,
    /// The parts of `memory` that cannot be read.
    pub(crate) unreadable: &'a UnreadableLog,
    pub(crate) selection: &'a Selection,
    pub(crate) notes: &'a NoteSegment,
    pub(crate) facts: &'a HeaderFacts,
    pub(crate) completion: Completion,
    /// Whether the dump says that it is incomplete, because its source is.
    pub(crate) incomplete: bool,
    /// Whether the source excludes the kernel's page structures of excluded pages.
    pub(crate) vmemmap_excluded: bool,
    pub(crate) engine: Engine,
    pub(crate) machine: Machine,
    /// The level by which `selection` excludes pages, as a number.
    pub(crate) level: u32,
    /// makedumpfile's record of what it erased.
    pub(crate) erase_info: &'a [u8],
}

//! Dumps: one file or folder for each format writes it.

pub(crate) mod elf;
pub(crate) mod elf_sections;
pub(crate) mod kdump;
pub(crate) mod notes;
pub(crate) mod raw;
pub(crate) mod windmp;

pub use elf_sections::{Section, SectionsError};
pub use windmp::WindowsSummary;

//! ELF core files: `format` has the bytes, `note` the notes, `writer` the
//! logic of a dump, `sections` of what lies behind its memory, `reader` and
//! `sections_reader` decode.

pub mod format;
pub mod note;
#[cfg(feature = "file")]
pub(crate) mod reader;
pub(crate) mod sections;
#[cfg(feature = "file")]
pub(crate) mod sections_reader;
pub(crate) mod writer;

pub use note::{Note, NoteError, Notes};
pub use sections::{Section, SectionsError};

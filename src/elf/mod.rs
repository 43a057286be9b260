//! ELF core files: `format` has the bytes, `note` the notes, `writer` the
//! logic of a dump, `sections` of what lies behind its memory, `reader` the
//! decoder.

pub mod format;
pub mod note;
pub(crate) mod reader;
pub(crate) mod sections;
pub(crate) mod writer;

pub use note::{Note, NoteError, Notes};
pub use sections::{Section, SectionsError};

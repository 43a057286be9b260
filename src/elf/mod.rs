//! ELF core files: `format` has the bytes, `note` the notes, `writer` the
//! logic of a dump, `reader` the decoder.

pub mod format;
pub mod note;
pub(crate) mod reader;
pub(crate) mod writer;

pub use note::{Note, NoteError, Notes};

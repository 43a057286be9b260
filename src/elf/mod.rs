//! ELF core files: `format` has the bytes, `note` the notes, `writer` the
//! logic of a dump, `sections` of what lies behind its memory, `reader` and
//! `sections_reader` decode.
//!
//! ```
//! use guestdump::ByteOrder;
//! use guestdump::elf::{Note, Notes};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut segment = Vec::new();
//! let note = Note { name: b"CORE", kind: 1, desc: &[0; 8] };
//! note.encode(ByteOrder::Little, &mut segment);
//! for note in Notes::new(&segment, ByteOrder::Little) {
//!     let (_offset, note) = note?;
//!     assert!(note.is(b"CORE", 1));
//! }
//! # Ok(())
//! # }
//! ```

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

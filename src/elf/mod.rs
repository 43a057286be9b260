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

mod constants;
mod file_header;
pub mod note;
mod program_header;
mod section_header;

pub use constants::*;
pub use file_header::{Ehdr32, Ehdr64, FileHeader};
pub use note::{Note, NoteError, Notes};
pub use program_header::{Phdr32, Phdr64, ProgramHeader};
pub use section_header::{SectionHeader, Shdr32, Shdr64, decode_section_zero, encode_section_zero};

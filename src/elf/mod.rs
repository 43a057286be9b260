//! ELF core files: the headers, and the notes of a core.
//!
//! The room has bytes alone. It reads no file, starts no thread, and is there without any feature.
//! The [convention](crate::abi#how-headers-are-read-and-written) of headers holds.
//!
//! ```
//! use guestdump::elf::note::{CORE, NT_PRSTATUS};
//! use guestdump::elf::{
//!     ET_CORE, FileHeader, Note, Notes, PT_NOTE, ProgramHeader, program_headers,
//! };
//! use guestdump::{ByteOrder, Class, Encoding};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let encoding = Encoding { class: Class::Bits64, order: ByteOrder::Little };
//! let mut header = FileHeader::new(encoding, ET_CORE, 62);
//! header.phoff = header.ehsize.into();
//! header.phnum = 1;
//! let note = Note { name: CORE, kind: NT_PRSTATUS, desc: &[0; 336] };
//! let notes = ProgramHeader {
//!     kind: PT_NOTE,
//!     offset: header.phoff + ProgramHeader::size(encoding.class) as u64,
//!     filesz: note.size() as u64,
//!     ..ProgramHeader::default()
//! };
//! let mut core = Vec::new();
//! header.encode(&mut core)?;
//! notes.encode(encoding, &mut core)?;
//! note.encode(encoding.order, &mut core)?;
//!
//! for segment in program_headers(&core)?.filter(|h| h.kind == PT_NOTE) {
//!     let bytes = &core[segment.offset as usize..][..segment.filesz as usize];
//!     for note in Notes::new(bytes, encoding.order) {
//!         let (_offset, note) = note?;
//!         assert!(note.is(CORE, NT_PRSTATUS));
//!     }
//! }
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod constants;
mod excluded;
mod file_header;
mod guestdump_note;
pub mod note;
mod program_header;
mod program_headers;
mod section_header;

pub use constants::*;
pub use excluded::ExcludedHeader;
pub use file_header::FileHeader;
pub use guestdump_note::GuestdumpNote;
pub use note::{Note, NoteError, Notes};
pub use program_header::ProgramHeader;
pub use program_headers::{ElfError, program_headers};
pub use section_header::SectionHeader;

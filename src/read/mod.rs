//! Reading dumps: any ELF or kdump file, raw or flattened, and Windows's full
//! and bitmap dumps, by any writer, as guest memory again. The one decoder: `guestdump info`, `guestdump check`
//! and the source `vmcore:` are made of it.
//!
//! ```
//! use guestdump::memory::SliceMemory;
//! use guestdump::sink::FdSink;
//! use guestdump::read::Vmcore;
//! use guestdump::{DumpOptions, Format, GuestMemory, Progress, dump};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let file = tempfile::tempfile()?;
//! let ram = vec![7; 1 << 20];
//! let memory = SliceMemory::new([(0, &ram[..])])?;
//! let mut sink = FdSink::new(file.try_clone()?.into())?;
//! dump(&memory, &mut sink, &DumpOptions::new(Format::Elf))?;
//!
//! let vmcore = Vmcore::open(file)?;
//! vmcore.check(&Progress::new())?; // every page can be read
//! let mut byte = [0];
//! vmcore.read(0x1234, &mut byte)?;
//! assert_eq!((vmcore.pages(), byte), (256, [7]));
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod check;
pub(crate) mod elf;
mod elf_sections;
mod error;
mod flattened;
mod input;
mod kdump;
mod rearrange;
mod vmcore;
mod windmp;

pub use check::CheckReport;
pub use error::VmcoreError;
pub(crate) use input::Input;
pub use rearrange::{RearrangeError, rearrange};
pub use vmcore::{Headers, Vmcore};

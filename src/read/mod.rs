//! Reading dumps as guest memory again, whichever program wrote them.
//!
//! [`Vmcore`] opens ELF and kdump dumps, raw or flattened, dumps of Windows of types 1, 5, 6, 8, 9
//! and 10, and Xen's dump-core. The commands `guestdump info` and `guestdump check` and
//! the source `vmcore:` use it too. The dump may lie in a file, in memory or
//! in any other [`ReadAt`].
//!
//! ```
//! use guestdump::memory::SliceMemory;
//! use guestdump::read::Vmcore;
//! use guestdump::sink::BufferSink;
//! use guestdump::{DumpOptions, Format, GuestInfo, GuestMemory, Machine, Progress, dump};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let ram = vec![7; 1 << 20];
//! let memory = SliceMemory::new([(0, &ram[..])])?;
//! let mut sink = BufferSink::new();
//! let guest = GuestInfo::new(Machine::X86_64);
//! dump(&memory, &mut sink, &DumpOptions::new(guest, Format::Elf))?;
//!
//! let vmcore = Vmcore::open(sink.into_bytes())?;
//! vmcore.check(&Progress::new())?; // every page can be read
//! let mut byte = [0];
//! vmcore.read(0x1234, &mut byte)?;
//! assert_eq!((vmcore.pages(), byte), (256, [7]));
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod bitmap;
mod check;
mod dump;
pub(crate) mod elf;
mod error;
#[cfg(feature = "file")]
mod file;
mod flattened;
#[cfg(all(feature = "file", feature = "zlib"))]
mod gzip;
mod input;
mod kdump;
mod kind;
mod read_at;
mod rearrange;
mod regions;
mod stored;
#[cfg(feature = "file")]
mod unpack;
mod vmcore;
mod windmp;
mod xen;

pub use check::CheckReport;
pub use dump::Headers;
pub use error::VmcoreError;
#[cfg(feature = "file")]
pub use file::Uncached;
pub(crate) use input::Input;
pub use kind::FileKind;
pub use read_at::ReadAt;
pub use rearrange::{RearrangeError, rearrange};
pub use regions::{Region, RegionError, RegionMemory};
#[cfg(feature = "file")]
pub use unpack::{UnpackError, unpack};
pub use vmcore::Vmcore;

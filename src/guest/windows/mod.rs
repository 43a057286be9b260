//! Windows kernel dumps: full dumps (type 1) and bitmap dumps (type 5), of
//! 32-bit and 64-bit guests on x86.
//!
//! A dump begins with a header that the guest makes, or knows what is in
//! it. This crate takes it from the note of the guest's driver or from the
//! caller, or builds it from what the guest's kernel has in memory
//! ([`HeaderSource`]), checks every field that it uses, and sets those that
//! say what the dump holds.
//!
//! docs/formats/windmp.md has the layouts and their sources.
//!
//! A dump of a Windows guest that has no driver in it, by its memory and its
//! CPUs' registers alone, and what its header says:
//!
//! ```
//! # #[cfg(all(feature = "demo", feature = "file"))]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use guestdump::demo::WindowsGuest;
//! use guestdump::sink::FdSink;
//! use guestdump::read::{Headers, Vmcore};
//! use guestdump::guest::windows::{HeaderSource, WindowsOptions};
//! use guestdump::{DumpOptions, Format, dump};
//!
//! let guest = WindowsGuest::new(32 << 20)?; // stands for the monitor's own
//! let file = tempfile::tempfile()?;
//! let mut sink = FdSink::new(file.try_clone()?.into())?;
//! let windows = WindowsOptions::new().header(HeaderSource::Guest);
//! let options = DumpOptions::new(Format::WIN_DMP)
//!     .cpus(guest.registers())
//!     .windows(windows);
//! let summary = dump(&guest, &mut sink, &options)?;
//! let bugcheck = summary.windows.ok_or("a Windows dump")?.bugcheck;
//! assert_eq!(Some(bugcheck), guest.crash());
//!
//! let vmcore = Vmcore::open(file)?;
//! let Headers::WinDmp { header, .. } = vmcore.headers() else {
//!     return Err("a Windows dump".into());
//! };
//! assert_eq!(header.number_processors(), 2);
//! # Ok(())
//! # }
//! # #[cfg(not(all(feature = "demo", feature = "file")))]
//! # fn main() {}
//! ```

mod context;
mod decode_context;
pub(crate) mod discover;
mod error;
mod options;
pub(crate) mod runs;
pub(crate) mod source;

pub(crate) use context::encode as encode_context;
pub use context::{DebugRegisters, ExtraState, SseState};
pub(crate) use decode_context::decode_context;
pub use discover::{SkipReason, SkippedCpu};
pub(crate) use error::WindowsError;
pub use error::{KernelList, ListFault, WinDmpError};
pub use options::{ContextPlace, HeaderSource, WindowsInfo};
pub use source::HeaderOrigin;

pub use crate::windmp::BugcheckData;

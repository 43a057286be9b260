//! Windows kernel dumps: full dumps (type 1) and bitmap dumps (type 5), of
//! 32-bit and 64-bit guests on x86.
//!
//! A dump begins with a header. Either the guest builds it, or the guest's memory
//! contains what belongs into it. This crate takes the header from one of three
//! sources ([`HeaderSource`]):
//!
//! - the note of the guest's driver;
//! - the caller;
//! - the data of the guest's kernel in memory, from which it builds the header.
//!
//! It checks every field that it uses, and sets the fields that describe the
//! dump's contents.
//!
//! docs/formats/windmp.md has the layouts and their sources.
//!
//! The following example dumps a Windows guest that has no driver. It needs
//! only the guest's memory and its CPUs' registers. Then it reads the dump's
//! header.
//!
//! ```
//! # #[cfg(all(feature = "demo", feature = "file"))]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use guestdump::demo::WindowsGuest;
//! use guestdump::sink::FdSink;
//! use guestdump::read::{Headers, Vmcore};
//! use guestdump::guest::windows::HeaderSource;
//! use guestdump::windmp::DumpKind;
//! use guestdump::{DumpOptions, GuestInfo, WinDmpOptions, dump};
//!
//! let guest = WindowsGuest::new(32 << 20)?; // stands for the monitor's own
//! let file = tempfile::tempfile()?;
//! let mut sink = FdSink::new(file.try_clone()?.into())?;
//! let info = GuestInfo::new(guest.kind().machine()).cpus(guest.registers());
//! let format = WinDmpOptions::new(DumpKind::Full).header(HeaderSource::Guest);
//! let options = DumpOptions::new(info, format);
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

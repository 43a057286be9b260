//! What a Linux guest's kernel says in its memory, found by VMCOREINFO alone:
//! no symbols file, no agent in the guest.
//!
//! [`Kernel`] reads by guest-virtual addresses; [`Kernel::log`] is the
//! kernel's log. [`DumpLevel`] says which pages a dump leaves out, by what the
//! kernel uses them for.
//!
//! The log of the guest in a dump, and what its pages are used for:
//!
//! ```no_run
//! # #[cfg(feature = "file")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use guestdump::{Format, Workers};
//! use guestdump::guest::linux::{DumpLevel, Kernel};
//! use guestdump::read::Vmcore;
//!
//! let vmcore = Vmcore::open(std::fs::File::open("guest.vmcore")?)?;
//! let options = vmcore.options(Format::Elf)?; // its machine, its VMCOREINFO
//! let workers = Workers::new();
//! let kernel = Kernel::find(&vmcore, &options.guest, &workers)?;
//! for record in kernel.log()? {
//!     println!("{}", record?);
//! }
//! let left_out = kernel.exclusion(DumpLevel::FREE.with(DumpLevel::CACHE))?;
//! println!("{} pages are free", left_out.counts().free);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "file"))]
//! # fn main() {}
//! ```
//!
//! Of a guest that a monitor holds, here the synthetic one:
//!
//! ```
//! # #[cfg(feature = "demo")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use guestdump::demo::DemoGuest;
//! use guestdump::guest::linux::Kernel;
//! use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
//! use guestdump::{GuestInfo, Machine, Workers};
//!
//! let guest = DemoGuest::new(64 << 20)?;
//! let info = GuestInfo::new(Machine::X86_64)
//!     .vmcoreinfo(VmcoreinfoSource::FwCfg(guest.fw_cfg_entry()));
//! let workers = Workers::new();
//! let kernel = Kernel::find(&guest, &info, &workers)?;
//! assert!(kernel.vmcoreinfo().osrelease().starts_with("6.1"));
//! let mut uts = [0; 16];
//! let init_uts_ns = kernel.vmcoreinfo().symbol("init_uts_ns").ok_or("no symbol")?;
//! kernel.read(init_uts_ns, &mut uts)?; // by its guest-virtual address
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "demo"))]
//! # fn main() {}
//! ```
#![forbid(unsafe_code)]

mod error;
mod kernel;
mod log;
mod pages;
mod reader;
mod vmemmap;
mod vmemmap_list;

pub use error::KernelError;
pub use kernel::Kernel;
pub use log::{Caller, Log, LogRecord};
pub use pages::{DumpLevel, ExcludedPages, Exclusion};

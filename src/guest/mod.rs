//! Facts about a guest, and readers for its memory: page tables, VMCOREINFO, the kernels of Linux
//! and Windows.
//!
//! ```
//! use guestdump::arch::x86_64::Registers;
//! use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
//! use guestdump::{GuestInfo, Machine};
//!
//! let vcpu0 = Registers { rip: 0xffff_ffff_8100_0000, ..Registers::default() };
//! let guest = GuestInfo::new(Machine::X86_64)
//!     .cpus([vcpu0])
//!     .vmcoreinfo(VmcoreinfoSource::Scan);
//! assert_eq!(guest.machine(), Machine::X86_64);
//! ```

mod info;
pub mod linux;
pub mod paging;
pub(crate) mod reader;
pub mod vmcoreinfo;
pub mod windows;

pub use info::GuestInfo;

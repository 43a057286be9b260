//! Facts about a guest, and readers for its memory: page tables, VMCOREINFO, the kernels of Linux
//! and Windows.

mod info;
pub mod linux;
pub mod paging;
pub(crate) mod reader;
pub mod vmcoreinfo;
pub mod windows;

pub use info::GuestInfo;

//! What a guest is, and what its memory says about it.

mod info;
pub mod linux;
pub mod paging;
pub(crate) mod reader;
pub mod vmcoreinfo;
pub mod windows;

pub use info::GuestInfo;

//! Finding VMCOREINFO in guest memory.
#![forbid(unsafe_code)]

mod finds;
mod locate;
mod scan;

pub(crate) use locate::find_all;
pub use locate::{Candidate, Located, Origin, VmcoreinfoError, VmcoreinfoSource};
pub(crate) use locate::{locate, read_note_bytes};

//! Finding VMCOREINFO in guest memory.
#![forbid(unsafe_code)]

mod error;
mod finds;
mod locate;
mod located;
mod note;
mod scan;
mod source;
mod verify;

pub use error::VmcoreinfoError;
pub(crate) use locate::{find_all, locate, read_note_bytes};
pub use located::{Candidate, Located, Origin, Rejected};
pub(crate) use note::from_bytes;
pub use source::VmcoreinfoSource;
pub(crate) use verify::is_in_memory;

//! Finding VMCOREINFO in guest memory.
#![forbid(unsafe_code)]

mod error;
mod finds;
mod locate;
mod located;
mod note;
mod scan;
mod source;

pub use error::VmcoreinfoError;
pub(crate) use locate::find_all;
pub(crate) use locate::{locate, read_note_bytes};
pub use located::{Candidate, Located, Origin};
pub use source::VmcoreinfoSource;

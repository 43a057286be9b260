//! What a Linux guest's kernel says in its memory, found by VMCOREINFO alone:
//! no symbols file, no agent in the guest.
//!
//! [`Kernel`] reads by guest-virtual addresses; [`Kernel::log`] is the
//! kernel's log.
#![forbid(unsafe_code)]

mod kernel;
mod log;

pub use kernel::{Kernel, KernelError};
pub use log::{Caller, Log, LogRecord};

//! What a Linux guest's kernel says in its memory, found by VMCOREINFO alone:
//! no symbols file, no agent in the guest.
//!
//! [`Kernel`] reads by guest-virtual addresses; [`Kernel::log`] is the
//! kernel's log. [`DumpLevel`] says which pages a dump leaves out, by what the
//! kernel uses them for.
#![forbid(unsafe_code)]

mod kernel;
mod log;
mod pages;
mod vmemmap;

pub use kernel::{Kernel, KernelError};
pub use log::{Caller, Log, LogRecord};
pub use pages::{DumpLevel, ExcludedPages, Exclusion};

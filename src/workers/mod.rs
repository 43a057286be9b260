//! Threads that work on a dump, and the progress that they report.
#![forbid(unsafe_code)]

mod progress;
mod threads;

pub use progress::{Progress, ProgressSnapshot};
pub use threads::Executor;
pub(crate) use threads::{Threads, panic_message};

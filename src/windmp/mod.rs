//! Windows kernel dumps: full dumps (type 1) and bitmap dumps (type 5), of
//! 32-bit and 64-bit guests on x86.
//!
//! A dump begins with a header that the guest makes, or knows what is in
//! it. This crate takes it from the note of the guest's driver or from the
//! caller, or builds it from what the guest's kernel has in memory
//! ([`HeaderSource`]), checks every field that it uses, and sets those that
//! say what the dump holds.
//!
//! docs/formats/windmp.md has the layouts and their sources.

mod context;
pub(crate) mod discover;
mod error;
pub mod format;
mod header;
mod options;
mod overlay;
mod plan;
#[cfg(feature = "file")]
mod read_context;
#[cfg(feature = "file")]
pub(crate) mod reader;
mod runs;
mod source;
mod writer;

pub use context::{DebugRegisters, ExtraState, SseState};
pub use discover::{SkipReason, SkippedCpu};
pub use error::{KernelList, ListFault, WinDmpError};
pub use header::Header;
pub use options::{BugcheckData, ContextPlace, HeaderSource, WindowsOptions};
pub(crate) use plan::WinDmpPlan;
pub use plan::WindowsSummary;
#[cfg(feature = "file")]
pub(crate) use read_context::decode_context;
pub use source::HeaderOrigin;

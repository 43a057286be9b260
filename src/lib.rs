//! Dumps of a guest's memory that the debuggers of the field open at once.

pub mod arch;
pub mod codec;
#[cfg(feature = "demo")]
pub mod demo;
mod dump;
pub mod elf;
mod encoding;
mod error;
pub mod flattened;
mod format;
mod guest;
pub mod kdump;
pub mod memory;
mod notes;
mod pipeline;
mod progress;
pub mod sink;
pub mod vmcore;
pub mod vmcoreinfo;

pub use arch::{Machine, Registers};
pub use dump::{DumpOptions, Summary, dump};
pub use encoding::{ByteOrder, Class, Encoding};
pub use error::{Error, Result};
pub use format::{Format, UnknownFormat};
pub use memory::{GuestMemory, MemoryRange};
pub use progress::{Progress, ProgressSnapshot};
pub use sink::DumpSink;

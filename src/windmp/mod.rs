//! The bytes of Windows kernel dumps: headers, the bitmap's header, contexts.
#![forbid(unsafe_code)]

mod bitmap_header;
mod constants;
mod context;
mod header;
mod header32;
mod header64;
mod kind;
pub(crate) mod runs;

pub use bitmap_header::{BitmapHeader, FULL_BITMAP, KERNEL_BITMAP};
pub use constants::*;
pub use context::{
    CONTEXT_AMD64, CONTEXT_CONTROL, CONTEXT_DEBUG_REGISTERS, CONTEXT_EXTENDED_REGISTERS,
    CONTEXT_FLOATING_POINT, CONTEXT_I386, CONTEXT_INTEGER, CONTEXT_SEGMENTS, Context32, Context64,
    FloatingSave32, Fxsave,
};
pub use header::Header;
pub use header32::{DumpHeader32, ExceptionRecord32, MAX_RUNS_32, MemoryDescriptor32, Run32};
pub use header64::{DumpHeader64, ExceptionRecord64, MAX_RUNS_64, MemoryDescriptor64, Run64};
pub use kind::DumpKind;

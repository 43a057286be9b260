//! Windows kernel dumps: the dump's header, the header of its page bitmap, and the CPU contexts. All
//! fields are little-endian.
//!
//! The room has bytes alone. It reads no file, starts no thread, and is there without any feature.
//! The [convention](crate::abi#how-headers-are-read-and-written) of headers holds. A [`Header`] keeps the
//! bytes of all fields that it does not name.
//!
//! ```
//! use guestdump::Class;
//! use guestdump::windmp::{DUMP_TYPE_FULL, Header};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut header = Header::new(Class::Bits64);
//! header.set_directory_table_base(0x1aa000)?;
//! header.set_number_processors(2);
//! header.set_dump_type(DUMP_TYPE_FULL);
//! header.set_runs(&[0..0x9f, 0x100..0x8000], 0x7f9f)?;
//! let mut bytes = Vec::new();
//! header.encode(&mut bytes);
//! assert_eq!(Header::decode(&bytes)?.runs().count(), 2);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod bitmap_header;
mod bugcheck;
mod constants;
mod context;
mod context_arm64;
mod dump_type;
mod error;
mod header;
mod header32;
mod header64;
mod kind;
mod rdmp_header;
mod runs;

pub use bitmap_header::{BitmapHeader, FULL_BITMAP, KERNEL_BITMAP};
pub use bugcheck::BugcheckData;
pub use constants::*;
pub use context::{
    CONTEXT_AMD64, CONTEXT_CONTROL, CONTEXT_DEBUG_REGISTERS, CONTEXT_EXTENDED_REGISTERS,
    CONTEXT_FLOATING_POINT, CONTEXT_I386, CONTEXT_INTEGER, CONTEXT_SEGMENTS,
};
pub(crate) use context::{Context32, Context64, Fxsave};
pub use context_arm64::CONTEXT_ARM64;
pub(crate) use context_arm64::ContextArm64;
pub use error::HeaderError;
pub use header::Header;
pub use kind::DumpKind;
pub use rdmp_header::RdmpHeader;
pub use runs::{Run, fit_runs};

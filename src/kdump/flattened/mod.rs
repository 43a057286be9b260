//! makedumpfile's flattened format, which carries a file with holes and writes at any offset over a
//! stream: a file header, then records of offset, length and data, then an end record.
//!
//! ```
//! use guestdump::kdump::flattened::{FlattenedWriter, Records};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut writer = FlattenedWriter::begin(Vec::new())?; // or a pipe to makedumpfile -R
//! writer.write_at(4096, b"sub header")?;
//! writer.write_at(0, b"main header")?;
//! let stream = writer.finish()?;
//!
//! let mut raw = vec![0; 8192];
//! for record in Records::new(&stream)? {
//!     let record = record?;
//!     let at = record.offset as usize;
//!     raw[at..at + record.data.len()].copy_from_slice(record.data);
//! }
//! assert!(raw[4096..].starts_with(b"sub header"));
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod record;
mod records;
mod writer;

pub use record::*;
pub use records::{Record, RecordError, Records};
pub use writer::FlattenedWriter;

//! makedumpfile's flattened format, which carries a file with holes and
//! out-of-order writes over a stream: `format` has the bytes, `writer` makes
//! records, `reader` finds them again, `rearrange` brings a flattened dump
//! back into its raw form.
//!
//! ```
//! # #[cfg(feature = "snappy")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use guestdump::read::rearrange;
//! use guestdump::memory::SliceMemory;
//! use guestdump::sink::{BufferSink, StreamSink};
//! use guestdump::{DumpOptions, Format, Progress, dump};
//!
//! let ram = vec![7; 1 << 20];
//! let memory = SliceMemory::new([(0, &ram[..])])?;
//! let mut flattened = StreamSink::new(Vec::new()); // or a pipe to makedumpfile -R
//! dump(&memory, &mut flattened, &DumpOptions::new(Format::KDUMP_SNAPPY))?;
//! let mut raw = BufferSink::new();
//! rearrange(&mut &flattened.into_inner()[..], &mut raw, &Progress::new())?;
//! assert!(raw.into_bytes().starts_with(b"KDUMP   "));
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "snappy"))]
//! # fn main() {}
//! ```

mod record;

pub use record::*;

//! makedumpfile's kdump-compressed format: `format` has the bytes, `bitmap`
//! the page bitmaps, `layout` says what lies where, `writer` is the logic of
//! a dump, `reader` the decoder.
//!
//! The header of a dump of a 64-bit little-endian guest:
//!
//! ```
//! # #[cfg(feature = "snappy")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use guestdump::kdump::MainHeader;
//! use guestdump::memory::SliceMemory;
//! use guestdump::sink::BufferSink;
//! use guestdump::{ByteOrder, Class, DumpOptions, Format, dump};
//!
//! let ram = vec![7; 1 << 20];
//! let memory = SliceMemory::new([(0, &ram[..])])?;
//! let mut sink = BufferSink::new();
//! dump(&memory, &mut sink, &DumpOptions::new(Format::KDUMP_RAW_SNAPPY))?;
//! let header = MainHeader::decode(Class::Bits64, ByteOrder::Little, &sink.into_bytes());
//! assert_eq!(header.ok_or("too short")?.block_size, 4096);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "snappy"))]
//! # fn main() {}
//! ```

pub mod bitmap;
mod constants;
mod container;
pub mod flattened;
pub mod layout;
mod main_header;
mod page_descriptor;
mod sub_header;

pub use constants::*;
pub use container::Container;
pub use main_header::MainHeader;
pub use page_descriptor::PageDescriptor;
pub use sub_header::SubHeader;

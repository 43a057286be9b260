//! makedumpfile's kdump-compressed format: headers, page descriptors, layout.
//!
//! [`bitmap`](crate::bitmap) has its page bitmaps. The room has bytes alone. It reads no file, starts
//! no thread, and is there without any feature.
//! The [convention](crate::abi#how-headers-are-read-and-written) of headers holds.
//!
//! The page frames of a dump in memory, and where their data lies:
//!
//! ```
//! use guestdump::bitmap;
//! use guestdump::kdump::{DumpHeaders, PageDescriptor};
//!
//! /// The first page frame and its descriptor.
//! fn first_page(dump: &[u8]) -> Option<(u64, PageDescriptor)> {
//!     let headers = DumpHeaders::decode(dump).ok()?;
//!     let [_ram, dumped] = headers.bitmaps().ok()?;
//!     let frames = bitmap::runs(dump.get(dumped.start as usize..dumped.end as usize)?);
//!     let descriptors = dump.get(headers.descriptors() as usize..)?;
//!     let descriptors = PageDescriptor::iter(headers.abi.order, descriptors);
//!     frames.flatten().zip(descriptors).next()
//! }
//! # #[cfg(feature = "snappy")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use guestdump::memory::SliceMemory;
//! # use guestdump::sink::BufferSink;
//! # use guestdump::{DumpOptions, Format, GuestInfo, Machine, dump};
//! # let ram = vec![7; 1 << 20];
//! # let memory = SliceMemory::new([(0, &ram[..])])?;
//! # let mut sink = BufferSink::new();
//! # let guest = GuestInfo::new(Machine::X86_64);
//! # dump(&memory, &mut sink, &DumpOptions::new(guest, Format::KDUMP_RAW_SNAPPY))?;
//! # let dump = sink.into_bytes();
//! let (frame, descriptor) = first_page(&dump).ok_or("no page")?;
//! assert_eq!(frame, 0);
//! assert!(descriptor.size < 4096);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "snappy"))]
//! # fn main() {}
//! ```
#![forbid(unsafe_code)]

mod constants;
mod container;
mod dump_headers;
pub mod flattened;
pub mod layout;
mod main_header;
mod page_descriptor;
mod sub_header;

pub use constants::*;
pub use container::Container;
pub use dump_headers::{DumpHeaders, HeaderError};
pub use main_header::MainHeader;
pub use page_descriptor::PageDescriptor;
pub use sub_header::SubHeader;

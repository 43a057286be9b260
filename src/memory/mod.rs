//! Guest memory: the trait that a virtual machine monitor implements
//! ([`GuestMemory`]), implementations for slices, files and mappings, and wrappers that
//! change how a dump reads memory.
//!
//! ```
//! use guestdump::memory::{GuestMemory, SliceMemory};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (low, high) = (vec![1; 0x2000], vec![2; 0x1000]);
//! let memory = SliceMemory::new([(0, &low[..]), (4 << 30, &high[..])])?;
//! let mut byte = [0];
//! memory.read((4 << 30) + 0xfff, &mut byte)?;
//! assert_eq!(byte, [2]);
//! # Ok(())
//! # }
//! ```

mod by_range;
mod clock;
mod coverage;
#[cfg(feature = "file")]
mod file;
#[cfg(feature = "file")]
mod file_extents;
mod guest_memory;
#[cfg(feature = "mapped")]
mod mapped;
mod overlay;
mod range;
mod range_list;
mod slices;
mod throttled;
mod tolerant;
mod whole_pages;
mod zero;

pub(crate) use by_range::{find_range, is_ram, next_populated_by_range, read_by_range};
pub(crate) use clock::Monotonic;
pub(crate) use coverage::list as list_lacks;
pub use coverage::{Coverage, Lack};
#[cfg(feature = "file")]
pub use file::{FileMemory, FileMemoryError, FileRegion};
#[cfg(any(feature = "vm-memory", feature = "vm-memory-0-17"))]
pub(crate) use file_extents::search_file;
pub use guest_memory::GuestMemory;
pub(crate) use guest_memory::{not_ram, read_populated, slice};
#[cfg(feature = "mapped")]
pub use mapped::MappedMemory;
pub use overlay::OverlayError;
pub(crate) use overlay::{Overlay, Patch, Patches};
pub use range::{MIN_PAGE_SIZE, MemoryRange, RangeError, validate_ranges};
pub(crate) use range_list::{difference, union};
pub use slices::SliceMemory;
pub(crate) use throttled::Throttled;
pub use tolerant::{OnReadError, Unreadable};
pub(crate) use tolerant::{Tolerant, UnreadableLog};
pub(crate) use whole_pages::WholePages;
pub use zero::is_zero;

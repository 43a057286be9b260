//! Where a guest's RAM lies in guest-physical memory, if only the bytes of RAM
//! are at hand.
//!
//! A file with guest RAM has no headers: the RAM of an arm64 guest begins at
//! 1 GiB, and that of a large PC has a hole below 4 GiB. [`find`] takes the
//! arrangement from the guest's kernel, if that proves one. VMCOREINFO tells the
//! guest-physical addresses of the kernel's variables and page tables, and only
//! the right arrangement has them there.
//!
//! ```no_run
//! use guestdump::ram_layout;
//! use guestdump::read::ReadAt;
//! use guestdump::{GuestMemory, Workers};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let ram = std::fs::File::open("/dev/shm/vm0")?.shared();
//! match ram_layout::find(&ram, None, None, &Workers::new())? {
//!     Some(layout) => println!("{}", layout.into_memory(&ram)?.ranges().len()),
//!     None => println!("no Linux kernel tells where this RAM lies"),
//! }
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod arrangements;
mod direct_map;
mod file;
mod proof;

use std::sync::Arc;

use crate::arch::Machine;
use crate::memory::MemoryRange;
use crate::read::{ReadAt, Region, RegionError, RegionMemory};

pub(crate) use arrangements::layouts;
pub use arrangements::usual;
pub use file::{LayoutError, find};
pub(crate) use proof::{Proof, Verdict, vmcoreinfo_anywhere};

/// A piece of guest RAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RamPiece {
    /// Guest-physical range.
    pub range: MemoryRange,
    /// Offset of its first byte in the bytes of RAM.
    pub offset: u64,
}

/// An arrangement of RAM in guest-physical memory.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RamLayout {
    /// The guest's architecture.
    pub machine: Machine,
    /// The RAM, in ascending order of guest-physical address.
    pub pieces: Vec<RamPiece>,
    /// Whether the kernel proves that this is all RAM and where it lies: the direct map of an
    /// x86_64 kernel was compared. Otherwise the kernel is in its place, and the rest is what QEMU's
    /// machines do unless told otherwise.
    pub is_proven: bool,
}

impl RamLayout {
    /// Makes guest memory of `ram`, the bytes of RAM.
    ///
    /// # Errors
    ///
    /// [`RegionError`] if `ram` is shorter than the arrangement, or its length cannot be read.
    pub fn into_memory(self, ram: &Arc<dyn ReadAt>) -> Result<RegionMemory, RegionError> {
        memory(ram, &self.pieces)
    }
}

fn memory(ram: &Arc<dyn ReadAt>, pieces: &[RamPiece]) -> Result<RegionMemory, RegionError> {
    let regions = pieces.iter().map(|piece| Region {
        range: piece.range,
        bytes: Arc::clone(ram),
        offset: piece.offset,
    });
    RegionMemory::new(regions.collect())
}

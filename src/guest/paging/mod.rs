//! The guest's page tables: one address translated, or every mapping listed.
//!
//! An [`AddressSpace`] is what the registers say about a virtual CPU's page
//! tables. All formats are trees of tables that are indexed by some bits of
//! the virtual address. The architecture's file has the meaning of an entry,
//! `walk.rs` the walk through the tree.
//!
//! Guest memory is read only, through a function that the caller gives. The
//! tables are the guest's, so nothing is believed: loops, tables that map
//! themselves, tables outside RAM and trees of any size end within a
//! [`Budget`].
//!
//! ```
//! use guestdump::GuestMemory;
//! use guestdump::memory::SliceMemory;
//! use guestdump::guest::paging::{AddressSpace, X86, X86Mode};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut ram = vec![0; 0x4000];
//! // At 0x1000, 0x2000: tables whose first entry leads on; at 0x3000 one with
//! // a page of 2 MiB.
//! ram[0x1000..0x1008].copy_from_slice(&0x2003u64.to_le_bytes());
//! ram[0x2000..0x2008].copy_from_slice(&0x3003u64.to_le_bytes());
//! ram[0x3000..0x3008].copy_from_slice(&0x4000_0083u64.to_le_bytes());
//! let memory = SliceMemory::new([(0, &ram[..])])?;
//! let space = AddressSpace::X86(X86 { cr3: 0x1000, mode: X86Mode::FourLevel });
//! let read = |gpa, buf: &mut [u8]| memory.read(gpa, buf);
//! assert_eq!(space.translate(&read, 0x1234)?, 0x4000_1234);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod aarch64;
mod address_space;
mod arm;
mod direct_mapping;
mod error;
mod format;
mod guest;
mod physical;
mod ppc64;
mod recent;
mod riscv;
mod s390x;
mod tree;
mod walk;
mod x86;

pub use aarch64::Aarch64;
pub use address_space::AddressSpace;
pub use arm::Arm;
pub(crate) use direct_mapping::direct_mapping;
pub(crate) use error::PagingError;
pub use error::TranslateError;
pub(crate) use guest::{address_spaces, of_kernel as kernel_address_space};
pub use physical::ReadPhysical;
pub use ppc64::Ppc64Radix;
pub(crate) use recent::RecentPages;
pub use riscv::Riscv;
pub use s390x::S390x;
pub use walk::{Budget, Mapping, Mappings, mappings};
pub use x86::{X86, X86Mode};

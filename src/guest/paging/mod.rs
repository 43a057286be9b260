//! The guest's page tables: one address translated, or every mapping listed.
//!
//! An [`AddressSpace`] is what the registers say about a virtual CPU's page
//! tables. All formats are trees of tables that are indexed by some bits of
//! the virtual address; what an entry of a table means is in the
//! architecture's file, how the tree is walked in `walk.rs`.
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
mod guest;
mod ppc64;
mod recent;
mod riscv;
mod s390x;
mod walk;
mod x86;

use std::io;

use crate::arch::Machine;
use crate::fault::Fault;

pub use aarch64::Aarch64;
pub(crate) use guest::{address_spaces, of_kernel as kernel_address_space};
pub use ppc64::Ppc64Radix;
pub(crate) use recent::RecentPages;
pub use riscv::Riscv;
pub use s390x::S390x;
pub use walk::{Budget, Mapping, Mappings, mappings};
pub use x86::{X86, X86Mode};

use walk::Tree;

/// Why the guest-virtual addresses of a guest cannot be listed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum PagingError {
    /// This crate does not know the architecture's page tables.
    #[error("the page tables of {0} guests are not known")]
    Machine(Machine),
    /// Nothing says where the guest's page tables are.
    #[error("nothing says where the guest's page tables are")]
    NoPageTables,
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Fills all of a buffer with the guest's bytes from a guest-physical address
/// on, and fails if not all of them are RAM.
pub type ReadPhysical<'a> = dyn Fn(u64, &mut [u8]) -> io::Result<()> + 'a;

/// The page tables of a virtual CPU, by the registers that lead to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressSpace {
    /// Paging is off: every virtual address is the physical one.
    Physical,
    /// Of x86, 32-bit or 64-bit.
    X86(X86),
    /// Of AArch64, stage 1 at EL1 and EL0.
    Aarch64(Aarch64),
    /// Of RISC-V, 32-bit or 64-bit.
    Riscv(Riscv),
    /// Of z/Architecture.
    S390x(S390x),
    /// Of 64-bit PowerPC with the radix MMU: the kernel's.
    Ppc64(Ppc64Radix),
}

/// Why a virtual address has no physical one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TranslateError {
    /// The page tables have no page there.
    #[error("the guest has no page at virtual address {vaddr:#x}")]
    NotMapped {
        /// The virtual address.
        vaddr: u64,
    },
    /// A page table cannot be read.
    #[error(
        "cannot read the page table at guest-physical address {gpa:#x}, which has the virtual address {vaddr:#x}"
    )]
    Table {
        /// The virtual address.
        vaddr: u64,
        /// Guest-physical address of the table's entry.
        gpa: u64,
        /// What the memory reported.
        source: io::Error,
    },
}

impl AddressSpace {
    /// The guest-physical address of the byte at the guest-virtual address
    /// `vaddr`. It need not be RAM.
    ///
    /// # Errors
    ///
    /// - [`TranslateError::NotMapped`] if there is no page, or the address is
    ///   not one that the tables can have;
    /// - [`TranslateError::Table`] if `read` fails for a page table.
    pub fn translate(&self, read: &ReadPhysical<'_>, vaddr: u64) -> Result<u64, TranslateError> {
        self.extent(read, vaddr).map(|(gpa, _)| gpa)
    }

    /// The same, and how many bytes from there on the page has.
    pub(crate) fn extent(
        &self,
        read: &ReadPhysical<'_>,
        vaddr: u64,
    ) -> Result<(u64, u64), TranslateError> {
        if let Self::Physical = self {
            return Ok((vaddr, u64::MAX - vaddr));
        }
        let trees = self.trees();
        let tree = trees.iter().find(|tree| tree.contains(vaddr));
        tree.ok_or(TranslateError::NotMapped { vaddr })?
            .translate(read, vaddr)
    }

    /// The kernel's half first.
    fn trees(&self) -> Vec<Tree> {
        match self {
            Self::Physical => Vec::new(),
            Self::X86(x86) => vec![x86.tree()],
            Self::Aarch64(aarch64) => aarch64.trees(),
            Self::Riscv(riscv) => riscv.tree().into_iter().collect(),
            Self::S390x(s390x) => s390x.tree().into_iter().collect(),
            Self::Ppc64(ppc64) => ppc64.tree().into_iter().collect(),
        }
    }
}

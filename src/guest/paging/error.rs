//! Why guest-virtual addresses cannot be translated or listed.

use std::io;

use crate::arch::Machine;
use crate::fault::Fault;

/// Why the guest-virtual addresses of a guest cannot be listed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum PagingError {
    /// This crate does not know the architecture's page tables.
    #[error("the page tables of {0} guests are not known")]
    Machine(Machine),
    /// The guest's page tables cannot be found.
    #[error("nothing says where the guest's page tables are")]
    NoPageTables,
    #[error(transparent)]
    Fault(#[from] Fault),
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
        /// The error that the memory reported.
        source: io::Error,
    },
}

//! What a finished dump is made of.

use std::time::Duration;

use crate::arch::Machine;
use crate::dump::ExclusionSummary;
use crate::dump::format::Format;
use crate::guest::paging::Mappings;
use crate::guest::vmcoreinfo::Located;
use crate::memory::Unreadable;
use crate::write::WindowsSummary;

/// What a finished dump is made of.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Summary {
    /// The format.
    pub format: Format,
    /// The guest's architecture.
    pub machine: Machine,
    /// Bytes in a page: the guest's, or 4096 in an ELF dump of a guest whose
    /// RAM is not made of whole pages.
    pub page_size: u64,
    /// Pages in the dump.
    pub pages: u64,
    /// Pages of these that are all zero.
    pub zero_pages: u64,
    /// Bytes of guest memory that the dump covers.
    pub bytes_total: u64,
    /// Bytes given to the sink; holes do not count.
    pub bytes_written: u64,
    /// Length of the dump in bytes, holes included; of a flattened one, of its
    /// raw form.
    pub file_size: u64,
    /// Threads that worked on it, unless the system started fewer.
    pub threads: usize,
    /// How long it took.
    pub duration: Duration,
    /// VMCOREINFO, if the dump has it.
    pub vmcoreinfo: Option<Located>,
    /// Of a Windows dump.
    pub windows: Option<WindowsSummary>,
    /// What the page tables gave, if they were asked for.
    pub paging: Option<PagingSummary>,
    /// What the dump level left out; `None` without one.
    pub excluded: Option<ExclusionSummary>,
    /// Guest memory that could not be read: zeroes in the dump, or left out
    /// of it, as [`DumpOptions::on_read_error`](crate::DumpOptions::on_read_error) says.
    pub unreadable: Option<Unreadable>,
}

/// What a dump with guest-virtual addresses has of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PagingSummary {
    /// Mappings in the dump, each contiguous in both kinds of address.
    pub mappings: u64,
    /// Page tables that were read.
    pub tables: u64,
    /// Whether the budget cut anything off: the next two.
    pub partial: bool,
    /// References to page tables that were not followed.
    pub cut_tables: u64,
    /// Bytes of mapped pages that were found and left out.
    pub cut_bytes: u64,
    /// References to page tables that cannot be read, outside RAM for
    /// example.
    pub unreadable_tables: u64,
}

impl From<&Mappings> for PagingSummary {
    fn from(mappings: &Mappings) -> Self {
        Self {
            mappings: mappings.list.len() as u64,
            tables: mappings.tables,
            partial: mappings.is_partial(),
            cut_tables: mappings.cut_tables,
            cut_bytes: mappings.cut_bytes,
            unreadable_tables: mappings.unreadable_tables,
        }
    }
}

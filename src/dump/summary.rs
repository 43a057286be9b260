//! The summary of a finished dump.

use std::time::Duration;

use crate::arch::Machine;
use crate::dump::ExclusionSummary;
use crate::dump::format::Format;
use crate::guest::paging::Mappings;
use crate::guest::vmcoreinfo::Located;
use crate::memory::{Coverage, Unreadable};
use crate::write::WindowsSummary;

/// The facts and figures of a finished dump.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Summary {
    /// The dump's format.
    pub format: Format,
    /// The guest's architecture.
    pub machine: Machine,
    /// Size of a page in bytes. It is the guest's, or 4096 in an ELF dump of a guest whose RAM does
    /// not consist of whole pages.
    pub page_size: u64,
    /// Number of pages in the dump.
    pub pages: u64,
    /// Number of those pages that contain only zeroes.
    pub zero_pages: u64,
    /// Number of bytes of guest memory in the dump: its pages times their size.
    pub bytes_total: u64,
    /// Number of bytes that the sink was given; holes do not count.
    pub bytes_written: u64,
    /// Length of the dump in bytes, with its holes. A flattened dump gives the length of its raw
    /// form.
    pub file_size: u64,
    /// Number of threads that worked on the dump, unless the system started fewer.
    pub threads: usize,
    /// Time that the dump took.
    pub duration: Duration,
    /// VMCOREINFO, if it was found.
    pub vmcoreinfo: Option<Located>,
    /// Facts of a Windows dump; `None` for other formats.
    pub windows: Option<WindowsSummary>,
    /// Facts about the page tables, if the dump has guest-virtual addresses.
    pub paging: Option<PagingSummary>,
    /// Pages that the dump level excluded; `None` without a level.
    pub excluded: Option<ExclusionSummary>,
    /// The source's knowledge of memory that it did not contain. The dump lacks the same. If
    /// [`Coverage::is_complete`] is false, the dump says that it is incomplete.
    pub source: Coverage,
    /// Guest memory that could not be read. It is zero in the dump or omitted from it, as
    /// [`DumpOptions::on_read_error`](crate::DumpOptions::on_read_error) says.
    pub unreadable: Option<Unreadable>,
}

/// The mappings of a dump with guest-virtual addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PagingSummary {
    /// Number of mappings in the dump, each contiguous in both kinds of address.
    pub mappings: u64,
    /// Number of page tables that were read.
    pub tables: u64,
    /// Whether the budget cut anything off: [`cut_tables`](Self::cut_tables) or
    /// [`cut_bytes`](Self::cut_bytes).
    pub partial: bool,
    /// Number of references to page tables that were not followed.
    pub cut_tables: u64,
    /// Number of bytes of mapped pages that were found and omitted.
    pub cut_bytes: u64,
    /// Number of references to page tables that cannot be read, because they lie outside RAM for
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

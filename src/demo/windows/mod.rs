//! A synthetic guest that looks like 64-bit Windows: what a tool needs to
//! find its kernel and to make a dump's header.
//!
//! Its kernel is an image of headers, exports, a debug directory and data,
//! mapped in the upper half through four levels of page tables, on page
//! frames in no order. There are KDBG, lists of modules and processes, a
//! `KPCR` with `KPRCB` and `CONTEXT` for each of two CPUs, crash data, the
//! list of physical memory and `KUSER_SHARED_DATA`. What the kernel does not
//! use is as in [`DemoGuest`](super::DemoGuest). No Windows runs in it, and
//! nothing of it was taken from one.
#![forbid(unsafe_code)]

mod image;
mod kernel;
mod tables;

use std::{fmt, io};

use super::{DemoError, MAX_SIZE, MIN_SIZE, PageKind, content, memory_map};
use super::{next_populated, read_pages};
use crate::arch::x86_64::Registers;
use crate::memory::{GuestMemory, MIN_PAGE_SIZE, MemoryRange, find_range};
use crate::windmp::BugcheckData;
use tables::Tables;

/// The synthetic Windows guest.
pub struct WindowsGuest {
    ranges: Vec<MemoryRange>,
    tables: Tables,
    crash: Option<BugcheckData>,
    encoded: bool,
}

impl WindowsGuest {
    /// A guest with `size` bytes of RAM that has crashed. Its KDBG is plain:
    /// a kernel that crashes decodes it.
    ///
    /// # Errors
    ///
    /// - [`DemoError::Unaligned`] if `size` is not a multiple of 4096;
    /// - [`DemoError::Size`] if it is below [`MIN_SIZE`] or above
    ///   [`MAX_SIZE`].
    pub fn new(size: u64) -> Result<Self, DemoError> {
        if !(MIN_SIZE..=MAX_SIZE).contains(&size) {
            return Err(DemoError::Size { size });
        }
        let ranges = memory_map(size).ok_or(DemoError::Unaligned { size })?;
        let crash = Some(kernel::CRASH);
        Ok(Self::build(ranges, crash, false))
    }

    /// The same guest without a crash. Its KDBG is encoded, as it is while
    /// Windows 8 or later runs without a debugger.
    #[must_use]
    pub fn live(self) -> Self {
        Self::build(self.ranges, None, true)
    }

    /// The same guest with KDBG encoded or plain.
    #[must_use]
    pub fn encoded(self, encoded: bool) -> Self {
        Self::build(self.ranges, self.crash, encoded)
    }

    fn build(ranges: Vec<MemoryRange>, crash: Option<BugcheckData>, encoded: bool) -> Self {
        let tables = kernel::build(&ranges, crash, encoded);
        Self {
            ranges,
            tables,
            crash,
            encoded,
        }
    }

    /// The registers of the guest's two CPUs, which are in the kernel.
    #[must_use]
    pub fn cpus(&self) -> Vec<Registers> {
        (0..kernel::CPUS).map(kernel::registers).collect()
    }

    /// Why the guest crashed.
    #[must_use]
    pub const fn crash(&self) -> Option<BugcheckData> {
        self.crash
    }

    /// Whether KDBG is encoded.
    #[must_use]
    pub const fn is_encoded(&self) -> bool {
        self.encoded
    }

    /// Guest-virtual address of the kernel's image.
    #[must_use]
    pub const fn kernel_base(&self) -> u64 {
        image::BASE
    }

    /// Guest-virtual address of KDBG.
    #[must_use]
    pub const fn kdbg(&self) -> u64 {
        image::vaddr(image::KDBG)
    }

    /// KDBG as it is when it is not encoded.
    #[must_use]
    pub fn plain_kdbg(&self) -> Vec<u8> {
        kernel::kdbg()
    }

    /// Guest-virtual address of `KiProcessorBlock`: the `KPRCB`s' addresses.
    #[must_use]
    pub const fn processor_block(&self) -> u64 {
        image::vaddr(image::KI_PROCESSOR_BLOCK)
    }

    /// Guest-virtual address of `KiBugcheckData`.
    #[must_use]
    pub const fn bugcheck_data(&self) -> u64 {
        image::vaddr(image::KI_BUGCHECK_DATA)
    }

    /// Guest-virtual address of the `KPRCB` of CPU `cpu`.
    #[must_use]
    pub const fn prcb(&self, cpu: usize) -> u64 {
        kernel::prcb(cpu)
    }

    /// Guest-virtual address of the pointer in the `KPRCB` of CPU `cpu` to
    /// its `CONTEXT`.
    #[must_use]
    pub const fn context_pointer(&self, cpu: usize) -> u64 {
        kernel::prcb(cpu) + kernel::PRCB_CONTEXT
    }

    /// Guest-virtual address of the `CONTEXT` of CPU `cpu`, which goes over
    /// a page border.
    #[must_use]
    pub const fn context(&self, cpu: usize) -> u64 {
        kernel::context(cpu)
    }

    /// CR3 of the system process.
    #[must_use]
    pub const fn directory_table_base(&self) -> u64 {
        tables::ROOT
    }

    /// Guest-physical address of the byte at the guest-virtual address
    /// `vaddr`.
    #[must_use]
    pub fn translate(&self, vaddr: u64) -> Option<u64> {
        self.tables.translate(vaddr)
    }

    fn kind(&self, page: u64) -> PageKind {
        if self.tables.page(page).is_some() {
            PageKind::Kernel
        } else if self.is_populated(page) {
            content::kind(page)
        } else {
            PageKind::Unpopulated
        }
    }

    /// What the page with the guest-physical address `gpa` holds; `None` if
    /// that is not RAM.
    #[must_use]
    pub fn page_kind(&self, gpa: u64) -> Option<PageKind> {
        find_range(&self.ranges, gpa, |range| *range)?;
        Some(self.kind(gpa - gpa % MIN_PAGE_SIZE))
    }

    fn fill(&self, page: u64, out: &mut [u8]) {
        match self.tables.page(page) {
            Some(bytes) => out.copy_from_slice(&bytes[..out.len()]),
            None => content::fill(self.kind(page), page, out),
        }
    }

    /// The kernel's own memory is always populated.
    fn is_populated(&self, gpa: u64) -> bool {
        let extent = gpa - gpa % content::EXTENT;
        extent < tables::FRAMES_END || content::is_populated(extent)
    }
}

impl fmt::Debug for WindowsGuest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WindowsGuest")
            .field("ranges", &self.ranges)
            .field("crash", &self.crash)
            .field("encoded", &self.encoded)
            .finish_non_exhaustive()
    }
}

impl GuestMemory for WindowsGuest {
    fn ranges(&self) -> Vec<MemoryRange> {
        self.ranges.clone()
    }

    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        read_pages(&self.ranges, gpa, buf, |page, out| self.fill(page, out))
    }

    fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
        next_populated(range, |extent| self.is_populated(extent))
    }
}

//! A synthetic guest that looks like 64-bit or 32-bit Windows. It contains what a tool needs to
//! find its kernel and to make a dump's header.
//!
//! Its kernel is an image with headers, exports, a debug directory and data. It is mapped in the
//! upper half through page tables of two to four levels, on scattered page frames.
//!
//! The kernel's data are KDBG, lists of modules and processes, crash data, the list of physical
//! memory, and `KUSER_SHARED_DATA`. Each of two CPUs has a `KPCR` with `KPRCB` and `CONTEXT`.
//! Memory that the kernel does not use is as in [`DemoGuest`](crate::demo::DemoGuest). No Windows
//! runs in this guest, and it contains no code or data of one.
#![forbid(unsafe_code)]

mod cpu;
mod image;
mod kernel;
mod kind;
mod tables;

use std::{fmt, io};

use crate::arch::{CpuState, x86_64};
use crate::demo::{DemoError, MIN_SIZE, PageKind, VGA_HOLE, content, memory_map};
use crate::demo::{next_populated, read_pages};
use crate::guest::windows::BugcheckData;
use crate::guest::windows::discover::width::Width;
use crate::memory::{GuestMemory, MIN_PAGE_SIZE, MemoryRange, find_range};
use tables::Tables;

pub use kind::WindowsKind;

/// A synthetic Windows guest.
pub struct WindowsGuest {
    kind: WindowsKind,
    ranges: Vec<MemoryRange>,
    tables: Tables,
    crash: Option<BugcheckData>,
    encoded: bool,
}

impl WindowsGuest {
    /// Makes a 64-bit guest with `size` bytes of RAM that has crashed. Its KDBG is plain, because a
    /// kernel that crashes decodes it.
    ///
    /// # Errors
    ///
    /// Those of [`of_kind`](Self::of_kind).
    pub fn new(size: u64) -> Result<Self, DemoError> {
        Self::of_kind(WindowsKind::X86_64, size)
    }

    /// Makes a guest of any kind with `size` bytes of RAM that has crashed.
    ///
    /// # Errors
    ///
    /// - [`DemoError::Unaligned`] if `size` is not a multiple of 4096;
    /// - [`DemoError::Size`] if it is below [`MIN_SIZE`];
    /// - [`DemoError::TooLarge`] if it is above [`WindowsKind::max_size`].
    pub fn of_kind(kind: WindowsKind, size: u64) -> Result<Self, DemoError> {
        let max = kind.max_size();
        if size > max {
            return Err(DemoError::TooLarge { size, max });
        }
        if size < MIN_SIZE {
            return Err(DemoError::Size { size });
        }
        let ranges = memory_map_of(kind, size).ok_or(DemoError::Unaligned { size })?;
        let crash = Some(kernel::crash(kind));
        Ok(Self::build(kind, ranges, crash, false))
    }

    /// Turns the guest into one that has not crashed. Its KDBG is encoded, as in 64-bit Windows 8
    /// or later without a debugger. A 32-bit KDBG stays plain.
    #[must_use]
    pub fn live(self) -> Self {
        Self::build(self.kind, self.ranges, None, true)
    }

    /// Turns the guest into one whose KDBG is encoded or plain. The KDBG of a 32-bit guest is
    /// always plain.
    #[must_use]
    pub fn encoded(self, encoded: bool) -> Self {
        Self::build(self.kind, self.ranges, self.crash, encoded)
    }

    fn build(
        kind: WindowsKind,
        ranges: Vec<MemoryRange>,
        crash: Option<BugcheckData>,
        encoded: bool,
    ) -> Self {
        let encoded = encoded && kind.width() == Width::Bits64;
        let tables = kernel::build(kind, &ranges, crash, encoded);
        Self {
            kind,
            ranges,
            tables,
            crash,
            encoded,
        }
    }

    /// Returns the kind of Windows that the guest looks like.
    #[must_use]
    pub const fn kind(&self) -> WindowsKind {
        self.kind
    }

    /// Returns the registers of the guest's two CPUs, which are in the kernel.
    #[must_use]
    pub fn registers(&self) -> Vec<CpuState> {
        let registers = |index| cpu::registers(self.kind, index);
        (0..kernel::CPUS).map(registers).collect()
    }

    /// Returns the registers as 64-bit CPUs have them. A 64-bit CPU may run a 32-bit guest too.
    #[must_use]
    pub fn cpus(&self) -> Vec<x86_64::Registers> {
        let registers = |index| cpu::wide_registers(self.kind, index);
        (0..kernel::CPUS).map(registers).collect()
    }

    /// Returns the guest's crash data, if it crashed.
    #[must_use]
    pub const fn crash(&self) -> Option<BugcheckData> {
        self.crash
    }

    /// Whether KDBG is encoded.
    #[must_use]
    pub const fn is_encoded(&self) -> bool {
        self.encoded
    }

    /// Returns the guest-virtual address of the kernel's image.
    #[must_use]
    pub const fn kernel_base(&self) -> u64 {
        self.kind.base()
    }

    /// Returns the guest-virtual address of KDBG.
    #[must_use]
    pub const fn kdbg(&self) -> u64 {
        self.kind.vaddr(image::KDBG)
    }

    /// Returns KDBG as it is without encoding.
    #[must_use]
    pub fn plain_kdbg(&self) -> Vec<u8> {
        kernel::kdbg(self.kind)
    }

    /// Returns the guest-virtual address of `KiProcessorBlock`, the list of the `KPRCB`s'
    /// addresses.
    #[must_use]
    pub const fn processor_block(&self) -> u64 {
        self.kind.vaddr(image::KI_PROCESSOR_BLOCK)
    }

    /// Returns the guest-virtual address of `KiBugcheckData`.
    #[must_use]
    pub const fn bugcheck_data(&self) -> u64 {
        self.kind.vaddr(image::KI_BUGCHECK_DATA)
    }

    /// Returns the guest-virtual address of `PsLoadedModuleList`.
    #[must_use]
    pub const fn modules(&self) -> u64 {
        self.kind.vaddr(image::PS_LOADED_MODULE_LIST)
    }

    /// Returns the guest-virtual address of `PsActiveProcessHead`.
    #[must_use]
    pub const fn processes(&self) -> u64 {
        self.kind.vaddr(image::PS_ACTIVE_PROCESS_HEAD)
    }

    /// Returns the guest-virtual address of `MmPhysicalMemoryBlock`, a pointer to the list of
    /// memory that the kernel uses.
    #[must_use]
    pub const fn memory_block(&self) -> u64 {
        self.kind.vaddr(image::MM_PHYSICAL_MEMORY_BLOCK)
    }

    /// Returns the guest-virtual address of the `KPRCB` of CPU `cpu`.
    #[must_use]
    pub const fn prcb(&self, cpu: usize) -> u64 {
        kernel::prcb(self.kind, cpu)
    }

    /// Returns the guest-virtual address of the pointer in the `KPRCB` of CPU `cpu` to its
    /// `CONTEXT`.
    #[must_use]
    pub const fn context_pointer(&self, cpu: usize) -> u64 {
        kernel::prcb(self.kind, cpu) + kernel::PRCB_CONTEXT
    }

    /// Returns the guest-virtual address of the `CONTEXT` of CPU `cpu`, which crosses a page
    /// boundary.
    #[must_use]
    pub const fn context(&self, cpu: usize) -> u64 {
        kernel::context(self.kind, cpu)
    }

    /// Returns CR3 of the system process.
    #[must_use]
    pub const fn directory_table_base(&self) -> u64 {
        tables::root(self.kind)
    }

    /// Returns the guest-physical address of the byte at the guest-virtual address `vaddr`.
    #[must_use]
    pub fn translate(&self, vaddr: u64) -> Option<u64> {
        self.tables.translate(vaddr)
    }

    fn kind_of(&self, page: u64) -> PageKind {
        if self.tables.page(page).is_some() {
            PageKind::Kernel
        } else if self.is_populated(page) {
            content::kind(page)
        } else {
            PageKind::Unpopulated
        }
    }

    /// Returns the kind of the page with the guest-physical address `gpa`; `None` if `gpa` is not
    /// RAM.
    #[must_use]
    pub fn page_kind(&self, gpa: u64) -> Option<PageKind> {
        find_range(&self.ranges, gpa, |range| *range)?;
        Some(self.kind_of(gpa - gpa % MIN_PAGE_SIZE))
    }

    fn fill(&self, page: u64, out: &mut [u8]) {
        match self.tables.page(page) {
            Some(bytes) => out.copy_from_slice(&bytes[..out.len()]),
            None => content::fill(self.kind_of(page), page, out),
        }
    }

    /// Whether the extent with `gpa` is populated. The kernel's own memory always is.
    fn is_populated(&self, gpa: u64) -> bool {
        let extent = gpa - gpa % content::EXTENT;
        extent < tables::FRAMES_END || content::is_populated(extent)
    }
}

/// Returns the RAM ranges; `None` if `size` does not consist of whole pages. Without PAE no RAM
/// lies above 4 GiB.
fn memory_map_of(kind: WindowsKind, size: u64) -> Option<Vec<MemoryRange>> {
    if kind != WindowsKind::I386NoPae {
        return memory_map(size);
    }
    let (hole_start, hole_end) = VGA_HOLE;
    [(0, hole_start), (hole_end, size - hole_start)]
        .into_iter()
        .map(|(start, size)| MemoryRange::new(start, size).ok())
        .collect()
}

impl fmt::Debug for WindowsGuest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WindowsGuest")
            .field("kind", &self.kind)
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

//! A synthetic guest that looks like Windows, of 64 bits or 32: what a tool
//! needs to find its kernel and to make a dump's header.
//!
//! Its kernel is an image of headers, exports, a debug directory and data,
//! mapped in the upper half through page tables of two to four levels, on page
//! frames in no order. There are KDBG, lists of modules and processes, a
//! `KPCR` with `KPRCB` and `CONTEXT` for each of two CPUs, crash data, the
//! list of physical memory and `KUSER_SHARED_DATA`. What the kernel does not
//! use is as in [`DemoGuest`](crate::demo::DemoGuest). No Windows runs in it, and
//! nothing of it was taken from one.
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

/// The synthetic Windows guest.
pub struct WindowsGuest {
    kind: WindowsKind,
    ranges: Vec<MemoryRange>,
    tables: Tables,
    crash: Option<BugcheckData>,
    encoded: bool,
}

impl WindowsGuest {
    /// A guest of 64 bits with `size` bytes of RAM that has crashed. Its KDBG
    /// is plain: a kernel that crashes decodes it.
    ///
    /// # Errors
    ///
    /// Those of [`of_kind`](Self::of_kind).
    pub fn new(size: u64) -> Result<Self, DemoError> {
        Self::of_kind(WindowsKind::X86_64, size)
    }

    /// The same of any kind.
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

    /// The same guest without a crash. Its KDBG is encoded, as it is while
    /// 64-bit Windows 8 or later runs without a debugger.
    #[must_use]
    pub fn live(self) -> Self {
        Self::build(self.kind, self.ranges, None, true)
    }

    /// The same guest with KDBG encoded or plain; that of 32 bits is always
    /// plain.
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

    /// What kind of Windows it looks like.
    #[must_use]
    pub const fn kind(&self) -> WindowsKind {
        self.kind
    }

    /// The registers of the guest's two CPUs, which are in the kernel.
    #[must_use]
    pub fn registers(&self) -> Vec<CpuState> {
        let registers = |index| cpu::registers(self.kind, index);
        (0..kernel::CPUS).map(registers).collect()
    }

    /// The same as 64-bit CPUs have them, which may run a 32-bit guest too.
    #[must_use]
    pub fn cpus(&self) -> Vec<x86_64::Registers> {
        let registers = |index| cpu::wide_registers(self.kind, index);
        (0..kernel::CPUS).map(registers).collect()
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
        self.kind.base()
    }

    /// Guest-virtual address of KDBG.
    #[must_use]
    pub const fn kdbg(&self) -> u64 {
        self.kind.vaddr(image::KDBG)
    }

    /// KDBG as it is when it is not encoded.
    #[must_use]
    pub fn plain_kdbg(&self) -> Vec<u8> {
        kernel::kdbg(self.kind)
    }

    /// Guest-virtual address of `KiProcessorBlock`: the `KPRCB`s' addresses.
    #[must_use]
    pub const fn processor_block(&self) -> u64 {
        self.kind.vaddr(image::KI_PROCESSOR_BLOCK)
    }

    /// Guest-virtual address of `KiBugcheckData`.
    #[must_use]
    pub const fn bugcheck_data(&self) -> u64 {
        self.kind.vaddr(image::KI_BUGCHECK_DATA)
    }

    /// Guest-virtual address of `PsLoadedModuleList`.
    #[must_use]
    pub const fn modules(&self) -> u64 {
        self.kind.vaddr(image::PS_LOADED_MODULE_LIST)
    }

    /// Guest-virtual address of `PsActiveProcessHead`.
    #[must_use]
    pub const fn processes(&self) -> u64 {
        self.kind.vaddr(image::PS_ACTIVE_PROCESS_HEAD)
    }

    /// Guest-virtual address of `MmPhysicalMemoryBlock`: a pointer to the list
    /// of memory that the kernel uses.
    #[must_use]
    pub const fn memory_block(&self) -> u64 {
        self.kind.vaddr(image::MM_PHYSICAL_MEMORY_BLOCK)
    }

    /// Guest-virtual address of the `KPRCB` of CPU `cpu`.
    #[must_use]
    pub const fn prcb(&self, cpu: usize) -> u64 {
        kernel::prcb(self.kind, cpu)
    }

    /// Guest-virtual address of the pointer in the `KPRCB` of CPU `cpu` to
    /// its `CONTEXT`.
    #[must_use]
    pub const fn context_pointer(&self, cpu: usize) -> u64 {
        kernel::prcb(self.kind, cpu) + kernel::PRCB_CONTEXT
    }

    /// Guest-virtual address of the `CONTEXT` of CPU `cpu`, which goes over
    /// a page border.
    #[must_use]
    pub const fn context(&self, cpu: usize) -> u64 {
        kernel::context(self.kind, cpu)
    }

    /// CR3 of the system process.
    #[must_use]
    pub const fn directory_table_base(&self) -> u64 {
        tables::root(self.kind)
    }

    /// Guest-physical address of the byte at the guest-virtual address
    /// `vaddr`.
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

    /// What the page with the guest-physical address `gpa` holds; `None` if
    /// that is not RAM.
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

    /// The kernel's own memory is always populated.
    fn is_populated(&self, gpa: u64) -> bool {
        let extent = gpa - gpa % content::EXTENT;
        extent < tables::FRAMES_END || content::is_populated(extent)
    }
}

/// Where RAM is; `None` if `size` is not made of whole pages. Without PAE there
/// is none above 4 GiB.
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

//! The built-in synthetic guest: a Linux-like x86_64 machine for trials,
//! tests and benchmarks.
//!
//! Its contents are computed from the guest-physical address, so a guest of
//! any size takes next to no memory and is the same on every run. It has a
//! PC's memory map with holes, memory that was never populated, pages that
//! compress well and pages that do not (`content`), and as much of a Linux
//! kernel as tools need to open a dump (`kernel`): page tables,
//! `init_uts_ns`, VMCOREINFO. There are no processes, no log and no debug
//! symbols, and each `struct page` says that the page is the kernel's. There are
//! no zones, so a dump level above 1 is refused: such a kernel is not understood.
//!
//! ```
//! use guestdump::demo::DemoGuest;
//! use guestdump::sink::BufferSink;
//! use guestdump::{DumpOptions, Format, GuestInfo, Machine, dump};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let guest = DemoGuest::new(16 << 20)?;
//! let info = GuestInfo::new(Machine::X86_64).cpus(guest.cpus());
//! let options = DumpOptions::new(info, Format::Elf);
//! let summary = dump(&guest, &mut BufferSink::new(), &options)?;
//! assert_eq!(summary.pages, 4096);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod content;
mod cpu;
mod kernel;
mod layout;
mod page_kind;
mod vmcoreinfo;
mod windows;

use std::{fmt, io};

use crate::abi::Utsname;
use crate::arch::x86_64::Registers;
use crate::memory::{GuestMemory, MIN_PAGE_SIZE, MemoryRange, find_range, not_ram};
use kernel::Kernel;
use layout::PAGE;

pub use page_kind::PageKind;
pub use windows::{WindowsGuest, WindowsKind};

/// RAM of a guest that nobody asked a size of, in bytes.
pub const DEFAULT_SIZE: u64 = 256 << 20;
/// The least RAM of a guest, in bytes.
pub const MIN_SIZE: u64 = 16 << 20;
/// The most RAM of a guest, in bytes: its kernel has 46-bit physical
/// addresses, and RAM has to end well below.
pub const MAX_SIZE: u64 = 32 << 40;

/// A PC's hole for video memory and BIOS.
const VGA_HOLE: (u64, u64) = (0xa_0000, 0x10_0000);
/// Where RAM below the PCI hole ends at the latest.
const MAX_LOW_END: u64 = 3 << 30;
/// Where RAM goes on behind the PCI hole.
const HIGH_START: u64 = 4 << 30;

/// Why a guest cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// The size is not a multiple of the page size.
    #[error("a demo guest of {size} bytes is not made of whole pages; give a multiple of 4096")]
    Unaligned {
        /// The size asked for, in bytes.
        size: u64,
    },
    /// The size is below [`MIN_SIZE`] or above [`MAX_SIZE`].
    #[error("a demo guest of {size} bytes cannot be made; give a size from 16 MiB to 32 TiB")]
    Size {
        /// The size asked for, in bytes.
        size: u64,
    },
    /// The size is above what a guest of this kind can have.
    #[error("a demo guest of this kind cannot have {size} bytes of RAM; give at most {max}")]
    TooLarge {
        /// The size asked for, in bytes.
        size: u64,
        /// The most that it can have, in bytes.
        max: u64,
    },
}

/// The synthetic guest.
pub struct DemoGuest {
    size: u64,
    ranges: Vec<MemoryRange>,
    kernel: Kernel,
}

impl DemoGuest {
    /// A guest with `size` bytes of RAM.
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
        let kernel = Kernel::new(ranges.clone());
        Ok(Self {
            size,
            ranges,
            kernel,
        })
    }

    /// RAM in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The registers of the guest's two CPUs, which idle in the kernel.
    #[must_use]
    pub fn cpus(&self) -> Vec<Registers> {
        (0..layout::CPUS).map(cpu::registers).collect()
    }

    /// Guest-physical address and size in bytes of the kernel's ELF note
    /// with VMCOREINFO. As in Linux, the size is that of the note's buffer;
    /// zeroes follow the note.
    #[must_use]
    pub const fn vmcoreinfo_note(&self) -> (u64, u64) {
        (layout::VMCOREINFO_NOTE, vmcoreinfo::NOTE_SIZE as u64)
    }

    /// What the guest has written to QEMU's vmcoreinfo device: `struct
    /// FWCfgVMCoreInfo` of QEMU's `docs/specs/vmcoreinfo.rst`.
    #[must_use]
    pub fn fw_cfg_entry(&self) -> [u8; 16] {
        vmcoreinfo::fw_cfg_entry()
    }

    /// What the kernel's `uname` says.
    #[must_use]
    pub fn utsname(&self) -> Utsname {
        kernel::utsname()
    }

    /// What the page with the guest-physical address `gpa` holds; `None` if
    /// that is not RAM.
    #[must_use]
    pub fn page_kind(&self, gpa: u64) -> Option<PageKind> {
        find_range(&self.ranges, gpa, |range| *range)?;
        Some(self.kind(gpa - gpa % MIN_PAGE_SIZE))
    }

    fn kind(&self, page: u64) -> PageKind {
        self.kernel.kind(page).unwrap_or_else(|| {
            if self.is_populated(page) {
                content::kind(page)
            } else {
                PageKind::Unpopulated
            }
        })
    }

    /// Fills `out`, at most a page, with the beginning of the page `page`.
    fn fill(&self, page: u64, out: &mut [u8]) {
        match self.kind(page) {
            PageKind::Kernel => self.kernel.fill(page, out),
            kind => content::fill(kind, page, out),
        }
    }

    /// The kernel's own memory is always populated.
    fn is_populated(&self, gpa: u64) -> bool {
        let extent = gpa - gpa % content::EXTENT;
        extent < self.kernel.end() || content::is_populated(extent)
    }
}

impl fmt::Debug for DemoGuest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DemoGuest")
            .field("ranges", &self.ranges)
            .finish_non_exhaustive()
    }
}

impl GuestMemory for DemoGuest {
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

/// Fills `buf` from `gpa` on with pages that `fill` fills: the beginning of
/// the page at an address, at most a page.
fn read_pages(
    ranges: &[MemoryRange],
    gpa: u64,
    buf: &mut [u8],
    fill: impl Fn(u64, &mut [u8]),
) -> io::Result<()> {
    // The ranges do not touch, so a read lies inside of one.
    let len = buf.len();
    if !ranges.iter().any(|r| r.contains(gpa, len as u64)) {
        return Err(not_ram(gpa, len));
    }
    let offset = (gpa % MIN_PAGE_SIZE) as usize;
    let mut page = gpa - offset as u64;
    let mut rest = buf;
    if offset > 0 {
        let (head, tail) = rest.split_at_mut(len.min(PAGE - offset));
        let mut scratch = [0; PAGE];
        let end = offset + head.len();
        fill(page, &mut scratch[..end]);
        head.copy_from_slice(&scratch[offset..end]);
        page += MIN_PAGE_SIZE;
        rest = tail;
    }
    for out in rest.chunks_mut(PAGE) {
        fill(page, out);
        page += MIN_PAGE_SIZE;
    }
    Ok(())
}

/// The first populated part of `range`, which consists of extents.
fn next_populated(
    range: MemoryRange,
    is_populated: impl Fn(u64) -> bool,
) -> io::Result<Option<MemoryRange>> {
    let extents = |from: u64| {
        let first = from - from % content::EXTENT;
        (first..range.end()).step_by(content::EXTENT as usize)
    };
    let Some(start) = extents(range.start()).find(|e| is_populated(*e)) else {
        return Ok(None);
    };
    let end = extents(start)
        .find(|e| !is_populated(*e))
        .unwrap_or(range.end());
    let populated = MemoryRange::new(start, end - start).map_err(io::Error::other)?;
    Ok(populated.intersection(&range))
}

/// A PC's RAM: below the VGA hole, up to the PCI hole, and from 4 GiB up.
/// `None` if `size` is not made of whole pages.
fn memory_map(size: u64) -> Option<Vec<MemoryRange>> {
    // Small guests have the PCI hole as well.
    let half = size / 2;
    let low_end = (half - half % (2 << 20)).min(MAX_LOW_END);
    let (hole_start, hole_end) = VGA_HOLE;
    let middle = low_end - hole_end;
    [
        (0, hole_start),
        (hole_end, middle),
        (HIGH_START, size - hole_start - middle),
    ]
    .into_iter()
    .map(|(start, size)| MemoryRange::new(start, size).ok())
    .collect()
}

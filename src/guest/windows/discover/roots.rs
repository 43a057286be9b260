//! Finds the kernel's page tables without registers, by a scan of the guest's memory.
//!
//! Raw memory of VMware, VirtualBox or Hyper-V comes without registers. Two structures lead to page
//! tables all the same:
//!
//! - the low stub, a `PROCESSOR_START_BLOCK` in the first MiB, with which a 64-bit Windows starts its
//!   processors: it contains CR3, CR4 and the kernel's entry point;
//! - page tables that map themselves, as those of every Windows do.
//!
//! The looks of a candidate prove nothing. It counts if it maps `KUSER_SHARED_DATA` and the image of a
//! Windows kernel. All candidates that count must lead to the same image.
//!
//! Sources: MemProcFS `vmm/vmmwininit.c` for the low stub's marks and the scan of the first 16 MiB;
//! volatility3 `framework/automagic/windows.py` for the entries by which tables map themselves;
//! hfiref0x/KDU `Source/Hamakaze/ntos/halamd64.h` for `PROCESSOR_START_BLOCK`.
#![forbid(unsafe_code)]

use crate::arch::Machine;
use crate::fault::Fault;
use crate::guest::paging::{X86, X86Mode};
use crate::guest::reader::Guest;
use crate::guest::windows::WinDmpError;
use crate::guest::windows::WindowsError;
use crate::guest::windows::discover::format::low_stub::LowStub;
use crate::guest::windows::discover::kernel::Kernel;
use crate::guest::windows::discover::memory::{MAX_BYTES, MAX_READS, VirtualMemory, Work};
use crate::memory::{MIN_PAGE_SIZE, MemoryRange, is_ram};
use crate::workers::Progress;

/// The end of the memory that is scanned first. MemProcFS scans 16 MiB, volatility3 16 MiB from 0x30000 on.
const LOW_END: u64 = 0x0110_0000;
/// The end of the memory that may contain the low stub: the beginning of the VGA hole.
const STUB_END: u64 = 0xa_0000;
/// The most bytes that a scan reads. Memory that is not populated is not read.
const MOST_BYTES: u64 = 4 << 30;
/// Bytes that are read at once.
const PIECE: u64 = 64 << 10;
/// The most candidates of each kind in one scan that are tried.
const MOST_CANDIDATES: usize = 512;
/// The most page directory pointer tables of one scan whose directories are read.
const MOST_PDPTS: u64 = 1 << 20;
/// The work for each candidate, as a part of that of a search: a right shift. A candidate for which it is
/// too little comes again. So a few expensive candidates leave work for the others.
const ROUNDS: [u32; 3] = [6, 3, 0];
/// The work for all candidates of a scan, as a multiple of that of a search.
const ALL_CANDIDATES: u64 = 16;

const PAGE: usize = MIN_PAGE_SIZE as usize;
/// `P`, bit 0 of an entry.
const PRESENT: u64 = 1;
/// Present, writable, and no large page: the flags of an entry that leads to a table, and their mask.
const TABLE: u64 = 0x03;
const TABLE_MASK: u64 = 0x83;
/// Bits 51 to 12 of an entry.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// The entry by which the page directory of a 32-bit Windows without PAE maps itself.
const SELF_32: usize = 0x300;
/// The length of a page directory pointer table with PAE, in bytes.
const PDPT: usize = 32;

/// Facts that lead to page tables.
#[derive(Debug, Clone, Copy)]
enum Kind {
    LowStub,
    SelfMapped64,
    SelfMapped32,
    Pdpt,
}

/// Page tables that may be the kernel's.
#[derive(Clone, Copy)]
struct Root {
    tables: X86,
    /// Guest-virtual address in the kernel's image, if the low stub tells one.
    entry: Option<u64>,
}

/// The kernel, seen through the page tables that map it.
type Found<'a> = (VirtualMemory<'a>, Kernel);

/// The memory that a scan reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// The first 17 MiB, where Windows puts the system process's page tables.
    Low,
    /// Low memory, and if that leads to no kernel, the rest up to 4 GiB of populated memory.
    All,
}

/// Finds the kernel by a scan of the memory in `extent`.
///
/// # Errors
///
/// - [`WinDmpError::TwoKernels`] if page tables lead to different kernels;
/// - [`Fault::Cancelled`] if `progress` is cancelled.
pub(super) fn find<'a>(
    guest: Guest<'a>,
    extent: Extent,
    work: &'a Work,
    progress: &Progress,
) -> Result<Option<Found<'a>>, WindowsError> {
    let mut budget = MOST_BYTES;
    for part in [0..LOW_END, LOW_END..u64::MAX] {
        let mut scan = Scan {
            guest,
            roots: Vec::new(),
            counts: [0; 4],
            pdpts: 0,
            is_narrow: guest.machine == Machine::I386,
        };
        for range in guest.ranges {
            let start = range.start().max(part.start);
            let end = range.end().min(part.end);
            scan.range(start, end, &mut budget, progress)?;
        }
        let found = check(guest, scan.roots, work, progress)?;
        if found.is_some() || extent == Extent::Low {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Returns the kernel to which the first good candidate leads. The others must lead to the same, as far as
/// the next round of work tells.
fn check<'a>(
    guest: Guest<'a>,
    mut roots: Vec<Root>,
    work: &'a Work,
    progress: &Progress,
) -> Result<Option<Found<'a>>, WindowsError> {
    let (reads, bytes) = (MAX_READS * ALL_CANDIDATES, MAX_BYTES * ALL_CANDIDATES);
    let all = Work::of(reads, bytes);
    let mut found: Option<Found<'a>> = None;
    for shift in ROUNDS {
        let is_last = found.is_some();
        let mut again = Vec::new();
        for root in roots {
            let Root { tables, .. } = root;
            let memory = VirtualMemory {
                guest,
                tables,
                work,
            };
            let tried = all.lend(MAX_READS >> shift, MAX_BYTES >> shift, |work| {
                kernel_of(
                    root,
                    VirtualMemory { work, ..memory },
                    found.as_ref(),
                    progress,
                )
            });
            let kernel = match tried {
                Some((kernel, false)) => kernel?,
                Some((kernel, true)) => {
                    let kernel = kernel?;
                    if kernel.is_none() {
                        again.push(root);
                    }
                    kernel
                }
                None => {
                    again.push(root);
                    continue;
                }
            };
            match (&found, kernel) {
                (_, None) => {}
                (None, Some(kernel)) => found = Some((memory, kernel)),
                (Some((first, kernel)), Some(other)) => {
                    return Err(WinDmpError::TwoKernels {
                        roots: [first.tables.cr3, tables.cr3],
                        bases: [kernel.base, other.base],
                    }
                    .into());
                }
            }
        }
        roots = again;
        if is_last || roots.is_empty() {
            break;
        }
    }
    if found.is_none() && !roots.is_empty() {
        return Err(WinDmpError::TooMuchWork { reads, bytes }.into());
    }
    Ok(found)
}

/// Returns the kernel that the tables of `root` map. `None` if it is the `found` one, as each process maps
/// the kernel, or if there is none.
fn kernel_of(
    root: Root,
    memory: VirtualMemory<'_>,
    found: Option<&Found<'_>>,
    progress: &Progress,
) -> Result<Option<Kernel>, WindowsError> {
    if memory.translate(memory.width().shared_data()).is_none() {
        return Ok(None);
    }
    let is_same = |(first, kernel): &Found<'_>| {
        let place = first.translate(kernel.base);
        first.width() == memory.width() && memory.translate(kernel.base) == place
    };
    if found.is_some_and(is_same) {
        return Ok(None);
    }
    let below = root.entry.and_then(|entry| Kernel::below(&memory, entry));
    match below {
        None => Kernel::by_scan(&memory, progress),
        below => Ok(below),
    }
}

fn words(bytes: &[u8; PDPT]) -> [u64; 4] {
    let words: &[[u8; 8]] = bytes.as_chunks().0;
    std::array::from_fn(|n| u64::from_le_bytes(words[n]))
}

/// A scan of a part of the guest's memory.
struct Scan<'a> {
    guest: Guest<'a>,
    roots: Vec<Root>,
    /// The number of roots of each kind.
    counts: [usize; 4],
    /// The number of page directory pointer tables whose directories were read.
    pdpts: u64,
    /// Whether the guest's CPUs have no 64-bit mode.
    is_narrow: bool,
}

impl Scan<'_> {
    /// Looks at the pages from `start` to `end`, which are RAM. Pages that cannot be read are skipped.
    fn range(
        &mut self,
        start: u64,
        end: u64,
        budget: &mut u64,
        progress: &Progress,
    ) -> Result<(), Fault> {
        let Some(mut at) = start.checked_next_multiple_of(MIN_PAGE_SIZE) else {
            return Ok(());
        };
        let end = end - end % MIN_PAGE_SIZE;
        let mut buf = vec![0; PIECE as usize];
        while at < end && *budget > 0 {
            if progress.is_cancelled() {
                return Err(Fault::Cancelled);
            }
            let Some(extent) = self.populated(at, end) else {
                break;
            };
            at = extent.start() - extent.start() % MIN_PAGE_SIZE;
            let stop = extent.end().min(end);
            let len = (stop - at).min(PIECE).min(*budget);
            let piece = &mut buf[..len as usize];
            *budget -= len;
            if self.guest.read(at, piece).is_ok() {
                self.pages(at, piece);
            } else {
                for (gpa, page) in (at..).step_by(PAGE).zip(piece.chunks_mut(PAGE)) {
                    if self.guest.read(gpa, page).is_ok() {
                        self.pages(gpa, page);
                    }
                }
            }
            at += len.next_multiple_of(MIN_PAGE_SIZE);
        }
        Ok(())
    }

    /// Returns the first populated memory between two addresses.
    fn populated(&self, start: u64, end: u64) -> Option<MemoryRange> {
        let part = MemoryRange::new(start, end - start).ok()?;
        match self.guest.memory.next_populated(part) {
            Ok(extent) => extent?.intersection(&part),
            // The host cannot tell, so everything is read.
            Err(_) => Some(part),
        }
    }

    fn pages(&mut self, gpa: u64, bytes: &[u8]) {
        let (pages, _) = bytes.as_chunks::<PAGE>();
        for (gpa, page) in (gpa..).step_by(PAGE).zip(pages) {
            self.page(gpa, page);
        }
    }

    /// Adds the page tables to which the page at `gpa` leads, or whose root it is.
    fn page(&mut self, gpa: u64, page: &[u8; PAGE]) {
        if !self.is_narrow {
            let stub = Some(page).filter(|_| gpa < STUB_END);
            if let Some(stub) = stub.and_then(|page| LowStub::decode(page)) {
                self.add(Kind::LowStub, stub.cr3, stub.mode(), Some(stub.entry));
            }
            if is_self_mapped_64(gpa, page) {
                self.add(Kind::SelfMapped64, gpa, X86Mode::FourLevel, None);
                self.add(Kind::SelfMapped64, gpa, X86Mode::FiveLevel, None);
            }
        }
        // CR3 has 32 bits without 64-bit mode.
        if gpa > u32::MAX.into() {
            return;
        }
        let (entries, _) = page.as_chunks::<4>();
        let own = u64::from(u32::from_le_bytes(entries[SELF_32]));
        if own & TABLE_MASK == TABLE && own & ADDRESS == gpa && gpa != 0 {
            let mode = X86Mode::TwoLevel { pse: true };
            self.add(Kind::SelfMapped32, gpa, mode, None);
        }
        let (tables, _) = page.as_chunks::<PDPT>();
        for (cr3, table) in (gpa..).step_by(PDPT).zip(tables) {
            if is_pdpt(table) && self.maps_itself(table) {
                self.add(Kind::Pdpt, cr3, X86Mode::Pae, None);
            }
        }
    }

    fn add(&mut self, kind: Kind, cr3: u64, mode: X86Mode, entry: Option<u64>) {
        let count = &mut self.counts[kind as usize];
        if *count < MOST_CANDIDATES {
            *count += 1;
            let tables = X86 { cr3, mode };
            self.roots.push(Root { tables, entry });
        }
    }

    /// Whether a page directory pointer table maps itself: the first four entries of the last directory
    /// lead to all four.
    fn maps_itself(&mut self, table: &[u8; PDPT]) -> bool {
        self.pdpts += 1;
        if self.pdpts > MOST_PDPTS {
            return false;
        }
        let directories = words(table).map(|entry| entry & ADDRESS);
        let mut bytes = [0; PDPT];
        let [.., last] = directories;
        if !is_ram(self.guest.ranges, last, PDPT as u64)
            || self.guest.read(last, &mut bytes).is_err()
        {
            return false;
        }
        let entries = words(&bytes);
        let is_table = |entry: &u64| entry & TABLE_MASK == TABLE;
        entries.iter().all(is_table) && entries.map(|entry| entry & ADDRESS) == directories
    }
}

/// Whether one entry for the upper half of the addresses, and no more, leads to the page itself.
fn is_self_mapped_64(gpa: u64, page: &[u8; PAGE]) -> bool {
    let (entries, _) = page.as_chunks::<8>();
    let upper = entries[entries.len() / 2..].iter();
    let own = upper.filter(|entry| {
        let entry = u64::from_le_bytes(**entry);
        entry & TABLE_MASK == TABLE && entry & ADDRESS == gpa
    });
    gpa != 0 && own.take(2).count() == 1
}

/// Whether the bytes look like a page directory pointer table of Windows: four directories, and no flag but
/// present.
fn is_pdpt(table: &[u8; PDPT]) -> bool {
    let entries = words(table);
    let leads = |entry: &u64| entry & !ADDRESS == PRESENT && entry & ADDRESS != 0;
    let differ = |n: usize| !entries[..n].contains(&entries[n]);
    entries.iter().all(leads) && (1..entries.len()).all(differ)
}

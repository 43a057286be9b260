//! Guest memory that is mapped into this process: what all versions of
//! vm-memory have in common.
#![forbid(unsafe_code)]

use std::io;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::adapters::part::{Extents, Part};
use crate::adapters::proc_self::{Pagemap, mappings};
use crate::memory::{MemoryRange, RangeError, find_range, not_ram, read_process, validate_ranges};

/// Why memory of the VMM cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VmMemoryError {
    /// A region is not made of whole pages, or regions overlap.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// A range that is to be dumped lies outside all regions.
    #[error("the range {range} is not all in the regions of the guest memory")]
    NotInRegions {
        /// The range.
        range: MemoryRange,
    },
}

/// How guest memory is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Reads {
    /// By `process_vm_readv(2)` on this process. Memory that cannot be read,
    /// because its file was truncated or it is protected, is an error. If the
    /// system call is not there or not allowed (`ENOSYS`, `EPERM`), as
    /// [`Volatile`](Self::Volatile).
    #[default]
    SystemCall,
    /// By vm-memory's own volatile copy, without a system call. Memory that
    /// cannot be read is a signal (`SIGBUS`, `SIGSEGV`) to this process.
    Volatile,
}

/// Where it comes from which memory was ever touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Populated {
    /// From the system: `/proc/self/smaps`, `/proc/self/pagemap` and
    /// `SEEK_DATA` on the files behind shared mappings. Wherever these do not
    /// tell for sure, all counts as populated.
    #[default]
    Detect,
    /// As [`Detect`](Self::Detect), for a caller who knows that no userfaultfd
    /// serves pages of the guest's memory: then `/proc/self/maps` is enough.
    /// To make `smaps` takes the kernel a tenth of a second or more for each
    /// GiB that is in memory in pages of 4 KiB.
    NoUserfaultfd,
    /// From the files alone, without `/proc`. The caller knows that each
    /// region that has a file is mapped from it with `MAP_SHARED`, and that
    /// no userfaultfd serves its pages. Other regions count as populated.
    SharedFiles,
    /// All of it.
    Everything,
}

/// All of the guest's memory, in ascending order.
#[derive(Debug)]
pub(super) struct Mapped {
    ranges: Vec<MemoryRange>,
    parts: Vec<Part>,
    populated: Populated,
    /// Found out when it is first asked for.
    known: OnceLock<Known>,
    /// `process_vm_readv` is not to be used, or cannot be.
    volatile: AtomicBool,
}

/// What is known of which pages were ever touched.
#[derive(Debug)]
struct Known {
    /// The memory again, in parts of one kind.
    parts: Vec<Part>,
    pagemap: Option<Pagemap>,
}

impl Mapped {
    /// Of the regions `parts`, in any order.
    pub(super) fn new(mut parts: Vec<Part>) -> Result<Self, VmMemoryError> {
        parts.sort_by_key(|part| part.range.start());
        let ranges: Vec<_> = parts.iter().map(|part| part.range).collect();
        validate_ranges(&ranges)?;
        Ok(Self {
            ranges,
            parts,
            populated: Populated::default(),
            known: OnceLock::new(),
            volatile: AtomicBool::new(false),
        })
    }

    /// Only what lies in `ranges`, in any order.
    pub(super) fn within(mut self, ranges: &[MemoryRange]) -> Result<Self, VmMemoryError> {
        let mut ranges = ranges.to_vec();
        ranges.sort_by_key(MemoryRange::start);
        validate_ranges(&ranges)?;
        let mut parts = Vec::new();
        for range in &ranges {
            let first = self
                .parts
                .partition_point(|p| p.range.end() <= range.start());
            let here = self.parts[first..].iter().map_while(|p| p.within(range));
            let before = parts.len();
            parts.extend(here);
            let covered: u64 = parts[before..].iter().map(|p: &Part| p.range.size()).sum();
            if covered != range.size() {
                return Err(VmMemoryError::NotInRegions { range: *range });
            }
        }
        self.ranges = ranges;
        self.parts = parts;
        self.known = OnceLock::new();
        Ok(self)
    }

    pub(super) fn populated(self, populated: Populated) -> Self {
        Self {
            populated,
            known: OnceLock::new(),
            ..self
        }
    }

    fn find_out(&self) -> Known {
        let mut known = Known {
            parts: Vec::new(),
            pagemap: None,
        };
        let served = self.populated == Populated::Detect;
        if served || self.populated == Populated::NoUserfaultfd {
            let wanted = |mapping: &Range<u64>| {
                let mut addresses = self.parts.iter().filter_map(Part::addresses);
                addresses.any(|a| a.start < mapping.end && mapping.start < a.end)
            };
            let mappings = mappings(served, wanted).unwrap_or_default();
            for part in &self.parts {
                part.classify(&mappings, &mut known.parts);
            }
            known.pagemap = Pagemap::open().ok();
        } else {
            let files_tell = self.populated == Populated::SharedFiles;
            known.parts = self.parts.clone();
            for part in known
                .parts
                .iter_mut()
                .filter(|p| files_tell && p.file.is_some())
            {
                part.extents = Extents::File;
            }
        }
        known
    }

    pub(super) fn reads(self, reads: Reads) -> Self {
        self.volatile
            .store(reads == Reads::Volatile, Ordering::Relaxed);
        self
    }

    pub(super) fn ranges(&self) -> &[MemoryRange] {
        &self.ranges
    }

    pub(super) fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
        let Known { parts, pagemap } = self.known.get_or_init(|| self.find_out());
        let mut rest = Some(range);
        while let Some(left) = rest {
            let index = find_range(parts, left.start(), |part| part.range)
                .ok_or_else(|| not_ram(left.start(), 1))?;
            let part = &parts[index];
            let Some(here) = left.intersection(&part.range) else {
                break;
            };
            if let Some(found) = part.next_populated(here, pagemap.as_ref())? {
                return Ok(Some(found));
            }
            rest = left.starting_at(here.end());
        }
        Ok(None)
    }

    /// Fills `buf` from `gpa` on. `volatile` reads what has no address here,
    /// or must not be read by system call.
    pub(super) fn read(
        &self,
        gpa: u64,
        buf: &mut [u8],
        volatile: impl Fn(u64, &mut [u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let at = gpa + done as u64;
            let index = find_range(&self.parts, at, |part| part.range)
                .ok_or_else(|| not_ram(gpa, buf.len()))?;
            let part = &self.parts[index];
            let left = (part.range.end() - at).min((buf.len() - done) as u64);
            let here = &mut buf[done..done + left as usize];
            match part.host.filter(|_| !self.volatile.load(Ordering::Relaxed)) {
                Some(host) => {
                    let address = host + (at - part.range.start());
                    self.read_own(at, address, here, &volatile)?;
                }
                None => volatile(at, here)?,
            }
            done += left as usize;
        }
        Ok(())
    }

    fn read_own(
        &self,
        gpa: u64,
        address: u64,
        buf: &mut [u8],
        volatile: impl Fn(u64, &mut [u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let errno = |error: &io::Error| error.raw_os_error().map(Errno::from_raw);
        match read_process(Pid::this(), address as usize, buf) {
            Err(error) if matches!(errno(&error), Some(Errno::ENOSYS | Errno::EPERM)) => {
                self.volatile.store(true, Ordering::Relaxed);
                volatile(gpa, buf)
            }
            result => result.map_err(|source| unreadable(gpa, source)),
        }
    }
}

fn unreadable(gpa: u64, source: io::Error) -> io::Error {
    io::Error::new(
        source.kind(),
        format!(
            "this process cannot read its mapping of guest-physical address {gpa:#x} on \
             (is it protected, or its file truncated?): {source}"
        ),
    )
}

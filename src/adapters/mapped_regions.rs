//! Guest memory in regions that a monitor has mapped into its own process. This part of
//! the adapter is common to all versions of vm-memory.
#![forbid(unsafe_code)]

use std::io;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;

use crate::adapters::region_part::{PopulatedBy, RegionPart};
use crate::adapters::vm_memory_options::{Populated, Reads, VmMemoryError};
use crate::host::pagemap::Pagemap;
use crate::host::process_memory::Process;
use crate::memory::{MemoryRange, next_populated_by_range, read_by_range, validate_ranges};

/// The regions of a guest's memory, in ascending order.
#[derive(Debug)]
pub(super) struct MappedRegions {
    ranges: Vec<MemoryRange>,
    parts: Vec<RegionPart>,
    populated: Populated,
    /// Looked up when a dump first asks what is populated.
    known: OnceLock<Known>,
    /// Whether `process_vm_readv` must not be used, or cannot be used.
    volatile: AtomicBool,
}

/// The state of the mappings: the source that tells which pages were ever touched, for
/// each part of memory.
#[derive(Debug)]
struct Known {
    /// All of the memory, split where the source changes.
    parts: Vec<RegionPart>,
    pagemap: Option<Pagemap>,
}

impl MappedRegions {
    /// Makes guest memory of the regions `parts`, in any order.
    pub(super) fn new(mut parts: Vec<RegionPart>) -> Result<Self, VmMemoryError> {
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

    /// Restricts the memory to `ranges`, in any order.
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
            let covered: u64 = parts[before..]
                .iter()
                .map(|p: &RegionPart| p.range.size())
                .sum();
            if covered != range.size() {
                return Err(VmMemoryError::NotInRegions { range: *range });
            }
        }
        self.ranges = ranges;
        self.parts = parts;
        self.known = OnceLock::new();
        Ok(self)
    }

    /// Sets the source that tells which memory was ever touched.
    pub(super) fn populated(self, populated: Populated) -> Self {
        Self {
            populated,
            known: OnceLock::new(),
            ..self
        }
    }

    /// Looks up the state of the mappings.
    fn look_up(&self) -> Known {
        match self.populated {
            Populated::Detect | Populated::NoUserfaultfd => self.look_up_mappings(),
            Populated::SharedFiles | Populated::Everything => {
                let files_tell = self.populated == Populated::SharedFiles;
                let mut parts = self.parts.clone();
                for part in &mut parts {
                    if files_tell && part.file.is_some() {
                        part.populated_by = PopulatedBy::File;
                    }
                }
                let pagemap = None;
                Known { parts, pagemap }
            }
        }
    }

    /// Looks up the mappings of this process that contain guest memory.
    fn look_up_mappings(&self) -> Known {
        let wanted = |mapping: &Range<u64>| {
            let mut addresses = self.parts.iter().filter_map(RegionPart::addresses);
            addresses.any(|a| a.start < mapping.end && mapping.start < a.end)
        };
        let mappings = match self.populated {
            Populated::NoUserfaultfd => Process::Own.mappings(wanted),
            _ => Process::Own.mappings_with_flags(wanted),
        };
        let mappings = mappings.unwrap_or_default();
        let mut parts = Vec::new();
        for part in &self.parts {
            part.classify(&mappings, &mut parts);
        }
        let pagemap = Pagemap::open(Process::Own).ok();
        Known { parts, pagemap }
    }

    /// Sets how memory is read.
    pub(super) fn reads(self, reads: Reads) -> Self {
        self.volatile
            .store(reads == Reads::Volatile, Ordering::Relaxed);
        self
    }

    /// The ranges of the memory, in ascending order.
    pub(super) fn ranges(&self) -> &[MemoryRange] {
        &self.ranges
    }

    /// Finds the first populated extent in `range`.
    pub(super) fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
        let Known { parts, pagemap } = self.known.get_or_init(|| self.look_up());
        next_populated_by_range(parts, range_of, range, |part, here| {
            part.next_populated(here, pagemap.as_ref())
        })
    }

    /// Fills `buf` from `gpa` on. `volatile` reads memory without an address in this
    /// process, and memory that must not be read by system call.
    pub(super) fn read(
        &self,
        gpa: u64,
        buf: &mut [u8],
        volatile: impl Fn(u64, &mut [u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        read_by_range(&self.parts, range_of, gpa, buf, |part, gpa, buf| {
            let by_call = !self.volatile.load(Ordering::Relaxed);
            match part.host.filter(|_| by_call) {
                Some(host) => {
                    let address = host + (gpa - part.range.start());
                    self.read_own(gpa, address, buf, &volatile)
                }
                None => volatile(gpa, buf),
            }
        })
    }

    /// Reads by system call. If the system does not allow it, this and all further reads
    /// are `volatile`.
    fn read_own(
        &self,
        gpa: u64,
        address: u64,
        buf: &mut [u8],
        volatile: impl Fn(u64, &mut [u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let errno = |error: &io::Error| error.raw_os_error().map(Errno::from_raw);
        match Process::Own.read(address, buf) {
            Err(error) if matches!(errno(&error), Some(Errno::ENOSYS | Errno::EPERM)) => {
                self.volatile.store(true, Ordering::Relaxed);
                volatile(gpa, buf)
            }
            result => result.map_err(|source| unreadable(gpa, source)),
        }
    }
}

fn range_of(part: &RegionPart) -> MemoryRange {
    part.range
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

//! Guest memory that is mapped into this process: what all versions of
//! vm-memory have in common.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::proc_self::{Mapping, Pagemap, mappings};
use crate::memory::{MemoryRange, RangeError, file_data, find_range, not_ram, validate_ranges};

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
    /// From the files alone, without `/proc`. The caller knows that each
    /// region that has a file is mapped from it with `MAP_SHARED`, and that
    /// no userfaultfd serves its pages. Other regions count as populated.
    SharedFiles,
    /// All of it.
    Everything,
}

/// A part of the guest's memory, all of one kind.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) range: MemoryRange,
    /// Host-virtual address of the first byte, if it has one.
    pub(super) host: Option<u64>,
    /// The file behind it, and where in the file.
    pub(super) file: Option<(Arc<File>, u64)>,
    extents: Extents,
}

/// What says which pages of a part were ever touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extents {
    /// Nothing does.
    All,
    File,
    Pagemap,
    /// A private mapping: what the file has, and what was written since.
    FileAndPagemap,
}

impl Part {
    pub(super) fn new(
        range: MemoryRange,
        host: Option<u64>,
        file: Option<(Arc<File>, u64)>,
    ) -> Self {
        Self {
            range,
            host,
            file,
            extents: Extents::All,
        }
    }

    /// What of it lies in `range`.
    fn within(&self, range: &MemoryRange) -> Option<Self> {
        let range = self.range.intersection(range)?;
        let skipped = range.start() - self.range.start();
        Some(Self {
            range,
            host: self.host.map(|host| host + skipped),
            file: self.file_at(range.start()),
            extents: self.extents,
        })
    }

    fn file_at(&self, gpa: u64) -> Option<(Arc<File>, u64)> {
        let (file, offset) = self.file.as_ref()?;
        Some((Arc::clone(file), offset + (gpa - self.range.start())))
    }

    fn addresses(&self) -> Option<Range<u64>> {
        let host = self.host?;
        Some(host..host.checked_add(self.range.size())?)
    }

    /// Splits it where mappings end, and says of each piece what is known.
    fn classify(self, mappings: &[Mapping], out: &mut Vec<Self>) {
        let mut rest = Some(self.range);
        while let Some(left) = rest {
            let Some(mut piece) = self.within(&left) else {
                break;
            };
            let mapping = piece.addresses().and_then(|addresses| {
                let mapping = mappings
                    .iter()
                    .find(|m| m.addresses.end > addresses.start)?;
                Some(mapping).filter(|m| m.addresses.contains(&addresses.start))
            });
            let Some(mapping) = mapping else {
                out.push(piece);
                break;
            };
            let host = piece.host.unwrap_or_default();
            let (range, behind) = left.split_at(mapping.addresses.end - host);
            piece.range = range;
            piece.extents = piece.extents_in(mapping, host);
            rest = behind;
            match out.last_mut() {
                Some(last) if last.continues_in(&piece) => last.range = last.range.joined(&range),
                _ => out.push(piece),
            }
        }
    }

    fn continues_in(&self, next: &Self) -> bool {
        let file = |part: &Self| part.file.as_ref().map(|(file, _)| Arc::as_ptr(file));
        self.range.end() == next.range.start()
            && self.extents == next.extents
            && self.addresses().map(|a| a.end) == next.host
            && file(self) == file(next)
            && self.file_at(self.range.end()).map(|f| f.1) == next.file.as_ref().map(|f| f.1)
    }

    fn extents_in(&self, mapping: &Mapping, host: u64) -> Extents {
        let offset = mapping.offset + (host - mapping.addresses.start);
        let files_own = self.file.as_ref().is_some_and(|(file, at)| {
            *at == offset
                && file
                    .metadata()
                    .is_ok_and(|meta| meta.ino() == mapping.inode)
        });
        match (mapping.served, mapping.shared) {
            (false, true) if files_own => Extents::File,
            (false, false) if files_own => Extents::FileAndPagemap,
            (false, false) if mapping.inode == 0 && self.file.is_none() => Extents::Pagemap,
            // Memory that is shared without a file may be in use elsewhere or
            // in swap, and pagemap does not have it.
            _ => Extents::All,
        }
    }

    /// The first populated extent in `range`, which lies in this part.
    fn next_populated(
        &self,
        range: MemoryRange,
        pagemap: Option<&Pagemap>,
    ) -> io::Result<Option<MemoryRange>> {
        let file = self.file_at(range.start());
        let pages = |range: MemoryRange| self.next_page(range, pagemap);
        match (self.extents, file) {
            (Extents::File, Some((file, offset))) => file_data::next_extent(&file, offset, range),
            (Extents::Pagemap, _) => pages(range),
            (Extents::FileAndPagemap, Some((file, offset))) => {
                let Some(data) = file_data::next_start(&file, offset, range)? else {
                    return pages(range);
                };
                let behind = data - range.start();
                if behind == 0 {
                    return file_data::next_extent(&file, offset, range);
                }
                let (hole, _) = range.split_at(behind);
                match pages(hole)? {
                    Some(found) => Ok(Some(found)),
                    None => {
                        let rest = range.starting_at(data);
                        rest.map_or(Ok(None), |rest| {
                            file_data::next_extent(&file, offset + behind, rest)
                        })
                    }
                }
            }
            _ => Ok(Some(range)),
        }
    }

    /// The first pages of this process in `range`. If the system does not
    /// tell, all of them.
    fn next_page(
        &self,
        range: MemoryRange,
        pagemap: Option<&Pagemap>,
    ) -> io::Result<Option<MemoryRange>> {
        let (Some(pagemap), Some(host)) = (pagemap, self.host) else {
            return Ok(Some(range));
        };
        let start = host + (range.start() - self.range.start());
        match pagemap.next_populated(&(start..start + range.size())) {
            Err(_) => Ok(Some(range)),
            Ok(None) => Ok(None),
            Ok(Some(found)) => {
                let gpa = range.start() + (found.start - start);
                let found = MemoryRange::new(gpa, found.end - found.start);
                Ok(Some(found.map_err(io::Error::other)?))
            }
        }
    }
}

/// All of the guest's memory, in ascending order.
#[derive(Debug)]
pub(super) struct Mapped {
    ranges: Vec<MemoryRange>,
    parts: Vec<Part>,
    pagemap: Option<Pagemap>,
    /// `process_vm_readv` is not to be used, or cannot be.
    volatile: AtomicBool,
}

impl Mapped {
    /// Of the regions `parts`, in any order.
    pub(super) fn new(mut parts: Vec<Part>) -> Result<Self, VmMemoryError> {
        parts.sort_by_key(|part| part.range.start());
        let ranges: Vec<_> = parts.iter().map(|part| part.range).collect();
        validate_ranges(&ranges)?;
        let mapped = Self {
            ranges,
            parts,
            pagemap: None,
            volatile: AtomicBool::new(false),
        };
        Ok(mapped.detect())
    }

    /// Only what lies in `ranges`.
    pub(super) fn within(mut self, ranges: &[MemoryRange]) -> Result<Self, VmMemoryError> {
        validate_ranges(ranges)?;
        let mut parts = Vec::new();
        for range in ranges {
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
        self.ranges = ranges.to_vec();
        self.parts = parts;
        Ok(self)
    }

    pub(super) fn populated(mut self, populated: Populated) -> Self {
        if populated == Populated::Detect {
            return self.detect();
        }
        for part in &mut self.parts {
            part.extents = match (populated, &part.file) {
                (Populated::SharedFiles, Some(_)) => Extents::File,
                _ => Extents::All,
            };
        }
        self
    }

    fn detect(mut self) -> Self {
        let parts = &self.parts;
        let wanted = |mapping: &Range<u64>| {
            let mut addresses = parts.iter().filter_map(Part::addresses);
            addresses.any(|a| a.start < mapping.end && mapping.start < a.end)
        };
        let mappings = mappings(wanted).unwrap_or_default();
        let mut pieces = Vec::new();
        for part in self.parts {
            part.classify(&mappings, &mut pieces);
        }
        self.parts = pieces;
        self.pagemap = Pagemap::open().ok();
        self
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
        let mut rest = Some(range);
        while let Some(left) = rest {
            let index = find_range(&self.parts, left.start(), |part| part.range)
                .ok_or_else(|| not_ram(left.start(), 1))?;
            let part = &self.parts[index];
            let Some(here) = left.intersection(&part.range) else {
                break;
            };
            if let Some(found) = part.next_populated(here, self.pagemap.as_ref())? {
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

    #[cfg(target_os = "linux")]
    fn read_own(
        &self,
        gpa: u64,
        address: u64,
        buf: &mut [u8],
        volatile: impl Fn(u64, &mut [u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        use nix::errno::Errno;
        use nix::sys::uio::{RemoteIoVec, process_vm_readv};
        use nix::unistd::Pid;

        let mut done = 0;
        while done < buf.len() {
            let from = RemoteIoVec {
                base: address as usize + done,
                len: buf.len() - done,
            };
            let to = &mut [io::IoSliceMut::new(&mut buf[done..])];
            match process_vm_readv(Pid::this(), to, &[from]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => done += n,
                Err(Errno::EINTR) => {}
                Err(Errno::ENOSYS | Errno::EPERM) => {
                    self.volatile.store(true, Ordering::Relaxed);
                    return volatile(gpa, buf);
                }
                Err(errno) => return Err(unreadable(gpa + done as u64, errno.into())),
            }
        }
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    fn read_own(
        &self,
        gpa: u64,
        _: u64,
        buf: &mut [u8],
        volatile: impl Fn(u64, &mut [u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        volatile(gpa, buf)
    }
}

#[cfg(target_os = "linux")]
fn unreadable(gpa: u64, source: io::Error) -> io::Error {
    io::Error::new(
        source.kind(),
        format!(
            "this process cannot read its mapping of guest-physical address {gpa:#x} on \
             (is it protected, or its file truncated?): {source}"
        ),
    )
}

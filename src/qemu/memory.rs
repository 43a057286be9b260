//! Guest memory in files that QEMU shares and in QEMU's own memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use nix::unistd::Pid;

use zerocopy::IntoBytes;

use crate::memory::{
    FileMemory, FileRegion, GuestMemory, MemoryRange, find_range, not_ram, read_process,
    validate_ranges,
};
use crate::qemu::error::QemuError;
use crate::qemu::process::{Mapping, Process};

/// Bits of an entry of /proc/PID/pagemap: the page is in memory, or in swap.
const POPULATED: u64 = 0b11 << 62;
/// How many entries are read at once, at most.
const MAX_ENTRIES: u64 = 8 << 10;

/// All of a guest's memory, in ascending order.
#[derive(Debug, Default)]
pub(super) struct QemuMemory {
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    range: MemoryRange,
    place: Place,
}

#[derive(Debug)]
enum Place {
    File(FileMemory),
    Process(ProcessMemory),
}

impl QemuMemory {
    /// Guest memory that lies at these addresses in QEMU's process, each
    /// range whole.
    pub(super) fn new(process: Process, at: &[(MemoryRange, u64)]) -> Result<Self, QemuError> {
        let ranges: Vec<_> = at.iter().map(|(range, _)| *range).collect();
        validate_ranges(&ranges)?;
        let finder = Finder {
            process,
            mappings: process.mappings()?,
            pagemap: process.open_pagemap().map(Arc::new),
        };
        let mut parts = Vec::new();
        for (range, hva) in at {
            finder.add(*range, *hva, &mut parts)?;
        }
        Ok(Self { parts })
    }

    /// Bytes of guest memory that are read from shared files.
    pub(super) fn in_files(&self) -> u64 {
        let files = self
            .parts
            .iter()
            .filter(|part| matches!(part.place, Place::File(_)));
        files.map(|part| part.range.size()).sum()
    }

    fn part(&self, gpa: u64) -> Option<&Part> {
        find_range(&self.parts, gpa, |part| part.range).map(|index| &self.parts[index])
    }
}

impl Part {
    fn memory(&self) -> &dyn GuestMemory {
        match &self.place {
            Place::File(memory) => memory,
            Place::Process(memory) => memory,
        }
    }
}

impl GuestMemory for QemuMemory {
    fn ranges(&self) -> Vec<MemoryRange> {
        self.parts.iter().map(|part| part.range).collect()
    }

    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        let len = buf.len();
        let (mut gpa, mut rest) = (gpa, buf);
        while !rest.is_empty() {
            let part = self.part(gpa).ok_or_else(|| not_ram(gpa, len))?;
            let n = (part.range.end() - gpa).min(rest.len() as u64) as usize;
            let (here, behind) = rest.split_at_mut(n);
            part.memory().read(gpa, here)?;
            gpa += n as u64;
            rest = behind;
        }
        Ok(())
    }

    fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
        let mut rest = Some(range);
        while let Some(range) = rest {
            let part = self.part(range.start());
            let part = part.ok_or_else(|| not_ram(range.start(), 1))?;
            let Some(here) = range.intersection(&part.range) else {
                break;
            };
            if let Some(found) = part.memory().next_populated(here)? {
                return Ok(Some(found));
            }
            rest = range.starting_at(here.end());
        }
        Ok(None)
    }
}

/// Finds the place of guest memory.
struct Finder {
    process: Process,
    mappings: Vec<Mapping>,
    pagemap: Option<Arc<File>>,
}

impl Finder {
    /// Adds the parts that `range`, which begins at `hva`, consists of.
    fn add(&self, range: MemoryRange, hva: u64, parts: &mut Vec<Part>) -> Result<(), QemuError> {
        let mut rest = Some((range, hva));
        while let Some((range, hva)) = rest {
            let index = self.mappings.partition_point(|m| m.end <= hva);
            let mapping = self.mappings.get(index).filter(|m| m.start <= hva);
            let mapping = mapping.ok_or(QemuError::NotMapped {
                pid: self.process.pid,
                hva,
                gpa: range.start(),
            })?;
            let (here, behind) = range.split_at(mapping.end - hva);
            let place = self.place(mapping, here, hva)?;
            parts.push(Part { range: here, place });
            rest = behind.map(|behind| (behind, mapping.end));
        }
        Ok(())
    }

    /// Where the bytes of `range` are read, which lies in `mapping` at `hva`.
    fn place(&self, mapping: &Mapping, range: MemoryRange, hva: u64) -> Result<Place, QemuError> {
        let file = mapping.shared.then(|| self.process.open_mapped(mapping));
        if let Some(file) = file.flatten() {
            return Ok(Place::File(FileMemory::new(vec![FileRegion {
                range,
                file: Arc::new(file),
                offset: mapping.offset + (hva - mapping.start),
            }])?));
        }
        // Pages of a file are there even if the process does not have them.
        let is_anonymous = mapping.inode == 0;
        let memory = ProcessMemory {
            range,
            hva,
            pid: self.process.pid,
            pagemap: self.pagemap.clone().filter(|_| is_anonymous),
        };
        // A page that cannot be read must be known before the guest stops.
        let mut byte = [0];
        memory
            .read(range.start(), &mut byte)
            .map_err(|e| self.process.error("the memory", e))?;
        Ok(Place::Process(memory))
    }
}

/// A range of guest memory that lies in QEMU's memory from `hva` on.
#[derive(Debug)]
struct ProcessMemory {
    range: MemoryRange,
    hva: u64,
    pid: u32,
    /// Tells what is populated; without it everything counts as populated.
    pagemap: Option<Arc<File>>,
}

impl GuestMemory for ProcessMemory {
    fn ranges(&self) -> Vec<MemoryRange> {
        vec![self.range]
    }

    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.pid).map_err(io::Error::other)?);
        let base = self.hva + (gpa - self.range.start());
        // A process of 32 bits cannot look into one of 64.
        let base = usize::try_from(base).map_err(io::Error::other)?;
        read_process(pid, base, buf)
    }

    fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
        let Some(pagemap) = &self.pagemap else {
            return Ok(Some(range));
        };
        let page = rustix::param::page_size() as u64;
        let start = self.hva + (range.start() - self.range.start());
        let end = (start + range.size()).div_ceil(page);
        let extent = |first: u64, end: u64| {
            let first = range.start() + (first * page).saturating_sub(start);
            let end = (range.start() + (end * page - start)).min(range.end());
            MemoryRange::new(first, end - first).map_err(io::Error::other)
        };
        let mut first = None;
        let mut at = start / page;
        // Few entries at the beginning: the next page is often near.
        let mut count = 64;
        while at < end {
            let mut entries = vec![0u64; (end - at).min(count) as usize];
            pagemap.read_exact_at(entries.as_mut_bytes(), at * size_of::<u64>() as u64)?;
            for entry in entries {
                match first {
                    None if entry & POPULATED != 0 => first = Some(at),
                    Some(first) if entry & POPULATED == 0 => return extent(first, at).map(Some),
                    _ => {}
                }
                at += 1;
            }
            count = (count * 2).min(MAX_ENTRIES);
        }
        first.map(|first| extent(first, end)).transpose()
    }
}

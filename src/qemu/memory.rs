//! Guest memory in files that QEMU shares and in QEMU's own memory.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::host::pagemap::Pagemap;
use crate::host::proc::Mapping;
use crate::host::process_memory::Process;
use crate::memory::{
    FileMemory, FileRegion, GuestMemory, MemoryRange, next_populated_by_range, read_by_range,
    validate_ranges,
};
use crate::qemu::error::QemuError;
use crate::qemu::place::{RamFile, RamPlace, path_of};
use crate::qemu::process::QemuProcess;

/// The memory of a guest under QEMU, in ascending order.
#[derive(Debug, Default)]
pub(super) struct QemuMemory {
    parts: Vec<QemuPart>,
}

/// A range of guest memory that is read from one place.
#[derive(Debug)]
struct QemuPart {
    range: MemoryRange,
    /// Address of its first byte in QEMU's process.
    hva: u64,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// A file, and its name if it has one.
    File(FileMemory, Option<RamFile>),
    Process(ProcessMemory),
}

impl QemuMemory {
    /// Makes guest memory of ranges, each with the address in QEMU's process where it
    /// begins.
    pub(super) fn new(process: QemuProcess, at: &[(MemoryRange, u64)]) -> Result<Self, QemuError> {
        let ranges: Vec<_> = at.iter().map(|(range, _)| *range).collect();
        validate_ranges(&ranges)?;
        let mut finder = Finder {
            process,
            mappings: process.mappings()?,
            pagemap: Pagemap::open(process.on_host()).ok().map(Arc::new),
            opened: None,
        };
        let mut parts = Vec::new();
        for (range, hva) in at {
            finder.add(*range, *hva, &mut parts)?;
        }
        Ok(Self { parts })
    }

    /// Returns where each part lies.
    pub(super) fn places(&self) -> Vec<RamPlace> {
        let place = |part: &QemuPart| RamPlace {
            range: part.range,
            hva: part.hva,
            file: match &part.place {
                Place::File(_, file) => file.clone(),
                Place::Process(_) => None,
            },
        };
        self.parts.iter().map(place).collect()
    }

    /// Counts the bytes of guest memory that are read from shared files.
    pub(super) fn in_files(&self) -> u64 {
        let files = self
            .parts
            .iter()
            .filter(|part| matches!(part.place, Place::File(..)));
        files.map(|part| part.range.size()).sum()
    }
}

impl QemuPart {
    fn memory(&self) -> &dyn GuestMemory {
        match &self.place {
            Place::File(memory, _) => memory,
            Place::Process(memory) => memory,
        }
    }
}

impl GuestMemory for QemuMemory {
    fn ranges(&self) -> Vec<MemoryRange> {
        self.parts.iter().map(|part| part.range).collect()
    }

    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        read_by_range(&self.parts, range_of, gpa, buf, |part, gpa, buf| {
            part.memory().read(gpa, buf)
        })
    }

    fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
        next_populated_by_range(&self.parts, range_of, range, |part, here| {
            part.memory().next_populated(here)
        })
    }
}

fn range_of(part: &QemuPart) -> MemoryRange {
    part.range
}

/// Finds the places of guest memory.
struct Finder {
    process: QemuProcess,
    mappings: Vec<Mapping>,
    pagemap: Option<Arc<Pagemap>>,
    /// The file of the mapping that was last used, by the mapping's first address. Thousands of
    /// ranges may lie in one mapping.
    opened: Option<(u64, Option<Opened>)>,
}

/// A file behind a mapping, and its name if it has one.
#[derive(Clone)]
struct Opened {
    file: Arc<File>,
    path: Option<PathBuf>,
}

impl Finder {
    /// Splits `range`, which begins at `hva`, where mappings end, and appends its parts.
    fn add(
        &mut self,
        range: MemoryRange,
        hva: u64,
        parts: &mut Vec<QemuPart>,
    ) -> Result<(), QemuError> {
        let mut rest = Some((range, hva));
        while let Some((range, hva)) = rest {
            let index = self.mappings.partition_point(|m| m.addresses.end <= hva);
            let mapping = self
                .mappings
                .get(index)
                .filter(|m| m.addresses.contains(&hva));
            let mapping = mapping.cloned().ok_or(QemuError::NotMapped {
                pid: self.process.pid,
                hva,
                gpa: range.start(),
            })?;
            let end = mapping.addresses.end;
            let (here, after) = range.split_at(end - hva);
            let place = self.place(&mapping, here, hva)?;
            parts.push(QemuPart {
                range: here,
                hva,
                place,
            });
            rest = after.map(|after| (after, end));
        }
        Ok(())
    }

    /// Opens the file behind a shared mapping.
    fn file(&mut self, mapping: &Mapping) -> Option<Opened> {
        if !mapping.shared {
            return None;
        }
        let first = mapping.addresses.start;
        if let Some((_, file)) = self.opened.as_ref().filter(|(at, _)| *at == first) {
            return file.clone();
        }
        let file = self.process.on_host().open_mapped(mapping);
        let file = file.map(|file| Opened {
            path: path_of(&file),
            file: Arc::new(file),
        });
        self.opened = Some((first, file.clone()));
        file
    }

    /// Finds the place of `range`, which lies in `mapping` at `hva`.
    fn place(
        &mut self,
        mapping: &Mapping,
        range: MemoryRange,
        hva: u64,
    ) -> Result<Place, QemuError> {
        let process = self.process.on_host();
        if let Some(Opened { file, path }) = self.file(mapping) {
            let offset = mapping.offset + (hva - mapping.addresses.start);
            let named = path.map(|path| RamFile { path, offset });
            let memory = FileMemory::new(vec![FileRegion {
                range,
                file,
                offset,
            }])?;
            return Ok(Place::File(memory, named));
        }
        // The pagemap does not tell of pages of a file that the process has not touched.
        let is_anonymous = mapping.inode == 0;
        let memory = ProcessMemory {
            range,
            hva,
            process,
            pagemap: self.pagemap.clone().filter(|_| is_anonymous),
        };
        // Memory that cannot be read must be an error before the guest is paused.
        let mut byte = [0];
        memory
            .read(range.start(), &mut byte)
            .map_err(|e| self.process.error("the memory", e))?;
        Ok(Place::Process(memory))
    }
}

/// A range of guest memory that lies in QEMU's own memory from `hva` on.
#[derive(Debug)]
struct ProcessMemory {
    range: MemoryRange,
    hva: u64,
    process: Process,
    /// Tells what is populated. Everything counts as populated without it.
    pagemap: Option<Arc<Pagemap>>,
}

impl GuestMemory for ProcessMemory {
    fn ranges(&self) -> Vec<MemoryRange> {
        vec![self.range]
    }

    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        let address = self.hva + (gpa - self.range.start());
        self.process.read(address, buf)
    }

    fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
        let Some(pagemap) = &self.pagemap else {
            return Ok(Some(range));
        };
        let start = self.hva + (range.start() - self.range.start());
        let Some(found) = pagemap.next_populated(&(start..start + range.size()))? else {
            return Ok(None);
        };
        let gpa = range.start() + (found.start - start);
        let found = MemoryRange::new(gpa, found.end - found.start);
        found.map(Some).map_err(io::Error::other)
    }
}

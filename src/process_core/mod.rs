//! Guest memory in a core file of the virtual machine monitor's process.
//!
//! QEMU's `scripts/dump-guest-memory.py` finds such memory in gdb. This module
//! needs neither gdb nor QEMU's debug symbols.
//!
//! A core file maps host-virtual addresses. [`ProcessCore::extract`] takes
//! the list of RAM blocks, each with its guest-physical range and its
//! host-virtual address. It returns the places of their bytes in the file, and
//! reports the memory that is missing. In a core of QEMU,
//! [`ProcessCore::find_qemu_ram`] finds the RAM blocks itself, if it can prove
//! where they belong.
//!
//! ```no_run
//! use guestdump::process_core::ProcessCore;
//! use guestdump::sink::{FileSink, FileSinkOptions};
//! use guestdump::{DumpOptions, Format, GuestInfo, Progress, dump};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let core = ProcessCore::open(std::fs::File::open("core.qemu")?)?;
//! let ram = core.find_qemu_ram(None, &Progress::new())?;
//! let memory = core.extract(&ram.blocks)?.into_memory()?;
//! let mut sink = FileSink::create("guest.vmcore", FileSinkOptions::default())?;
//! dump(&memory, &mut sink, &DumpOptions::new(GuestInfo::new(ram.machine), Format::Elf))?;
//! # Ok(())
//! # }
//! ```
//!
//! Source: core(5) and elf(5); Linux `fs/binfmt_elf.c` for segments that the
//! kernel omits (`p_filesz` less than `p_memsz`).
#![forbid(unsafe_code)]

mod blocks;
mod error;
mod extract;
mod find;
mod mapped_files;

use std::sync::Arc;

pub use blocks::{Missing, MissingReason, RamBlock};
pub use error::{ProcessCoreError, SearchError};
pub use extract::Extracted;
pub use find::QemuRam;
pub use mapped_files::MappedFile;

use crate::abi::Encoding;
use crate::elf::{ET_CORE, FileHeader, PT_LOAD, ProgramHeader};
use crate::read::elf::headers::{read_header, read_notes, read_program_headers};
use crate::read::{Input, ReadAt, VmcoreError};

/// A core file of a process, open for reading.
#[derive(Debug)]
pub struct ProcessCore {
    bytes: Arc<dyn ReadAt>,
    encoding: Encoding,
    segments: Vec<Segment>,
    mapped_files: Vec<MappedFile>,
}

/// A segment of the process's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Segment {
    /// Host-virtual address of the first byte.
    pub hva: u64,
    /// Bytes in the process's memory.
    pub size: u64,
    /// Bytes that the core file promises, from the first on. The others were
    /// omitted when the core was written.
    pub promised: u64,
    /// Promised bytes that are in the file: fewer if it is cut short.
    pub in_file: u64,
    /// Offset of the first byte in the file, in bytes.
    pub offset: u64,
    /// `p_flags`: 1 executable, 2 writable, 4 readable.
    pub flags: u32,
}

impl Segment {
    /// Returns the host-virtual address after the last byte.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.hva + self.size
    }

    fn new(header: &ProgramHeader, file_len: u64) -> Self {
        // A segment that reaches past the address space is cut.
        let size = header.memsz.max(header.filesz).min(u64::MAX - header.vaddr);
        let promised = header.filesz.min(size);
        Self {
            hva: header.vaddr,
            size,
            promised,
            in_file: promised.min(file_len.saturating_sub(header.offset)),
            offset: header.offset,
            flags: header.flags,
        }
    }

    /// Returns the part of the segment from the host-virtual address `hva` on.
    fn starting_at(self, hva: u64) -> Option<Self> {
        let skipped = hva.saturating_sub(self.hva);
        (skipped < self.size).then(|| Self {
            hva: self.hva + skipped,
            size: self.size - skipped,
            promised: self.promised.saturating_sub(skipped),
            in_file: self.in_file.saturating_sub(skipped),
            offset: self.offset.saturating_add(skipped),
            flags: self.flags,
        })
    }
}

impl ProcessCore {
    /// Opens a core file of either class and byte order, and decodes its
    /// program headers and its list of mapped files. The core may lie in a
    /// [`File`](std::fs::File), in memory or in any other [`ReadAt`].
    ///
    /// A file that is cut short opens with the memory that there is.
    ///
    /// # Errors
    ///
    /// - [`ProcessCoreError::NotACore`] for any other file;
    /// - [`ProcessCoreError::Headers`] if the program headers are cut short
    ///   or do not add up, or the file cannot be read.
    pub fn open(input: impl ReadAt + 'static) -> Result<Self, ProcessCoreError> {
        let input = Input::open(input.shared()).map_err(ProcessCoreError::Headers)?;
        let (Some(bytes), Some(header)) = (
            input.plain(),
            read_header(&input).map_err(ProcessCoreError::Headers)?,
        ) else {
            return Err(ProcessCoreError::NotACore);
        };
        if header.e_type != ET_CORE {
            return Err(ProcessCoreError::NotACore);
        }
        Self::read(&input, bytes, &header).map_err(ProcessCoreError::Headers)
    }

    fn read(
        input: &Input,
        bytes: &Arc<dyn ReadAt>,
        header: &FileHeader,
    ) -> Result<Self, VmcoreError> {
        let headers = read_program_headers(input, header)?;
        // gdb writes the notes after the memory, so a file that is cut short
        // loses them first. They serve as hints only.
        let notes = read_notes(input, &headers, header.encoding.order).unwrap_or_default();
        Ok(Self {
            bytes: Arc::clone(bytes),
            encoding: header.encoding,
            segments: segments(&headers, input.len()),
            mapped_files: mapped_files::mapped_files(&notes, header.encoding),
        })
    }

    /// Returns the word size and byte order of the host.
    #[must_use]
    pub const fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Returns the process's memory in ascending order, without overlap. Where
    /// program headers overlap, the one with the lowest address overrides the
    /// others.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Returns the files that the process had mapped, in ascending order of
    /// address.
    #[must_use]
    pub fn mapped_files(&self) -> &[MappedFile] {
        &self.mapped_files
    }

    /// Returns the mapped file at the host-virtual address `hva`.
    fn mapped_file(&self, hva: u64) -> Option<&MappedFile> {
        let after = self.mapped_files.partition_point(|file| file.hva <= hva);
        let file = &self.mapped_files[after.checked_sub(1)?];
        (hva - file.hva < file.size).then_some(file)
    }
}

fn segments(headers: &[ProgramHeader], file_len: u64) -> Vec<Segment> {
    let mut all: Vec<Segment> = headers
        .iter()
        .filter(|header| header.kind == PT_LOAD)
        .map(|header| Segment::new(header, file_len))
        .collect();
    all.sort_by_key(|segment| segment.hva);
    let mut end = 0;
    all.into_iter()
        .filter_map(|segment| {
            let rest = segment.starting_at(end)?;
            end = rest.end();
            Some(rest)
        })
        .collect()
}

//! Reading an ELF core of a guest, whoever wrote it.
//!
//! Program headers are taken from where `e_phoff` says, with `e_phentsize`
//! between them; `e_ehsize` is not looked at, which is wrong in QEMU's dumps.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::format::{
    DUMP_ELF_INCOMPLETE, ET_CORE, FileHeader, PN_XNUM, PT_LOAD, PT_NOTE, ProgramHeader,
    decode_section_zero, phdr_size, shdr_size,
};
use crate::memory::{FileMemory, FileRegion, MIN_PAGE_SIZE, MemoryRange, find_range};
use crate::vmcore::{Input, VmcoreError};

/// A decoded ELF core.
#[derive(Debug)]
pub(crate) struct ElfDump {
    pub(crate) header: FileHeader,
    pub(crate) program_headers: Vec<ProgramHeader>,
    /// All PT_NOTE segments, one behind the other.
    pub(crate) notes: Vec<u8>,
    /// Offset of the first PT_NOTE segment.
    pub(crate) notes_at: u64,
    /// Memory by guest-physical address, without overlap.
    loads: Vec<Load>,
}

/// Guest memory and where it lies in the dump.
#[derive(Debug, Clone, Copy)]
struct Load {
    range: MemoryRange,
    offset: u64,
}

impl ElfDump {
    /// Decodes the headers; `None` if this is no ELF file.
    pub(crate) fn open(input: &Input) -> Result<Option<Self>, VmcoreError> {
        let mut head = [0; 64];
        let n = input.len().min(head.len() as u64) as usize;
        input.read_at(0, &mut head[..n])?;
        let Some(header) = FileHeader::decode(&head[..n]) else {
            return Ok(None);
        };
        if header.e_type != ET_CORE {
            return Err(VmcoreError::Unsupported(format!(
                "it is an ELF file of type {}, not a core file",
                header.e_type
            )));
        }
        let program_headers = read_program_headers(input, &header)?;
        let notes = read_notes(input, &program_headers)?;
        let first = program_headers.iter().find(|h| h.kind == PT_NOTE);
        let notes_at = first.map_or(0, |header| header.offset);
        let loads = physical_memory(input, &program_headers);
        Ok(Some(Self {
            header,
            program_headers,
            notes,
            notes_at,
            loads,
        }))
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.header.flags & DUMP_ELF_INCOMPLETE == 0
    }

    pub(crate) fn ranges(&self) -> impl Iterator<Item = MemoryRange> {
        self.loads.iter().map(|load| load.range)
    }

    /// The loads as regions of the dump's file, which knows its holes.
    pub(crate) fn file_memory(&self, input: &Input) -> Option<FileMemory> {
        let file = input.plain_file()?;
        let regions = self.loads.iter().map(|load| FileRegion {
            range: load.range,
            file: Arc::clone(file),
            offset: load.offset,
        });
        FileMemory::new(regions.collect()).ok()
    }

    /// The dump's offset of the byte at `gpa`, and how many bytes follow it.
    pub(crate) fn find(&self, gpa: u64) -> Option<(u64, u64)> {
        let load = self.loads[find_range(&self.loads, gpa, |load| load.range)?];
        let inside = gpa - load.range.start();
        Some((load.offset + inside, load.range.size() - inside))
    }

    /// The segments with memory, as the program headers have them.
    pub(crate) fn load_headers(&self) -> impl Iterator<Item = &ProgramHeader> {
        self.program_headers
            .iter()
            .filter(|header| header.kind == PT_LOAD)
    }
}

fn read_program_headers(
    input: &Input,
    header: &FileHeader,
) -> Result<Vec<ProgramHeader>, VmcoreError> {
    let encoding = header.encoding;
    let count = if header.phnum == PN_XNUM {
        if header.shoff == 0 {
            return Err(VmcoreError::damaged(
                0,
                "e_phnum is PN_XNUM, but there is no section header 0",
            ));
        }
        let size = shdr_size(encoding.class) as u64;
        let bytes = input.read_vec("section header 0", header.shoff, size)?;
        decode_section_zero(encoding, &bytes).unwrap_or(0)
    } else {
        header.phnum.into()
    };
    let entry = usize::from(header.phentsize);
    if count > 0 && entry < phdr_size(encoding.class) {
        return Err(VmcoreError::damaged(
            0,
            format!("e_phentsize is {entry}, less than a program header"),
        ));
    }
    let len = u64::from(count) * entry as u64;
    let table = input.read_vec("the program headers", header.phoff, len)?;
    Ok(table
        .chunks_exact(entry.max(1))
        .filter_map(|bytes| ProgramHeader::decode(encoding, bytes))
        .collect())
}

fn read_notes(input: &Input, headers: &[ProgramHeader]) -> Result<Vec<u8>, VmcoreError> {
    let mut notes: Vec<u8> = Vec::new();
    for header in headers.iter().filter(|header| header.kind == PT_NOTE) {
        let segment = input.read_vec("the notes", header.offset, header.filesz)?;
        // Segments that lie on top of each other could be any amount.
        if notes.len() as u64 + header.filesz > input.len() {
            return Err(VmcoreError::damaged(
                header.offset,
                "the note segments are larger than the dump",
            ));
        }
        notes.extend_from_slice(&segment);
        notes.resize(notes.len().next_multiple_of(4), 0);
    }
    Ok(notes)
}

/// The guest-physical memory that is in the dump: of each PT_LOAD the whole
/// pages that have bytes in the file. Where several have the same memory, as
/// in dumps with paging, the lowest in address counts.
fn physical_memory(input: &Input, headers: &[ProgramHeader]) -> Vec<Load> {
    let mut loads: Vec<Load> = headers
        .iter()
        .filter(|header| header.kind == PT_LOAD)
        .filter_map(|header| whole_pages(header, input.len()))
        .collect();
    loads.sort_by_key(|load| (load.range.start(), load.offset));
    let mut memory: Vec<Load> = Vec::new();
    for load in loads {
        let Some(last) = memory.last_mut() else {
            memory.push(load);
            continue;
        };
        let Some(range) = load.range.starting_at(last.range.end()) else {
            continue;
        };
        let offset = load.offset + (range.start() - load.range.start());
        if range.start() == last.range.end() && offset == last.offset + last.range.size() {
            last.range = last.range.joined(&range);
        } else {
            memory.push(Load { range, offset });
        }
    }
    memory
}

fn whole_pages(header: &ProgramHeader, input_len: u64) -> Option<Load> {
    let in_file = header.filesz.min(input_len.checked_sub(header.offset)?);
    let start = header.paddr.checked_next_multiple_of(MIN_PAGE_SIZE)?;
    let skipped = start - header.paddr;
    let size = in_file.checked_sub(skipped)?;
    let range = MemoryRange::new(start, size - size % MIN_PAGE_SIZE).ok()?;
    Some(Load {
        range,
        offset: header.offset + skipped,
    })
}

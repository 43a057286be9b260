//! Reading an ELF core of a guest, whoever wrote it.
//!
//! Program headers are taken from where `e_phoff` says, with `e_phentsize`
//! between them; `e_ehsize` is not looked at, which is wrong in QEMU's dumps.
#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::elf::{
    DUMP_ELF_INCOMPLETE, ET_CORE, FileHeader, PT_LOAD, PT_NOTE, PT_NULL, ProgramHeader,
    SectionHeader,
};
use crate::memory::{FileMemory, FileRegion, MIN_PAGE_SIZE, MemoryRange, find_range};
use crate::read::{Input, VmcoreError};
use crate::write::notes::MAX_NOTES;

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

/// Far more than any dump has; each takes 56 bytes of memory.
const MAX_PROGRAM_HEADERS: u32 = 1 << 24;

impl ElfDump {
    /// Decodes the headers; `None` if this is no ELF file.
    pub(crate) fn open(input: &Input) -> Result<Option<Self>, VmcoreError> {
        let Some(header) = read_header(input)? else {
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

/// Decodes the ELF header; `None` if this is no ELF file.
pub(crate) fn read_header(input: &Input) -> Result<Option<FileHeader>, VmcoreError> {
    let mut head = [0; FileHeader::MAX_SIZE];
    let n = input.len().min(head.len() as u64) as usize;
    input.read_at(0, &mut head[..n])?;
    Ok(FileHeader::decode(&head[..n]))
}

/// Decodes all program headers but those of type PT_NULL.
pub(crate) fn read_program_headers(
    input: &Input,
    header: &FileHeader,
) -> Result<Vec<ProgramHeader>, VmcoreError> {
    let encoding = header.encoding;
    let count = if header.has_extended_numbering() {
        if header.shoff == 0 {
            return Err(VmcoreError::damaged(
                0,
                "e_phnum is PN_XNUM, but there is no section header 0",
            ));
        }
        let size = SectionHeader::size(encoding.class) as u64;
        let bytes = input.read_vec("section header 0", header.shoff, size, size)?;
        SectionHeader::decode(encoding, &bytes).map_or(0, |zero| zero.info)
    } else {
        header.phnum.into()
    };
    let entry = usize::from(header.phentsize);
    if count > 0 && entry < ProgramHeader::size(encoding.class) {
        return Err(VmcoreError::damaged(
            0,
            format!("e_phentsize is {entry}, less than a program header"),
        ));
    }
    if count > MAX_PROGRAM_HEADERS {
        return Err(VmcoreError::damaged(
            0,
            format!("there are {count} program headers, more than {MAX_PROGRAM_HEADERS}"),
        ));
    }
    let len = u64::from(count) * entry as u64;
    input.require("the program headers", header.phoff, len)?;
    // A table in a hole of the file is as long as its count claims, and
    // nothing but PT_NULL.
    let mut headers = Vec::new();
    let mut left = count as usize;
    let mut offset = header.phoff;
    while left > 0 {
        let now = left.min(4096);
        let mut table = vec![0; now * entry];
        input.read_at(offset, &mut table)?;
        let decoded = table
            .chunks_exact(entry)
            .filter_map(|bytes| ProgramHeader::decode(encoding, bytes));
        headers.extend(decoded.filter(|header| header.kind != PT_NULL));
        offset += table.len() as u64;
        left -= now;
    }
    Ok(headers)
}

/// The PT_NOTE segments, one behind the other.
pub(crate) fn read_notes(input: &Input, headers: &[ProgramHeader]) -> Result<Vec<u8>, VmcoreError> {
    let mut notes: Vec<u8> = Vec::new();
    for header in headers.iter().filter(|header| header.kind == PT_NOTE) {
        let room = MAX_NOTES - notes.len() as u64;
        let segment = input.read_vec("the notes", header.offset, header.filesz, room)?;
        notes.extend_from_slice(&segment);
        // MAX_NOTES is a multiple of 4.
        notes.resize(notes.len().next_multiple_of(4), 0);
    }
    Ok(notes)
}

/// The guest-physical memory that is in the dump: the whole pages that have
/// bytes in the file. Where several PT_LOADs have the same memory, as in
/// dumps with paging, the lowest in address counts.
fn physical_memory(input: &Input, headers: &[ProgramHeader]) -> Vec<Load> {
    let mut loads: Vec<Load> = Vec::new();
    for piece in joined_pieces(input, headers) {
        let Some(load) = piece.whole_pages() else {
            continue;
        };
        let behind = loads.last().map_or(0, |last| last.range.end());
        let Some(range) = load.range.starting_at(behind) else {
            continue;
        };
        let offset = load.offset + (range.start() - load.range.start());
        loads.push(Load { range, offset });
    }
    loads
}

/// Bytes of guest memory in the file, of any alignment.
struct Piece {
    paddr: u64,
    offset: u64,
    len: u64,
}

impl Piece {
    fn whole_pages(&self) -> Option<Load> {
        let start = self.paddr.checked_next_multiple_of(MIN_PAGE_SIZE)?;
        let skipped = start - self.paddr;
        let size = self.len.checked_sub(skipped)?;
        let range = MemoryRange::new(start, size - size % MIN_PAGE_SIZE).ok()?;
        Some(Load {
            range,
            offset: self.offset + skipped,
        })
    }
}

/// The PT_LOADs' pieces by address. Those that go on or repeat one another,
/// in memory and in the file alike, are one.
fn joined_pieces(input: &Input, headers: &[ProgramHeader]) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = headers
        .iter()
        .filter(|header| header.kind == PT_LOAD)
        .filter_map(|header| {
            let in_file = input.len().checked_sub(header.offset)?;
            let len = header.filesz.min(in_file);
            header.paddr.checked_add(len)?;
            Some(Piece {
                paddr: header.paddr,
                offset: header.offset,
                len,
            })
        })
        .collect();
    pieces.sort_by_key(|piece| (piece.paddr, piece.offset));
    let mut joined: Vec<Piece> = Vec::new();
    for piece in pieces {
        match joined.last_mut() {
            Some(last)
                if piece.paddr - last.paddr <= last.len
                    && piece.offset.checked_sub(last.offset) == Some(piece.paddr - last.paddr) =>
            {
                last.len = last.len.max(piece.paddr - last.paddr + piece.len);
            }
            _ => joined.push(piece),
        }
    }
    joined
}

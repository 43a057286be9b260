//! The ELF header, program headers and notes of a core file.
//!
//! Program headers are read from `e_phoff` on, `e_phentsize` bytes apart.
//! `e_ehsize` is ignored, because QEMU's dumps state a wrong one.
#![forbid(unsafe_code)]

use crate::abi::ByteOrder;
use crate::elf::{FileHeader, Notes, PT_NOTE, PT_NULL, ProgramHeader, SectionHeader};
use crate::read::{Input, VmcoreError};
use crate::write::notes::MAX_NOTES;

/// The most program headers that are read, far more than any dump has. Each
/// takes 56 bytes of memory.
const MAX_PROGRAM_HEADERS: u32 = 1 << 24;

/// Decodes the ELF header; `None` if this is no ELF file.
pub(crate) fn read_header(input: &Input) -> Result<Option<FileHeader>, VmcoreError> {
    let mut head = [0; FileHeader::MAX_SIZE];
    let n = input.len().min(head.len() as u64) as usize;
    input.read_at(0, &mut head[..n])?;
    Ok(FileHeader::decode(&head[..n]))
}

/// Decodes all program headers except those of type PT_NULL.
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
    // A table in a hole of the file contains PT_NULL alone, as often as its
    // count claims, and must not take memory.
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

/// Reads the PT_NOTE segments, one after the other, with each note padded to four bytes.
pub(crate) fn read_notes(
    input: &Input,
    headers: &[ProgramHeader],
    order: ByteOrder,
) -> Result<Vec<u8>, VmcoreError> {
    let mut notes: Vec<u8> = Vec::new();
    let mut room = MAX_NOTES;
    for header in headers.iter().filter(|header| header.kind == PT_NOTE) {
        let mut segment = input.read_vec("the notes", header.offset, header.filesz, room)?;
        room -= header.filesz;
        if header.align == 8
            && let Some(repadded) = Notes::repadded(&segment, order)
        {
            segment = repadded;
        }
        let used = Notes::new(&segment, order).used();
        segment.truncate(used);
        notes.extend_from_slice(&segment);
        notes.resize(notes.len().next_multiple_of(4), 0);
    }
    Ok(notes)
}

//! Reading the sections of an ELF dump.
#![forbid(unsafe_code)]

use crate::elf::{FileHeader, SHT_PROGBITS, SectionHeader};
use crate::read::Input;
use crate::write::elf_sections::{MAX_SECTIONS, Section};

/// The most bytes of contents that are read from a dump. Sections describe each
/// MiB of a guest in a few bytes, and a file may consist of holes.
const MAX_CONTENTS: u64 = 256 << 20;

/// Reads the sections of a dump that can be written again: those with contents
/// of their writer's own. A section that shows a segment of memory, as gdb
/// makes them, is omitted.
///
/// Damaged sections are omitted too, because the dump is good without them.
/// QEMU's section headers may be in the wrong byte order. The contents together
/// are at most as long as the dump, and at most [`MAX_CONTENTS`].
pub(crate) fn read_sections(input: &Input, header: &FileHeader) -> Vec<Section> {
    let headers = read_headers(input, header).unwrap_or_default();
    let mut left = input.len().min(MAX_CONTENTS);
    let mut contents = |header: &SectionHeader| {
        let max = left;
        let bytes = input.read_vec("a section", header.offset, header.size, max);
        let bytes = bytes.ok()?;
        left -= bytes.len() as u64;
        Some(bytes)
    };
    let Some(names) = headers
        .get(usize::from(header.shstrndx))
        .and_then(&mut contents)
    else {
        return Vec::new();
    };
    let own = headers
        .iter()
        .filter(|h| h.kind == SHT_PROGBITS && h.flags == 0);
    own.take(MAX_SECTIONS)
        .filter_map(|header| {
            let name = names.get(header.name as usize..)?.split(|b| *b == 0).next();
            let name = str::from_utf8(name?).ok().filter(|name| !name.is_empty())?;
            Some(Section::new(name, contents(header)?))
        })
        .collect()
}

fn read_headers(input: &Input, header: &FileHeader) -> Option<Vec<SectionHeader>> {
    let size = usize::from(header.shentsize);
    if header.shoff == 0 || size < SectionHeader::size(header.encoding.class) {
        return None;
    }
    // Headers are read one by one, because a header may claim a size of 64 KiB.
    let mut bytes = vec![0; SectionHeader::size(header.encoding.class)];
    (0..u64::from(header.shnum))
        .map(|n| {
            let at = header.shoff.checked_add(n * size as u64)?;
            input.read_at(at, &mut bytes).ok()?;
            SectionHeader::decode(header.encoding, &bytes)
        })
        .collect()
}

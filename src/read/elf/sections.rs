//! Reading the sections of an ELF dump.
#![forbid(unsafe_code)]

use std::ops::Range;

use crate::elf::{ExcludedHeader, FileHeader, SHT_PROGBITS, SHT_STRTAB, SectionHeader};
use crate::memory::Lack;
use crate::read::Input;
use crate::write::elf_sections::{MAX_SECTIONS, Section};

/// The most bytes of contents that are read from a dump. Sections describe each
/// MiB of a guest in a few bytes, and a file may consist of holes.
const MAX_CONTENTS: u64 = 256 << 20;

/// The most bytes of all names of sections, and of one.
const MAX_NAMES: u64 = 1 << 20;
const MAX_NAME: usize = 64;

/// Reads the sections of a dump that can be written again: those with contents
/// of their writer's own. A section that shows a segment of memory, as gdb
/// makes them, is omitted, and so is [`ExcludedHeader::SECTION`].
///
/// Damaged sections are omitted too, because the dump is good without them.
/// QEMU's section headers may be in the wrong byte order. The contents together
/// are at most as long as the dump, and at most [`MAX_CONTENTS`].
pub(crate) fn read_sections(input: &Input, header: &FileHeader) -> Vec<Section> {
    let mut left = input.len().min(MAX_CONTENTS);
    let sections = OwnSections::read(input, header);
    let others = sections
        .list()
        .filter(|(name, _)| *name != ExcludedHeader::SECTION);
    others
        .filter_map(|(name, header)| {
            let bytes = contents(input, header, left)?;
            left -= bytes.len() as u64;
            Some(Section::new(name, bytes))
        })
        .collect()
}

/// Finds the section with this name. Returns its place in the dump.
pub(super) fn find_section(input: &Input, header: &FileHeader, name: &str) -> Option<Range<u64>> {
    let sections = OwnSections::read(input, header);
    let (_, header) = sections.list().find(|(found, _)| *found == name)?;
    Some(header.offset..header.offset.checked_add(header.size)?)
}

/// Finds section headers, or the contents of a section, through which the end of the dump goes. What
/// begins past the end does not count: headers may be damaged, and a dump that ends before its sections has
/// also lost memory, which precedes them.
pub(super) fn cut_off(input: &Input, header: &FileHeader) -> Option<Lack> {
    let is_cut = |offset: u64, size: u64| offset <= input.len() && !input.contains(offset, size);
    let lack = |what, offset| {
        Some(Lack::CutShort {
            what,
            offset,
            end: input.len(),
        })
    };
    let size = u64::from(header.shnum) * u64::from(header.shentsize);
    if header.shoff != 0 && is_cut(header.shoff, size) {
        return lack("the section headers", header.shoff);
    }
    let headers = read_headers(input, header)?;
    let own = |h: &&SectionHeader| matches!(h.kind, SHT_PROGBITS | SHT_STRTAB) && h.flags == 0;
    let cut = headers
        .iter()
        .filter(own)
        .find(|h| is_cut(h.offset, h.size))?;
    lack("a section", cut.offset)
}

fn contents(input: &Input, header: &SectionHeader, max: u64) -> Option<Vec<u8>> {
    input
        .read_vec("a section", header.offset, header.size, max)
        .ok()
}

/// The headers and the names of the sections whose contents only their writer
/// defines.
#[derive(Default)]
struct OwnSections {
    headers: Vec<SectionHeader>,
    names: Vec<u8>,
}

impl OwnSections {
    /// Reads them; empty if they cannot be read.
    fn read(input: &Input, header: &FileHeader) -> Self {
        let all = read_headers(input, header).unwrap_or_default();
        let names = all.get(usize::from(header.shstrndx));
        let Some(names) = names.and_then(|names| contents(input, names, MAX_CONTENTS)) else {
            return Self::default();
        };
        let is_own = |h: &SectionHeader| h.kind == SHT_PROGBITS && h.flags == 0;
        let headers = all.into_iter().filter(is_own).take(MAX_SECTIONS).collect();
        Self { headers, names }
    }

    /// Iterates over the sections that have a name.
    fn list(&self) -> impl Iterator<Item = (&str, &SectionHeader)> {
        self.headers.iter().filter_map(|header| {
            let name = self.names.get(header.name as usize..)?;
            let name = str::from_utf8(name.split(|b| *b == 0).next()?).ok()?;
            (!name.is_empty()).then_some((name, header))
        })
    }
}

/// A section as it is in the file.
#[derive(Debug, Clone)]
pub(crate) struct StoredSection {
    /// The name; empty if it is not in the file.
    pub(crate) name: String,
    /// Offset of the contents in the dump.
    pub(crate) offset: u64,
    /// Bytes of the contents.
    pub(crate) size: u64,
    /// `sh_type`.
    pub(crate) kind: u32,
}

/// Lists the sections, at most [`MAX_SECTIONS`]; none if a section header is
/// not in the file.
pub(crate) fn sections(input: &Input, header: &FileHeader) -> Vec<StoredSection> {
    let headers = read_headers(input, header).unwrap_or_default();
    let names = headers.get(usize::from(header.shstrndx));
    let names = names.and_then(|h| {
        input
            .read_vec("a section", h.offset, h.size, MAX_NAMES)
            .ok()
    });
    let names = names.unwrap_or_default();
    let name = |at: u32| {
        let name = names.get(at as usize..)?.split(|byte| *byte == 0).next()?;
        // Every section may have the same long name.
        let name = name.get(..MAX_NAME).unwrap_or(name);
        Some(String::from_utf8_lossy(name).into_owned())
    };
    let sections = headers.iter().take(MAX_SECTIONS);
    sections
        .map(|header| StoredSection {
            name: name(header.name).unwrap_or_default(),
            offset: header.offset,
            size: header.size,
            kind: header.kind,
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

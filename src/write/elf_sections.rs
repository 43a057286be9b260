//! Sections of an ELF dump: named bytes beside the memory. They contain data
//! that some guests need and no note has. For a protected s390x guest, QEMU
//! puts the metadata of its encrypted memory into the section `pv_mem_meta`. It
//! puts the key material into `pv_compl`.
//!
//! The section headers, the names and the contents precede the memory, so that
//! a dump that is cut short keeps them. They follow it if the contents of a
//! section are known only then. Section header 0 is empty or contains the
//! number of program headers. The last section header describes the names.
//! QEMU uses the same order of sections. But QEMU puts the contents after the
//! memory, and writes one header in the host's byte order.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::abi::{ByteOrder, Class, Encoding};
use crate::bitmap;
use crate::elf::{ExcludedHeader, SHN_LORESERVE, SHT_PROGBITS, SHT_STRTAB, SectionHeader};
use crate::selection::Selection;
use crate::sink::Output;
use crate::write::WriteError;

/// A section of an ELF dump.
#[derive(Clone)]
pub struct Section {
    name: String,
    contents: Contents,
}

#[derive(Clone)]
enum Contents {
    Given(Arc<[u8]>),
    Late(Arc<dyn Fn() -> io::Result<Vec<u8>> + Send + Sync>),
}

impl Section {
    /// Creates a section with these contents.
    #[must_use]
    pub fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes: Vec<u8> = bytes.into();
        Self {
            name: name.into(),
            contents: Contents::Given(bytes.into()),
        }
    }

    /// Creates a section that asks for its contents after all memory is
    /// written. A protected guest's sections need this, because their contents
    /// end its dump.
    #[must_use]
    pub fn late(
        name: impl Into<String>,
        contents: impl Fn() -> io::Result<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            contents: Contents::Late(Arc::new(contents)),
        }
    }

    /// Returns the contents, unless they are late.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        match &self.contents {
            Contents::Given(bytes) => Some(bytes),
            Contents::Late(_) => None,
        }
    }

    /// Returns the section's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Section");
        out.field("name", &self.name);
        match &self.contents {
            Contents::Given(bytes) => out.field("bytes", &bytes.len()),
            Contents::Late(_) => out.field("bytes", &"late"),
        };
        out.finish()
    }
}

/// Why a dump cannot have the sections that the caller gave.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SectionsError {
    /// There are more sections than section headers have numbers for.
    #[error("{0} sections are too many; the limit is {MAX_SECTIONS}")]
    TooMany(usize),
    /// A name is empty or contains a NUL.
    #[error("{0:?} cannot be the name of a section; it is empty or has a NUL in it")]
    Name(String),
}

/// The most sections that the caller may give. All section numbers are below
/// `SHN_LORESERVE`: section 0, the names and the excluded pages take one each.
pub(crate) const MAX_SECTIONS: usize = SHN_LORESERVE as usize - 3;

/// Name of the section that contains the names.
const SHSTRTAB: &str = ".shstrtab";

pub(crate) fn check(sections: &[Section]) -> Result<(), SectionsError> {
    if sections.len() > MAX_SECTIONS {
        return Err(SectionsError::TooMany(sections.len()));
    }
    let bad = |s: &&Section| s.name.is_empty() || s.name.contains('\0');
    match sections.iter().find(bad) {
        Some(section) => Err(SectionsError::Name(section.name.clone())),
        None => Ok(()),
    }
}

/// Whether all contents are known before the memory is written.
pub(crate) fn are_known(sections: &[Section]) -> bool {
    let is_known = |section: &Section| matches!(section.contents, Contents::Given(_));
    sections.iter().all(is_known)
}

/// Makes the section with the excluded pages of `selection`, which tells them from zero pages.
/// `dump_level` is the level that excluded them.
pub(crate) fn excluded(order: ByteOrder, selection: &Selection, dump_level: u32) -> Section {
    let header = ExcludedHeader {
        version: ExcludedHeader::VERSION,
        page_size: selection.page_size as u32,
        dump_level,
        pages: selection.wanted_pages(),
    };
    let mut bytes = header.to_bytes(order).to_vec();
    bytes.resize(bytes.len() + header.bitmap_size() as usize, 0);
    let bitmap = &mut bytes[ExcludedHeader::SIZE..];
    let mut first = 0;
    for run in &selection.wanted {
        for excluded in selection.left_out.runs_of(*run, true) {
            let start = first + (excluded.start - run.start);
            bitmap::set(bitmap, start..start + excluded.count);
        }
        first += run.count;
    }
    Section::new(ExcludedHeader::SECTION, bytes)
}

/// Returns the number of section headers for `sections`.
pub(crate) fn header_count(sections: &[Section]) -> usize {
    match sections.len() {
        0 => 0,
        n => n + 2,
    }
}

/// Returns the number of bytes that `sections` occupy, without the contents of
/// late ones.
pub(crate) fn size(class: Class, sections: &[Section]) -> u64 {
    if sections.is_empty() {
        return 0;
    }
    let known = |section: &Section| match &section.contents {
        Contents::Given(bytes) => bytes.len(),
        Contents::Late(_) => 0,
    };
    let headers = header_count(sections) * SectionHeader::size(class);
    let contents: usize = sections.iter().map(known).sum();
    (headers + names(sections).len() + contents) as u64
}

/// Encodes the names. A NUL, which is the name of section 0, precedes them, and
/// a NUL ends each name.
fn names(sections: &[Section]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let all = sections.iter().map(|section| section.name.as_str());
    for name in [""].into_iter().chain(all).chain([SHSTRTAB]) {
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
    }
    bytes
}

/// Writes headers, names and contents from the offset `at` on. It returns the
/// offset after them.
///
/// # Errors
///
/// - [`WriteError::Section`] if late contents are not available, or do not fit
///   into a 32-bit file;
/// - [`WriteError::Fault`] if the output fails.
pub(crate) fn write(
    encoding: Encoding,
    sections: &[Section],
    phnum: u32,
    at: u64,
    output: &Output<'_>,
) -> Result<u64, WriteError> {
    let names = names(sections);
    let names_at = at + (header_count(sections) * SectionHeader::size(encoding.class)) as u64;
    let mut headers = Vec::new();
    let mut push = |header: SectionHeader, name: &str| {
        header
            .encode(encoding, &mut headers)
            .map_err(|error| WriteError::Section {
                name: name.to_owned(),
                source: io::Error::new(io::ErrorKind::FileTooLarge, error),
            })
    };
    push(SectionHeader::zero(phnum), "")?;
    let mut all = Vec::new();
    let mut name = 1;
    let mut offset = names_at + names.len() as u64;
    for section in sections {
        let bytes = contents(encoding.class, section, offset)?;
        let size = bytes.len() as u64;
        let header = SectionHeader {
            name,
            kind: SHT_PROGBITS,
            offset,
            size,
            ..SectionHeader::default()
        };
        push(header, &section.name)?;
        name += section.name.len() as u32 + 1;
        offset += size;
        all.push(bytes);
    }
    let header = SectionHeader {
        name,
        kind: SHT_STRTAB,
        offset: names_at,
        size: names.len() as u64,
        ..SectionHeader::default()
    };
    push(header, SHSTRTAB)?;
    output.write_at(at, &headers)?;
    output.write_at(names_at, &names)?;
    let mut end = names_at + names.len() as u64;
    for bytes in all {
        output.write_at(end, &bytes)?;
        end += bytes.len() as u64;
    }
    Ok(end)
}

/// Returns the section's contents, which are to be written at `offset`.
fn contents(class: Class, section: &Section, offset: u64) -> Result<Arc<[u8]>, WriteError> {
    let failed = |source| WriteError::Section {
        name: section.name.clone(),
        source,
    };
    let bytes = match &section.contents {
        Contents::Given(bytes) => Arc::clone(bytes),
        Contents::Late(late) => late().map_err(failed)?.into(),
    };
    let end = offset + bytes.len() as u64;
    let limit = match class {
        Class::Bits32 => u64::from(u32::MAX),
        Class::Bits64 => i64::MAX as u64,
    };
    if end > limit {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(bytes)
}

//! Writes an ELF dump: ELF header, program headers, notes, and the memory of
//! each PT_LOAD. A dump with very many program headers also has section header
//! 0.
//!
//! The layout meets the readers' requirements (docs/formats/elf.md has the
//! evidence):
//!
//! - The program headers directly follow the ELF header, for makedumpfile.
//! - PT_NOTE comes first, for crash.
//! - p_filesz is equal to p_memsz and page-aligned, for LeechCore and
//!   volatility3. So zero pages are holes of the file.
#![forbid(unsafe_code)]

use std::iter;

use crate::abi::{Class, Encoding};
use crate::arch::{DirectMapping, Machine};
use crate::elf::{
    DUMP_ELF_INCOMPLETE, ET_CORE, FileHeader, PF_RWX, PN_XNUM, PT_LOAD, PT_NOTE, ProgramHeader,
    SectionHeader,
};
use crate::guest::paging::Mapping;
use crate::memory::{GuestMemory, MemoryRange, find_range};
use crate::pipeline;
use crate::pipeline::{Chunks, LeftOut, Written};
use crate::selection::Selection;
use crate::sink::{Output, SinkAccess};
use crate::workers::Progress;
use crate::workers::Threads;
use crate::write::elf_sections;
use crate::write::elf_sections::Section;
use crate::write::notes::NoteSegment;
use crate::write::raw::{RawLayout, RawPages};
use crate::write::{TooHigh, WriteError, overflow};

/// The contents of a dump.
#[derive(Clone, Copy)]
pub(crate) struct ElfContents<'a> {
    pub(crate) memory: &'a dyn GuestMemory,
    pub(crate) selection: &'a Selection,
    /// RAM by guest-virtual address. Each mapping lies in one run of
    /// `selection`.
    pub(crate) mappings: &'a [Mapping],
    pub(crate) notes: &'a NoteSegment,
    pub(crate) sections: &'a [Section],
    /// `e_flags` without the bit of an incomplete dump.
    pub(crate) flags: u32,
    /// Whether the dump says that it is incomplete, because its source is.
    pub(crate) incomplete: bool,
    pub(crate) machine: Machine,
    /// The kernel's direct mapping, if readers need it. It gives the
    /// guest-virtual addresses of the PT_LOADs that are not in `mappings`.
    pub(crate) direct_mapping: Option<DirectMapping>,
}

/// A dump whose layout is known.
pub(crate) struct ElfWriter<'a> {
    contents: ElfContents<'a>,
    layout: ElfLayout,
}

/// Places of the dump's parts in the file.
#[derive(Debug, Clone, Copy)]
struct ElfLayout {
    /// The machine's class, or a wider one.
    class: Class,
    /// File offset of the notes.
    notes_at: u64,
    /// File offset of the first PT_LOAD's memory; the others follow.
    memory_at: u64,
    /// File offset of the section headers. Names and contents follow them.
    sections_at: u64,
}

impl ElfContents<'_> {
    fn header_count(&self) -> usize {
        1 + self.mappings.len() + self.runs().count()
    }

    /// Returns the runs of RAM in order, cut where the direct mapping ends.
    fn runs(&self) -> impl Iterator<Item = MemoryRange> {
        let end = self.direct_mapping.map_or(0, |direct| direct.end);
        let cut = move |run: MemoryRange| {
            let (low, high) = match end.checked_sub(run.start()) {
                Some(low) if low > 0 => run.split_at(low),
                _ => (run, None),
            };
            iter::once(low).chain(high)
        };
        let page_size = self.selection.page_size;
        let runs = self.selection.wanted.iter();
        runs.flat_map(move |run| cut(run.range(page_size)))
    }

    /// Computes the layout of a dump of `class`. It returns `None` if an
    /// address, a size or an offset does not fit into the headers of that
    /// class.
    fn lay_out(&self, class: Class) -> Option<ElfLayout> {
        let headers = self.header_count();
        let mut notes_at = (FileHeader::size(class) + headers * ProgramHeader::size(class)) as u64;
        if headers >= usize::from(PN_XNUM) {
            notes_at += SectionHeader::size(class) as u64;
        }
        let page_size = self.selection.page_size;
        let notes_end = notes_at + self.notes.bytes.len() as u64;
        let sections_size = elf_sections::size(class, self.sections);
        let before = self.has_early_sections();
        let early = if before { sections_size } else { 0 };
        let memory_at = notes_end.checked_add(early)?.next_multiple_of(page_size);
        let ram_end = self.selection.max_mapnr().checked_mul(page_size)?;
        let size = self.selection.wanted_pages().checked_mul(page_size)?;
        let memory_end = size.checked_add(memory_at)?;
        let file_end = memory_end.checked_add(sections_size - early)?;
        let fits = match class {
            Class::Bits32 => {
                let runs = self.selection.wanted.iter();
                let mut sizes = runs.map(|run| run.range(page_size).size());
                let end = |m: &Mapping| m.vaddr.saturating_add(m.size);
                ram_end <= 1 << 32
                    && file_end <= 1 << 32
                    && sizes.all(|n| n < 1 << 32)
                    && self.mappings.iter().all(|m| end(m) <= 1 << 32)
            }
            // Physical addresses may use all 64 bits, file offsets 63.
            Class::Bits64 => i64::try_from(file_end).is_ok(),
        };
        fits.then_some(ElfLayout {
            class,
            notes_at,
            memory_at,
            sections_at: if before { notes_end } else { memory_end },
        })
    }

    /// Whether the sections precede the memory.
    fn has_early_sections(&self) -> bool {
        elf_sections::are_known(self.sections)
    }
}

impl<'a> ElfWriter<'a> {
    /// Lays the dump out.
    ///
    /// # Errors
    ///
    /// [`TooHigh`] if addresses or offsets do not fit into the
    /// headers' fields.
    pub(crate) fn new(contents: ElfContents<'a>) -> Result<Self, TooHigh> {
        let ElfContents {
            selection, machine, ..
        } = contents;
        // A guest with 32-bit words may have more memory than 32-bit addresses
        // reach.
        let layout = contents
            .lay_out(machine.encoding().class)
            .or_else(|| contents.lay_out(Class::Bits64))
            .ok_or_else(|| TooHigh {
                end: selection.max_mapnr().saturating_mul(selection.page_size),
            })?;
        Ok(Self { contents, layout })
    }

    /// Writes the dump.
    pub(crate) fn write<'s>(
        &self,
        access: SinkAccess<'s>,
        threads: Threads<'_>,
        progress: &'s Progress,
    ) -> Result<Written, WriteError> {
        let output = Output::new(access, progress);
        // A file is marked as incomplete until it is complete. A stream cannot
        // go back, so an incomplete one is shorter than its headers say.
        let positioned = output.is_positioned();
        let incomplete = self.contents.incomplete;
        output.write_at(0, &self.file_header(positioned || incomplete)?)?;
        self.write_program_headers(&output)?;
        output.write_at(self.layout.notes_at, &self.contents.notes.bytes)?;

        let early = self.contents.has_early_sections();
        if early && !self.contents.sections.is_empty() {
            self.write_sections(&output)?;
        }
        let memory = RawPages {
            memory: self.contents.memory,
            page_size: self.contents.selection.page_size,
            offset: self.layout.memory_at,
            unreadable: None,
            output: &output,
        };
        let selection = self.contents.selection;
        let chunks = Chunks::new(self.contents.memory, selection, LeftOut::Zeroes);
        let (end, result) = pipeline::run(&memory, RawLayout::default(), chunks, threads, progress);
        result?;

        let file_size = if early {
            self.memory_end()
        } else {
            self.write_sections(&output)?
        };
        output.set_len(file_size)?;
        if positioned {
            output.write_at(0, &self.file_header(incomplete)?)?;
        }
        Ok(Written {
            pages: selection.pages(),
            zero_pages: end.zero_pages - selection.left_out.len(),
            file_size,
        })
    }

    /// Writes the sections. Returns the offset after them.
    fn write_sections(&self, output: &Output<'_>) -> Result<u64, WriteError> {
        let at = self.layout.sections_at;
        let sections = self.contents.sections;
        elf_sections::write(self.encoding(), sections, self.real_phnum(), at, output)
    }

    fn encoding(&self) -> Encoding {
        Encoding {
            class: self.layout.class,
            order: self.contents.machine.encoding().order,
        }
    }

    fn memory_end(&self) -> u64 {
        self.layout.memory_at
            + self.contents.selection.wanted_pages() * self.contents.selection.page_size
    }

    /// Returns the number of program headers for section header 0, or 0 if the
    /// ELF header contains it.
    fn real_phnum(&self) -> u32 {
        let count = self.contents.header_count();
        if count >= usize::from(PN_XNUM) {
            count as u32
        } else {
            0
        }
    }

    fn file_header(&self, incomplete: bool) -> Result<Vec<u8>, WriteError> {
        let class = self.encoding().class;
        let (shoff, shnum) = match elf_sections::header_count(self.contents.sections) as u16 {
            // The dump has section header 0 alone.
            0 if self.real_phnum() > 0 => {
                (self.layout.notes_at - SectionHeader::size(class) as u64, 1)
            }
            0 => (0, 0),
            count => (self.layout.sections_at, count),
        };
        let machine = self.contents.machine.elf_machine();
        let header = FileHeader {
            flags: self.contents.flags | if incomplete { DUMP_ELF_INCOMPLETE } else { 0 },
            phoff: FileHeader::size(class) as u64,
            phnum: u16::try_from(self.contents.header_count()).unwrap_or(PN_XNUM),
            shoff,
            shentsize: if shnum > 0 {
                SectionHeader::size(class) as u16
            } else {
                0
            },
            shnum,
            shstrndx: shnum.saturating_sub(1),
            ..FileHeader::new(self.encoding(), ET_CORE, machine)
        };
        let mut bytes = Vec::new();
        header.encode(&mut bytes).map_err(overflow)?;
        Ok(bytes)
    }

    /// Writes PT_NOTE, the PT_LOADs, and section header 0 if it is needed. It
    /// writes about 64 KiB at a time.
    fn write_program_headers(&self, output: &Output<'_>) -> Result<(), WriteError> {
        const AT_ONCE: usize = 64 << 10;
        let encoding = self.encoding();
        let mut offset = FileHeader::size(encoding.class) as u64;
        let mut bytes = Vec::new();
        let mut flush = |bytes: &mut Vec<u8>| -> Result<(), WriteError> {
            output.write_at(offset, bytes)?;
            offset += bytes.len() as u64;
            bytes.clear();
            Ok(())
        };
        ProgramHeader {
            kind: PT_NOTE,
            offset: self.layout.notes_at,
            filesz: self.contents.notes.bytes.len() as u64,
            memsz: self.contents.notes.bytes.len() as u64,
            align: 4,
            ..ProgramHeader::default()
        }
        .encode(encoding, &mut bytes)
        .map_err(overflow)?;
        for header in self.virtual_loads().chain(self.physical_loads()) {
            header.encode(encoding, &mut bytes).map_err(overflow)?;
            if bytes.len() >= AT_ONCE {
                flush(&mut bytes)?;
            }
        }
        if self.contents.header_count() >= usize::from(PN_XNUM) {
            SectionHeader::zero(self.real_phnum())
                .encode(encoding, &mut bytes)
                .map_err(overflow)?;
        }
        flush(&mut bytes)
    }

    /// Returns a PT_LOAD for each run of RAM. Its virtual address is that of
    /// the kernel's direct mapping, if that is known and a reader needs it.
    /// Otherwise it repeats the physical address, as in QEMU's dumps, so that
    /// gdb reads physical memory.
    fn physical_loads(&self) -> impl Iterator<Item = ProgramHeader> {
        let direct = self.contents.direct_mapping;
        self.runs_in_file().map(move |(range, offset)| {
            let vaddr = match direct {
                None => range.start(),
                Some(direct) => vaddr_of(range, direct, self.layout.class),
            };
            load(vaddr, range.start(), range.size(), offset)
        })
    }

    /// Returns a PT_LOAD for each mapping, in the memory of the runs.
    ///
    /// They come before the runs' PT_LOADs, because gdb takes the first PT_LOAD
    /// that has an address. The longest is the last of them, because
    /// makedumpfile takes a late one for the kernel's mapping of all RAM.
    fn virtual_loads(&self) -> impl Iterator<Item = ProgramHeader> {
        let runs: Vec<_> = match self.contents.mappings {
            [] => Vec::new(),
            _ => self.runs_in_file().collect(),
        };
        let longest =
            (0..self.contents.mappings.len()).max_by_key(|i| self.contents.mappings[*i].size);
        let (before, rest) = self.contents.mappings.split_at(longest.unwrap_or(0));
        let (longest, behind) = rest.split_at(rest.len().min(1));
        let mappings = before.iter().chain(behind).chain(longest);
        mappings.filter_map(move |mapping| {
            let run = find_range(&runs, mapping.gpa, |(range, _)| *range)?;
            let (range, offset) = runs[run];
            let at = offset + (mapping.gpa - range.start());
            Some(load(mapping.vaddr, mapping.gpa, mapping.size, at))
        })
    }

    /// Returns each run of RAM and the file offset of its memory.
    fn runs_in_file(&self) -> impl Iterator<Item = (MemoryRange, u64)> {
        let mut next = self.layout.memory_at;
        self.contents.runs().map(move |range| {
            next += range.size();
            (range, next - range.size())
        })
    }
}

/// Returns the guest-virtual address of a run of RAM that the kernel maps where
/// `direct` says.
///
/// Other runs have their physical address, unless it is an address of the
/// kernel's: drgn takes the last PT_LOAD that has an address. They have the
/// highest address instead.
fn vaddr_of(range: MemoryRange, direct: DirectMapping, class: Class) -> u64 {
    if range.start() >= direct.start && range.end() <= direct.end {
        return range.start() - direct.start + direct.vaddr;
    }
    let is_kernels = range.end() > direct.vaddr && range.start() <= u32::MAX.into();
    match class {
        _ if !is_kernels => range.start(),
        Class::Bits32 => u32::MAX.into(),
        Class::Bits64 => u64::MAX,
    }
}

fn load(vaddr: u64, paddr: u64, size: u64, offset: u64) -> ProgramHeader {
    ProgramHeader {
        kind: PT_LOAD,
        flags: PF_RWX,
        offset,
        vaddr,
        paddr,
        filesz: size,
        memsz: size,
        // crash mistakes an aligned segment with an alignment for a netdump
        // dump.
        align: 0,
    }
}

//! Writing an ELF dump: ELF header, program headers, section header 0 if
//! there are very many of them, notes, and the memory of each PT_LOAD.
//!
//! What the readers ask for (docs/formats/elf.md has the evidence): program
//! headers directly behind the ELF header, for makedumpfile; PT_NOTE first,
//! for crash; p_filesz equal to p_memsz, page-aligned, for LeechCore and
//! volatility3, so zero pages are holes of the file.
#![forbid(unsafe_code)]

use super::format::{
    DUMP_ELF_INCOMPLETE, ET_CORE, FileHeader, PF_RWX, PN_XNUM, PT_LOAD, PT_NOTE, ProgramHeader,
    ehdr_size, encode_section_zero, phdr_size, shdr_size,
};
use super::sections::{self, Section};
use crate::arch::Machine;
use crate::encoding::{Class, Encoding};
use crate::error::{Error, Result};
use crate::format::Format;
use crate::memory::GuestMemory;
use crate::notes::NoteSegment;
use crate::pipeline::{self, Chunks, RawPages, Selection, Written};
use crate::progress::Progress;
use crate::sink::{Output, SinkAccess};

/// Everything that goes into a dump, checked.
pub(crate) struct ElfWriter<'a> {
    memory: &'a dyn GuestMemory,
    selection: &'a Selection,
    notes: &'a NoteSegment,
    machine: Machine,
    sections: &'a [Section],
    /// The machine's, or a wider one.
    class: Class,
    /// File offset of the notes.
    notes_at: u64,
    /// File offset of the first PT_LOAD's memory; the others follow.
    memory_at: u64,
}

impl<'a> ElfWriter<'a> {
    /// Lays the dump out.
    ///
    /// # Errors
    ///
    /// [`Error::AddressTooHigh`] if addresses or offsets do not fit into the
    /// headers' fields.
    pub(crate) fn new(
        memory: &'a dyn GuestMemory,
        selection: &'a Selection,
        notes: &'a NoteSegment,
        machine: Machine,
        sections: &'a [Section],
    ) -> Result<Self> {
        let headers = 1 + selection.dumped.len();
        let in_class =
            |class| lay_out(class, headers, notes, selection, sections).map(|(n, m)| (class, n, m));
        // A guest with 32-bit words may have more memory than addresses.
        let (class, notes_at, memory_at) = in_class(machine.encoding().class)
            .or_else(|| in_class(Class::Bits64))
            .ok_or_else(|| Error::AddressTooHigh {
                format: Format::Elf,
                end: selection.max_mapnr().saturating_mul(selection.page_size),
            })?;
        Ok(Self {
            memory,
            selection,
            notes,
            machine,
            sections,
            class,
            notes_at,
            memory_at,
        })
    }

    /// Writes the dump.
    pub(crate) fn write<'s>(
        &self,
        access: SinkAccess<'s>,
        threads: usize,
        progress: &'s Progress,
    ) -> Result<Written> {
        let output = Output::new(access, progress);
        // A file says that it is incomplete until it is not. A stream cannot
        // go back; it is shorter than its headers say.
        let positioned = output.is_positioned();
        output.write_at(0, &self.file_header(positioned))?;
        self.write_program_headers(&output)?;
        output.write_at(self.notes_at, &self.notes.bytes)?;

        let memory = RawPages {
            memory: self.memory,
            page_size: self.selection.page_size,
            offset: self.memory_at,
            output: &output,
        };
        let runs = &self.selection.dumped;
        let chunks = Chunks::new(self.memory, runs, self.selection.page_size);
        let zero_pages = pipeline::run(&memory, 0, chunks, threads, progress)?;

        let file_size = match self.sections {
            [] => self.memory_end(),
            all => sections::write(
                self.encoding(),
                all,
                self.real_phnum(),
                self.memory_end(),
                &output,
            )?,
        };
        output.set_len(file_size)?;
        if positioned {
            output.write_at(0, &self.file_header(false))?;
        }
        Ok(Written {
            zero_pages,
            file_size,
        })
    }

    fn encoding(&self) -> Encoding {
        Encoding {
            class: self.class,
            order: self.machine.encoding().order,
        }
    }

    fn memory_end(&self) -> u64 {
        self.memory_at + self.selection.pages() * self.selection.page_size
    }

    /// What section header 0 says of the number of program headers.
    fn real_phnum(&self) -> u32 {
        match self.header_count() >= usize::from(PN_XNUM) {
            true => self.header_count() as u32,
            false => 0,
        }
    }

    fn header_count(&self) -> usize {
        1 + self.selection.dumped.len()
    }

    fn file_header(&self, incomplete: bool) -> Vec<u8> {
        let class = self.encoding().class;
        let (shoff, shnum) = match sections::header_count(self.sections) as u16 {
            // Section header 0 alone.
            0 if self.real_phnum() > 0 => (self.notes_at - shdr_size(class) as u64, 1),
            0 => (0, 0),
            count => (self.memory_end(), count),
        };
        let header = FileHeader {
            encoding: self.encoding(),
            e_type: ET_CORE,
            machine: self.machine.elf_machine(),
            flags: if incomplete { DUMP_ELF_INCOMPLETE } else { 0 },
            ehsize: ehdr_size(class) as u16,
            phoff: ehdr_size(class) as u64,
            phentsize: phdr_size(class) as u16,
            phnum: u16::try_from(self.header_count()).unwrap_or(PN_XNUM),
            shoff,
            shentsize: if shnum > 0 {
                shdr_size(class) as u16
            } else {
                0
            },
            shnum,
            shstrndx: shnum.saturating_sub(1),
        };
        let mut bytes = Vec::new();
        header.encode(&mut bytes);
        bytes
    }

    /// Writes PT_NOTE, the PT_LOADs in order of address, and section header
    /// 0 if it is needed; some thousands at a time.
    fn write_program_headers(&self, output: &Output<'_>) -> Result<()> {
        const AT_ONCE: usize = 64 << 10;
        let encoding = self.encoding();
        let mut offset = ehdr_size(encoding.class) as u64;
        let mut bytes = Vec::new();
        let mut flush = |bytes: &mut Vec<u8>| -> Result<()> {
            output.write_at(offset, bytes)?;
            offset += bytes.len() as u64;
            bytes.clear();
            Ok(())
        };
        ProgramHeader {
            kind: PT_NOTE,
            offset: self.notes_at,
            filesz: self.notes.bytes.len() as u64,
            memsz: self.notes.bytes.len() as u64,
            align: 4,
            ..ProgramHeader::default()
        }
        .encode(encoding, &mut bytes);
        let mut memory_at = self.memory_at;
        for run in &self.selection.dumped {
            let range = run.range(self.selection.page_size);
            ProgramHeader {
                kind: PT_LOAD,
                flags: PF_RWX,
                offset: memory_at,
                // Without paging the guest-virtual address is not known. As
                // in QEMU's dumps it repeats the physical one, so that gdb
                // reads physical memory.
                vaddr: range.start(),
                paddr: range.start(),
                filesz: range.size(),
                memsz: range.size(),
                // crash takes an aligned segment with an alignment for a
                // dump of netdump.
                align: 0,
            }
            .encode(encoding, &mut bytes);
            memory_at += range.size();
            if bytes.len() >= AT_ONCE {
                flush(&mut bytes)?;
            }
        }
        if self.header_count() >= usize::from(PN_XNUM) {
            encode_section_zero(encoding, self.header_count() as u32, &mut bytes);
        }
        flush(&mut bytes)
    }
}

/// File offsets of the notes and of the first PT_LOAD's memory in a dump of
/// `class`; `None` if an address, a size or an offset does not fit into its
/// headers.
fn lay_out(
    class: Class,
    headers: usize,
    notes: &NoteSegment,
    selection: &Selection,
    sections: &[Section],
) -> Option<(u64, u64)> {
    let mut notes_at = (ehdr_size(class) + headers * phdr_size(class)) as u64;
    if headers >= usize::from(PN_XNUM) {
        notes_at += shdr_size(class) as u64;
    }
    let page_size = selection.page_size;
    let memory_at = (notes_at + notes.bytes.len() as u64).next_multiple_of(page_size);
    let ram_end = selection.max_mapnr().checked_mul(page_size)?;
    let size = selection.pages().checked_mul(page_size)?;
    let behind = sections::size(class, sections);
    let file_end = size.checked_add(memory_at)?.checked_add(behind)?;
    let fits = match class {
        Class::Bits32 => {
            let sizes = selection.dumped.iter();
            let mut sizes = sizes.map(|run| run.range(page_size).size());
            ram_end <= 1 << 32 && file_end <= 1 << 32 && sizes.all(|n| n < 1 << 32)
        }
        // Physical addresses may use all 64 bits, file offsets 63.
        Class::Bits64 => i64::try_from(file_end).is_ok(),
    };
    fits.then_some((notes_at, memory_at))
}

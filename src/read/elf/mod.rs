//! Reading an ELF core of a guest, whichever program wrote it.
#![forbid(unsafe_code)]

pub(crate) mod headers;
mod memory;
mod sections;

use std::io;

use crate::abi::Encoding;
use crate::arch::Machine;
use crate::dump::FormatOptions;
use crate::elf::{DUMP_ELF_INCOMPLETE, ET_CORE, FileHeader, PT_LOAD, PT_NOTE, ProgramHeader};
use crate::guest::GuestInfo;
use crate::memory::{MIN_PAGE_SIZE, MemoryRange};
use crate::read::dump::{Dump, Headers};
use crate::read::elf::headers::{read_header, read_notes, read_program_headers};
use crate::read::elf::memory::physical_memory;
use crate::read::elf::sections::read_sections;
use crate::read::stored::StoredMemory;
use crate::read::{CheckReport, Input, VmcoreError};
use crate::workers::Progress;

/// A decoded ELF core.
#[derive(Debug)]
pub(crate) struct ElfDump {
    header: FileHeader,
    program_headers: Vec<ProgramHeader>,
    /// All PT_NOTE segments, one after the other.
    notes: Vec<u8>,
    memory: StoredMemory,
}

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
        let memory = physical_memory(input, &program_headers);
        Ok(Some(Self {
            header,
            program_headers,
            notes,
            memory,
        }))
    }
}

impl Dump for ElfDump {
    fn headers(&self) -> Headers<'_> {
        Headers::Elf {
            header: &self.header,
            program_headers: &self.program_headers,
        }
    }

    fn is_complete(&self) -> bool {
        self.header.flags & DUMP_ELF_INCOMPLETE == 0
    }

    fn encoding(&self) -> Encoding {
        self.header.encoding
    }

    fn machine(&self) -> Option<Machine> {
        let number = self.header.machine;
        // A dump of riscv32 with memory above 4 GiB has 64-bit headers.
        Machine::from_notes(self.encoding(), self.notes())
            .filter(|machine| machine.elf_machine() == number)
            .or_else(|| Machine::from_elf(number, self.encoding()))
    }

    fn page_size(&self) -> Option<u64> {
        let size = self.vmcoreinfo()?.page_size()?;
        let possible = size.is_power_of_two() && (4096..=65536).contains(&size);
        possible.then_some(size)
    }

    fn counted_page_size(&self) -> u64 {
        let whole = |size: &u64| self.memory.ranges().all(|range| range.is_aligned(*size));
        self.page_size().filter(whole).unwrap_or(MIN_PAGE_SIZE)
    }

    fn pages(&self) -> u64 {
        self.memory.size() / self.counted_page_size()
    }

    fn note_bytes(&self) -> &[u8] {
        &self.notes
    }

    fn note_offset(&self) -> u64 {
        let first = self.program_headers.iter().find(|h| h.kind == PT_NOTE);
        first.map_or(0, |header| header.offset)
    }

    fn add_to(&self, input: &Input, guest: GuestInfo, format: &mut FormatOptions) -> GuestInfo {
        if let FormatOptions::Elf(options) = format {
            let sections = read_sections(input, &self.header);
            *options = options.clone().sections(sections);
        }
        guest
    }

    fn ranges(&self) -> Vec<MemoryRange> {
        self.memory.ranges().collect()
    }

    fn read(&self, input: &Input, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        self.memory.read(input, gpa, buf)
    }

    fn next_populated(&self, input: &Input, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
        self.memory.next_populated(input, range)
    }

    fn check(
        &self,
        input: &Input,
        report: &mut CheckReport,
        progress: &Progress,
    ) -> Result<(), VmcoreError> {
        let loads = self.program_headers.iter().filter(|h| h.kind == PT_LOAD);
        for header in loads.filter(|header| header.filesz > 0) {
            input.require("a PT_LOAD's memory", header.offset, header.filesz)?;
        }
        self.memory
            .check(input, self.counted_page_size(), report, progress)
    }
}

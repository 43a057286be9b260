//! Reading an ELF core of a guest, whichever program wrote it.
#![forbid(unsafe_code)]

mod excluded;
pub(crate) mod headers;
mod memory;
mod overlap;
mod phys_base;
pub(crate) mod sections;
mod virtualbox;

use crate::abi::Encoding;
use crate::arch::ppc64::has_abi_in_flags;
use crate::arch::s390x::EM_S390;
use crate::arch::{CpuState, Machine};
use crate::dump::{Format, FormatOptions};
use crate::elf::note::{CORE, GUESTDUMP, NT_AUXV, NT_FILE, NT_GUESTDUMP};
use crate::elf::{
    DUMP_ELF_INCOMPLETE, ET_CORE, ExcludedHeader, FileHeader, GuestdumpNote, Notes, PT_LOAD,
    PT_NOTE, ProgramHeader, SHT_PROGBITS,
};
use crate::guest::GuestInfo;
use crate::guest::windows::WindowsInfo;
use crate::memory::{Coverage, Lack, MIN_PAGE_SIZE, union};
use crate::read::dump::{Dump, Headers, damaged_notes};
use crate::read::elf::excluded::Excluded;
use crate::read::elf::headers::{read_header, read_notes, read_program_headers};
use crate::read::elf::memory::{physical_memory, virtual_addresses};
use crate::read::elf::overlap::Overlap;
use crate::read::elf::sections::{
    StoredSection as Section, cut_off, find_section, read_sections, sections,
};
use crate::read::elf::virtualbox::{VirtualBoxCpus, read_cpus, without_devices};
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
    coverage: Coverage,
    overlaps: Vec<Overlap>,
    /// The CPUs in a core of VirtualBox, or why they are not known.
    virtualbox: Option<Result<VirtualBoxCpus, String>>,
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
        let order = header.encoding.order;
        let notes = read_notes(input, &program_headers, order)?;
        if is_of_process(Notes::new(&notes, header.encoding.order)) {
            return Err(VmcoreError::ProcessCore);
        }
        if !program_headers.iter().any(|h| h.kind == PT_LOAD) {
            refuse_memory_in_sections(input, &header)?;
        }
        let virtualbox = read_cpus(header.machine, Notes::new(&notes, header.encoding.order));
        let class = header.encoding.class;
        let found = match &virtualbox {
            Some(_) => physical_memory(input, &without_devices(&program_headers), class)?,
            None => physical_memory(input, &program_headers, class)?,
        };
        let mut lacks = found.lacks;
        lacks.extend(input.cut());
        let facts = own_facts(Notes::new(&notes, order));
        if facts.incomplete || is_marked(&header, program_headers.len(), !lacks.is_empty()) {
            lacks.insert(0, Lack::Marked);
        }
        lacks.extend(cut_off(input, &header));
        let notes_at = offset_of_notes(&program_headers);
        lacks.extend(damaged_notes(Notes::new(&notes, order), notes_at));
        let excluded = match find_section(input, &header, ExcludedHeader::SECTION) {
            Some(section) => {
                let ram = union(found.memory.ranges().chain(found.absent.clone()).collect());
                excluded::read(input, header.encoding.order, section, &ram)?
            }
            None => Excluded::default(),
        };
        let memory = found.memory.without(&excluded.ranges);
        Ok(Some(Self {
            header,
            program_headers,
            notes,
            memory,
            coverage: Coverage {
                absent: union([found.absent, excluded.ranges].concat()),
                dump_level: excluded.dump_level,
                vmemmap_excluded: facts.vmemmap_excluded,
                lacks,
            },
            overlaps: found.overlaps,
            virtualbox,
        }))
    }

    fn virtualbox(&self) -> Option<&VirtualBoxCpus> {
        self.virtualbox.as_ref()?.as_ref().ok()
    }
}

/// Whether `e_flags` says that the dump is incomplete. Big-endian ppc64 has the version of its
/// function calls there, which is 1 too. makedumpfile leaves unused program headers when it stops,
/// and this crate has a note for it.
///
/// Source: makedumpfile `makedumpfile.c`, `write_elf_pages_cyclic`.
fn is_marked(header: &FileHeader, used_headers: usize, is_cut: bool) -> bool {
    let is_abi = has_abi_in_flags(header.machine, header.encoding.order);
    let unused = used_headers < usize::from(header.phnum);
    header.flags & DUMP_ELF_INCOMPLETE != 0 && (!is_abi || is_cut || unused)
}

/// Returns what this crate's note says.
fn own_facts(notes: Notes<'_>) -> GuestdumpNote {
    let mut notes = notes.flatten().map(|(_, note)| note);
    let own = notes.find(|note| note.is(GUESTDUMP, NT_GUESTDUMP));
    own.and_then(|note| GuestdumpNote::decode(note.desc))
        .unwrap_or_default()
}

fn offset_of_notes(headers: &[ProgramHeader]) -> u64 {
    let first = headers.iter().find(|header| header.kind == PT_NOTE);
    first.map_or(0, |header| header.offset)
}

/// Whether the notes are those of a process's core: they have its auxiliary vector or the list of
/// its mapped files. Source: Linux `fs/binfmt_elf.c`, `fill_note_info`.
fn is_of_process(notes: Notes<'_>) -> bool {
    let mut notes = notes.flatten();
    notes.any(|(_, note)| note.is(CORE, NT_AUXV) || note.is(CORE, NT_FILE))
}

/// Refuses a core without PT_LOAD that has sections of its writer's own: they
/// are its memory, and this crate does not know how.
fn refuse_memory_in_sections(input: &Input, header: &FileHeader) -> Result<(), VmcoreError> {
    let sections = sections(input, header);
    if let Some(names) = sections.get(usize::from(header.shstrndx)) {
        input.require("the names of the sections", names.offset, names.size)?;
    }
    let own = |section: &&Section| section.kind == SHT_PROGBITS && section.size > 0;
    match sections.iter().find(own) {
        None => Ok(()),
        Some(Section { name, .. }) => Err(VmcoreError::Unsupported(format!(
            "it is an ELF core without PT_LOAD, whose memory is in sections that are not known, such as {name:?}"
        ))),
    }
}

/// Whether this is a dump of a protected guest of s390x, whose memory is encrypted. QEMU adds two
/// sections that `zgetdump` needs, beside the owner's key, to decrypt it.
///
/// Source: QEMU `target/s390x/arch_dump.c`, `sections`; zgetdump(8), option `--key`.
fn is_encrypted(input: &Input, header: &FileHeader) -> bool {
    let is_key = |section: &Section| matches!(&*section.name, "pv_mem_meta" | "pv_compl");
    header.machine == EM_S390 && sections(input, header).iter().any(is_key)
}

impl Dump for ElfDump {
    fn headers(&self) -> Headers<'_> {
        Headers::Elf {
            header: &self.header,
            program_headers: &self.program_headers,
        }
    }

    fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    fn encoding(&self) -> Encoding {
        self.header.encoding
    }

    fn machine(&self) -> Option<Machine> {
        if let Some(machine) = self.virtualbox().and_then(|cpus| cpus.machine) {
            return Some(machine);
        }
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
        offset_of_notes(&self.program_headers)
    }

    /// Refuses formats without the sections by which an encrypted guest is decrypted.
    fn allows(&self, input: &Input, format: Format) -> Result<(), VmcoreError> {
        if format == Format::Elf || !is_encrypted(input, &self.header) {
            return Ok(());
        }
        Err(VmcoreError::Unsupported(format!(
            "it is the dump of a protected s390x guest, whose memory is encrypted, and {format} has no place \
             for what decrypts it; decrypt it with `zgetdump -k KEY -f elf FILE > OUT`, and convert that"
        )))
    }

    fn add_to(&self, input: &Input, guest: GuestInfo, format: &mut FormatOptions) -> GuestInfo {
        if let FormatOptions::Elf(options) = format {
            let sections = read_sections(input, &self.header);
            *options = std::mem::take(options)
                .sections(sections)
                .flags(self.header.flags & !DUMP_ELF_INCOMPLETE)
                .mappings(virtual_addresses(
                    &self.program_headers,
                    self.header.encoding.class,
                ));
        }
        let info = self
            .vmcoreinfo()
            .filter(|_| self.machine() == Some(Machine::X86_64));
        let phys_base = info.and_then(|info| phys_base::phys_base(&self.program_headers, &info));
        let guest = match phys_base {
            Some(phys_base) => guest.phys_base(phys_base),
            None => guest,
        };
        match self.virtualbox() {
            None => guest,
            Some(cpus) => guest
                .cpus(cpus.registers.iter().cloned())
                .windows(WindowsInfo::new().extra_state(cpus.extra.iter().copied())),
        }
    }

    fn cpus(&self) -> usize {
        match self.virtualbox() {
            Some(cpus) => cpus.registers.len(),
            None => self.notes().cpus(),
        }
    }

    fn registers(&self) -> Vec<CpuState> {
        match self.virtualbox() {
            Some(cpus) => cpus.registers.clone(),
            None => self.registers_in_notes(),
        }
    }

    fn unknown_registers(&self) -> Option<&str> {
        let virtualbox = self.virtualbox.as_ref()?;
        virtualbox.as_ref().err().map(String::as_str)
    }

    fn stored(&self) -> Option<&StoredMemory> {
        Some(&self.memory)
    }

    fn check(
        &self,
        input: &Input,
        report: &mut CheckReport,
        progress: &Progress,
    ) -> Result<(), VmcoreError> {
        for overlap in &self.overlaps {
            overlap.compare(input, progress)?;
        }
        self.memory
            .check(input, self.counted_page_size(), report, progress)
    }
}

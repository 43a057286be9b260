//! Reading Xen's dump-core (`xl dump-core`, `virsh dump` of a Xen guest).
//!
//! The guest-physical address of a page is its page frame number times its
//! size. For a paravirtualized guest this is Xen's pseudo-physical memory, in
//! which its kernel counts pages.
#![forbid(unsafe_code)]

mod frames;
mod registers;

use crate::abi::Encoding;
use crate::arch::Machine::{I386, X86_64};
use crate::arch::{CpuState, Machine};
use crate::dump::FormatOptions;
use crate::elf::{ET_CORE, FileHeader};
use crate::guest::GuestInfo;
use crate::memory::{Coverage, Lack, MIN_PAGE_SIZE};
use crate::read::dump::{Dump, Headers};
use crate::read::elf::headers::read_header;
use crate::read::elf::sections::{StoredSection, sections};
use crate::read::stored::StoredMemory;
use crate::read::xen::frames::PageList;
use crate::read::xen::registers::Layout;
use crate::read::{CheckReport, Input, VmcoreError};
use crate::workers::Progress;
use crate::xen::{
    DumpCoreHeader, NOTES, P2M, PAGES, PFN, PRSTATUS, XC_CORE_MAGIC, XC_CORE_MAGIC_HVM, XEN,
    XEN_ELFNOTE_DUMPCORE_FORMAT_VERSION, XEN_ELFNOTE_DUMPCORE_HEADER, format_version,
};

/// The most vCPUs of a guest: `MAX_VIRT_CPUS` of Xen, in
/// `xen/arch/x86/include/asm/config.h`.
const MAX_VCPUS: u64 = 8192;
/// The most bytes of the notes. Xen writes less than 2 KiB.
const MAX_NOTES: u64 = 1 << 20;
/// The most bytes of a vCPU's context. The longest that is known has 5168.
const MAX_CONTEXT: u64 = 16 << 10;

/// A decoded dump-core.
#[derive(Debug)]
pub(crate) struct XenCore {
    elf: FileHeader,
    header: DumpCoreHeader,
    /// The section `.note.Xen`.
    notes: Vec<u8>,
    notes_at: u64,
    memory: StoredMemory,
    coverage: Coverage,
    /// The guest's machine. The ELF header may name the toolstack's.
    machine: Option<Machine>,
    /// The registers of each vCPU; empty if their contexts are not understood.
    cpus: Vec<CpuState>,
}

impl XenCore {
    /// Decodes the headers and the list of pages; `None` if this is no
    /// dump-core of Xen.
    pub(crate) fn open(input: &Input) -> Result<Option<Self>, VmcoreError> {
        let Some(elf) = read_header(input)?.filter(|elf| elf.e_type == ET_CORE) else {
            return Ok(None);
        };
        let sections = sections(input, &elf);
        let find = |name: &'static str| sections.iter().find(|section| section.name == name);
        if elf.phnum != 0 || (find(NOTES).is_none() && find(PAGES).is_none()) {
            return Ok(None);
        }
        let section = |name: &'static str| {
            find(name).ok_or_else(|| {
                VmcoreError::damaged(elf.shoff, format!("Xen's dump-core has no section {name}"))
            })
        };
        let notes = section(NOTES)?;
        let notes_at = notes.offset;
        let notes = input.read_vec("the section .note.Xen", notes.offset, notes.size, MAX_NOTES)?;
        let header = read_notes(&elf, notes_at, &notes)?;

        let list = page_list(&header, section(PAGES)?, find(P2M), find(PFN), elf.shoff)?;
        let size = list.size().unwrap_or(u64::MAX);
        input.require("the list of page frames", list.at, size)?;
        let (memory, absent) = list.memory(input, elf.encoding.order)?;
        let mut coverage = Coverage {
            absent,
            lacks: input.cut().into_iter().collect(),
            ..Coverage::complete()
        };
        let size = list.pages_size().unwrap_or(u64::MAX);
        if !input.contains(list.pages_at, size) {
            coverage.lacks.push(Lack::CutShort {
                what: "the section .xen_pages",
                offset: list.pages_at,
                end: input.len(),
            });
        }
        let cpus = match find(PRSTATUS) {
            Some(section) => read_registers(input, &elf, &header, section)?,
            None => None,
        };
        let (machine, cpus) = match cpus {
            Some((machine, cpus)) => (Some(machine), cpus),
            None => (machine_of(&elf), Vec::new()),
        };
        Ok(Some(Self {
            elf,
            header,
            notes,
            notes_at,
            memory,
            coverage,
            machine,
            cpus,
        }))
    }
}

/// The machine that the ELF header names. The file has 64-bit headers for
/// every machine.
fn machine_of(elf: &FileHeader) -> Option<Machine> {
    Machine::from_elf(elf.machine, elf.encoding)
}

/// Reads and checks the header and the version in the notes.
fn read_notes(elf: &FileHeader, at: u64, notes: &[u8]) -> Result<DumpCoreHeader, VmcoreError> {
    let order = elf.encoding.order;
    let note = |kind| {
        let mut notes = crate::elf::Notes::new(notes, order).flatten();
        notes
            .find(|(_, note)| note.is(XEN, kind))
            .map(|(_, note)| note)
    };
    let version = note(XEN_ELFNOTE_DUMPCORE_FORMAT_VERSION);
    if let Some((major, minor)) = version.and_then(|note| format_version(order, note.desc))
        && major != 0
    {
        return Err(VmcoreError::Unsupported(format!(
            "it is a Xen dump-core of version {major}.{minor}, and version 0 is known"
        )));
    }
    let header = note(XEN_ELFNOTE_DUMPCORE_HEADER);
    let header = header.and_then(|note| DumpCoreHeader::decode(order, note.desc));
    let damaged = |what: String| VmcoreError::damaged(at, what);
    let header = header.ok_or_else(|| damaged("Xen's dump-core has no header note".into()))?;
    if ![XC_CORE_MAGIC, XC_CORE_MAGIC_HVM].contains(&header.magic) {
        let magic = header.magic;
        return Err(damaged(format!(
            "xch_magic of Xen's dump-core is {magic:#x}"
        )));
    }
    let page_size = header.page_size;
    if !page_size.is_power_of_two() || !(MIN_PAGE_SIZE..=65536).contains(&page_size) {
        return Err(damaged(format!("a page of {page_size} bytes")));
    }
    Ok(header)
}

/// Finds the list of pages. `sections_at` is the offset of the section headers.
fn page_list(
    header: &DumpCoreHeader,
    pages: &StoredSection,
    p2m: Option<&StoredSection>,
    pfn: Option<&StoredSection>,
    sections_at: u64,
) -> Result<PageList, VmcoreError> {
    let damaged = |what: String| VmcoreError::damaged(sections_at, what);
    let (list, numbers) = match (p2m, pfn) {
        (Some(p2m), None) => (p2m, 2),
        (None, Some(pfn)) => (pfn, 1),
        _ => {
            return Err(damaged(format!(
                "Xen's dump-core has not exactly one of the sections {P2M} and {PFN}"
            )));
        }
    };
    let found = PageList {
        at: list.offset,
        numbers,
        count: header.nr_pages,
        pages_at: pages.offset,
        page_size: header.page_size,
    };
    if found.size() != Some(list.size) || found.pages_size() != Some(pages.size) {
        return Err(damaged(format!(
            "Xen's dump-core has {} pages of {} bytes by its header note, {} bytes in {PAGES} and {} in {}",
            header.nr_pages, header.page_size, pages.size, list.size, list.name
        )));
    }
    let ends = [
        (found.at, found.size()),
        (found.pages_at, found.pages_size()),
    ];
    if ends
        .iter()
        .any(|(at, size)| size.and_then(|size| at.checked_add(size)).is_none())
    {
        return Err(damaged("a section of Xen's dump-core has no end".into()));
    }
    Ok(found)
}

/// Decodes the registers of all vCPUs, and tells the guest's machine by them. `None` if the contexts are
/// of a kind that this crate does not know.
fn read_registers(
    input: &Input,
    elf: &FileHeader,
    header: &DumpCoreHeader,
    section: &StoredSection,
) -> Result<Option<(Machine, Vec<CpuState>)>, VmcoreError> {
    let count = header.nr_vcpus;
    let (Some(machine), Some(0)) = (machine_of(elf), section.size.checked_rem(count)) else {
        return Ok(None);
    };
    let size = section.size / count;
    if count > MAX_VCPUS || size > MAX_CONTEXT || !matches!(machine, X86_64 | I386) {
        return Ok(None);
    }
    input.require("the section .xen_prstatus", section.offset, section.size)?;
    let paravirtualized = header.is_paravirtualized();
    let mut context = vec![0; size as usize];
    let mut layouts = Vec::new();
    for index in 0..count {
        input.read_at(section.offset + index * size, &mut context)?;
        layouts.push(Layout::of(machine, paravirtualized, &context));
    }
    let Some(layout) = Layout::of_guest(machine, paravirtualized, &layouts) else {
        return Ok(None);
    };
    let mut cpus = Vec::new();
    for index in 0..count {
        input.read_at(section.offset + index * size, &mut context)?;
        cpus.extend(layout.decode(paravirtualized, &context));
    }
    Ok(Some((layout.machine(), cpus)))
}

impl Dump for XenCore {
    fn headers(&self) -> Headers<'_> {
        Headers::Xen {
            header: &self.elf,
            core: &self.header,
        }
    }

    fn cpus(&self) -> usize {
        self.cpus.len()
    }

    fn registers(&self) -> Vec<CpuState> {
        self.cpus.clone()
    }

    fn unknown_registers(&self) -> Option<&str> {
        let unknown = self.cpus.is_empty() && self.header.nr_vcpus > 0;
        unknown.then_some("registers of vCPUs in a layout that this program does not know")
    }

    fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    fn encoding(&self) -> Encoding {
        self.elf.encoding
    }

    fn machine(&self) -> Option<Machine> {
        self.machine
    }

    fn page_size(&self) -> Option<u64> {
        Some(self.header.page_size)
    }

    fn pages(&self) -> u64 {
        self.memory.size() / self.header.page_size
    }

    fn note_bytes(&self) -> &[u8] {
        &self.notes
    }

    fn note_offset(&self) -> u64 {
        self.notes_at
    }

    /// Xen's own notes would make readers take the dump for Xen's.
    fn add_to(&self, _: &Input, guest: GuestInfo, _: &mut FormatOptions) -> GuestInfo {
        guest.raw_notes(Vec::new()).cpus(self.cpus.clone())
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
        self.memory
            .check(input, self.header.page_size, report, progress)
    }
}

//! The plan of a dump. It covers everything that is checked before anything is written.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::error::{Error, Result};
use super::exclusion::{ExclusionSummary, exclude};
use super::virtual_addresses;
use super::{DumpOptions, Format, FormatOptions, KdumpOptions, Refusal};
use crate::arch::{DirectMapping, Machine};
use crate::codec::Codec;
use crate::guest::GuestInfo;
use crate::guest::linux::DumpLevel;
use crate::guest::paging::{Mapping, Mappings, direct_mapping};
use crate::guest::reader::{Guest, HeaderFacts, read_utsname, utsname_for_header};
use crate::guest::vmcoreinfo::{Located, locate};
use crate::memory::{
    Coverage, GuestMemory, MIN_PAGE_SIZE, MemoryRange, UnreadableLog, WholePages, validate_ranges,
};
use crate::pipeline::Written;
use crate::selection::Selection;
use crate::sink::SinkAccess;
use crate::vmcoreinfo::Vmcoreinfo;
use crate::windmp::DumpKind;
use crate::workers::{Progress, Threads, Workers};
use crate::write::elf::{ElfContents, ElfWriter};
use crate::write::kdump::{Completion, KdumpContents, KdumpWriter};
use crate::write::notes::{MAX_NOTES, NoteSegment};
use crate::write::windmp::{PlanError, WinDmpPlan, WinDmpRequest};
use crate::write::{Section, TooHigh, elf_sections};

/// The largest page size that readers of the formats support, in bytes.
const MAX_PAGE_SIZE: u64 = 64 << 10;

/// The contents of a dump, checked as far as is possible without the sink.
pub(super) struct Plan {
    pub(super) format: Format,
    /// The memory's ranges, if they are not all RAM in whole pages: a page may be RAM in part, or
    /// absent from the source.
    gaps: Option<Vec<MemoryRange>>,
    pub(super) selection: Selection,
    /// The lacks of the source.
    pub(super) coverage: Coverage,
    /// The pages that a dump level excludes.
    pub(super) excluded: Option<ExclusionSummary>,
    pub(super) mappings: Option<Mappings>,
    /// Guest-virtual addresses that the caller gave, if there are no `mappings`.
    own_mappings: Vec<Mapping>,
    /// The kernel's direct mapping, for an ELF dump.
    direct_mapping: Option<DirectMapping>,
    notes: NoteSegment,
    pub(super) vmcoreinfo: Option<Located>,
    facts: HeaderFacts,
    pub(super) windows: Option<WinDmpPlan>,
}

impl Plan {
    /// Plans a dump of a guest with this `memory`. `exact` is the same memory, but it fails where
    /// `memory` gives zeroes for bytes that cannot be read.
    pub(super) fn new(
        memory: &dyn GuestMemory,
        exact: &dyn GuestMemory,
        options: &DumpOptions,
    ) -> Result<Self> {
        let DumpOptions { guest: about, .. } = options;
        let format = options.format.format();
        check_options(options, format)?;
        let coverage = check_coverage(memory.coverage(), options, format)?;
        let ranges = memory.ranges();
        if ranges.is_empty() && !coverage.absent.is_empty() {
            return Err(Refusal::NothingPresent.into());
        }
        validate_ranges(&ranges)?;
        let guest = Guest {
            memory,
            ranges: &ranges,
            machine: about.machine,
        };
        let vmcoreinfo = find_vmcoreinfo(guest, options, format)?;
        let info = vmcoreinfo.as_ref().map(|located| &located.info);

        let page_size = page_size(about, info)?;
        let whole_pages = ranges.iter().all(|range| range.is_aligned(page_size));
        // ELF has no pages, so the dump need not pad memory to fill them.
        let page_size = match format {
            Format::Elf if !whole_pages => MIN_PAGE_SIZE,
            _ => page_size,
        };
        let mut selection =
            Selection::with_absent(&ranges, &coverage.absent, page_size, options.filter)?;
        if selection.pages() == 0 {
            return Err(Refusal::NothingPresent.into());
        }
        let windows = plan_windows(guest, options, &mut selection)?;

        let notes = plan_notes(about, info, &coverage, format)?;
        let mappings = match &options.format {
            FormatOptions::Elf(elf) => elf
                .paging
                .map(|budget| virtual_addresses::find(guest, &selection, info, budget, options))
                .transpose()?,
            _ => None,
        };
        let direct_mapping = match (&options.format, info) {
            (FormatOptions::Elf(_), Some(info)) => {
                let read = |gpa, buf: &mut [u8]| guest.read(gpa, buf);
                direct_mapping(guest.machine, info, guest.ranges, &read)
            }
            _ => None,
        };
        let own_mappings = match (&options.format, &mappings) {
            (FormatOptions::Elf(elf), None) => {
                virtual_addresses::given(elf, direct_mapping, &selection)
            }
            _ => Vec::new(),
        };
        let facts = header_facts(guest, about, info);
        // Exclusion comes last, because it reads most.
        let exact = Guest {
            memory: exact,
            ..guest
        };
        let excluded = exclude(
            exact,
            &mut selection,
            info,
            options.format.filter(),
            options.filter,
            &options.workers,
        )?;
        Ok(Self {
            format,
            gaps: (!whole_pages || !coverage.absent.is_empty()).then_some(ranges),
            selection,
            coverage,
            excluded,
            mappings,
            own_mappings,
            direct_mapping,
            notes,
            vmcoreinfo,
            facts,
            windows,
        })
    }

    /// Returns the number of pages that the dump visits.
    pub(super) fn pages(&self) -> u64 {
        match self.format {
            // An excluded page keeps its place, as a hole.
            Format::Elf => self.selection.wanted_pages(),
            _ => self.selection.pages(),
        }
    }

    /// Writes the dump.
    pub(super) fn write<'s>(
        &self,
        memory: &dyn GuestMemory,
        unreadable: &UnreadableLog,
        access: SinkAccess<'s>,
        options: &'s DumpOptions,
        threads: Threads<'_>,
    ) -> Result<Written> {
        let whole_pages = self.gaps.as_ref().map(|ram| WholePages::new(memory, ram));
        let memory = match (&whole_pages, self.format) {
            (Some(whole_pages), format) if !format.is_windows() => whole_pages,
            _ => memory,
        };
        let output = Writing {
            memory,
            unreadable,
            access,
            threads,
            workers: &options.workers,
        };
        match &options.format {
            FormatOptions::Windows(_) => self.write_windows(output),
            FormatOptions::Elf(elf) => {
                let excluded = self.excluded_section(options.guest.machine);
                let others = elf.sections.iter().cloned();
                let sections: Vec<_> = excluded.into_iter().chain(others).collect();
                let mappings = self.mappings.as_ref().map(|found| &*found.list);
                let contents = ElfContents {
                    memory,
                    selection: &self.selection,
                    mappings: mappings.unwrap_or(&self.own_mappings),
                    notes: &self.notes,
                    sections: &sections,
                    flags: elf.flags,
                    incomplete: !self.coverage.is_complete(),
                    machine: options.guest.machine,
                    direct_mapping: self.direct_mapping,
                };
                self.write_elf(contents, output)
            }
            FormatOptions::Kdump(kdump) => self.write_kdump(kdump, &options.guest, output),
        }
    }

    fn write_windows(&self, output: Writing<'_, '_>) -> Result<Written> {
        let Some(windows) = &self.windows else {
            unreachable!("a Windows dump is planned with a header");
        };
        let progress = self.start(output.workers);
        Ok(windows.write(
            output.memory,
            output.unreadable,
            &self.selection,
            output.access,
            output.threads,
            progress,
        )?)
    }

    fn write_elf(&self, contents: ElfContents<'_>, output: Writing<'_, '_>) -> Result<Written> {
        let writer = ElfWriter::new(contents).map_err(|e| self.too_high(e))?;
        let progress = self.start(output.workers);
        Ok(writer.write(output.access, output.threads, progress)?)
    }

    fn write_kdump(
        &self,
        options: &KdumpOptions,
        guest: &GuestInfo,
        output: Writing<'_, '_>,
    ) -> Result<Written> {
        let writer = KdumpWriter::new(KdumpContents {
            memory: output.memory,
            unreadable: output.unreadable,
            selection: &self.selection,
            notes: &self.notes,
            facts: &self.facts,
            completion: Completion::new(
                options.container,
                options.keep_partial,
                output.unreadable.may_leave_out(),
            ),
            incomplete: !self.coverage.is_complete(),
            vmemmap_excluded: self.coverage.vmemmap_excluded,
            engine: options.engine,
            machine: guest.machine,
            level: self.level(),
            erase_info: &guest.erase_info,
        })
        .map_err(|e| self.too_high(e))?;
        let progress = self.start(output.workers);
        Ok(writer.write(output.access, output.threads, progress)?)
    }

    /// Returns the levels together by which the source and this dump exclude pages.
    fn level(&self) -> u32 {
        let own = self.excluded.as_ref();
        let own = own.map_or(DumpLevel::NONE, |excluded| excluded.level);
        self.coverage.dump_level | u32::from(own.number())
    }

    /// Returns the section that tells excluded pages of an ELF dump from zero pages, if there are
    /// any.
    fn excluded_section(&self, machine: Machine) -> Option<Section> {
        let excluded = &self.selection.left_out;
        if excluded.len() == 0 && self.level() == 0 {
            return None;
        }
        Some(elf_sections::excluded(
            machine.encoding().order,
            &self.selection,
            self.level(),
        ))
    }

    /// Tells the caller's handle the number of bytes to dump.
    fn start<'w>(&self, workers: &'w Workers) -> &'w Progress {
        let progress = workers.handle();
        progress.start(self.pages() * self.selection.page_size);
        progress
    }

    fn too_high(&self, TooHigh { end }: TooHigh) -> Error {
        too_high(self.format, end)
    }
}

/// The arguments of a writer besides the plan.
struct Writing<'a, 's> {
    memory: &'a dyn GuestMemory,
    unreadable: &'a UnreadableLog,
    access: SinkAccess<'s>,
    threads: Threads<'a>,
    workers: &'s Workers,
}

fn too_high(format: Format, end: u64) -> Error {
    Refusal::AddressTooHigh { format, end }.into()
}

/// Refuses options that are wrong for every guest memory.
fn check_options(options: &DumpOptions, format: Format) -> Result<()> {
    let DumpOptions { guest, .. } = options;
    let machine = guest.machine;
    if let Some(codec) = format.codec().filter(|codec: &Codec| !codec.is_available()) {
        let feature = codec.feature();
        return Err(Refusal::CodecMissing { format, feature }.into());
    }
    if let FormatOptions::Kdump(KdumpOptions { engine, .. }) = options.format
        && !engine.is_available()
    {
        return Err(Refusal::EngineMissing { engine }.into());
    }
    if !format.is_for(machine) {
        return Err(crate::guest::windows::WinDmpError::NotX86 { machine }.into());
    }
    if let Some(cpu) = guest.cpus.iter().position(|state| !state.fit(machine)) {
        return Err(Refusal::WrongRegisters { cpu, machine }.into());
    }
    if let FormatOptions::Elf(elf) = &options.format {
        elf_sections::check(&elf.sections)?;
    }
    if let Some(size) = guest.page_size {
        supported_page_size(size)?;
    }
    Ok(())
}

/// Refuses a source that is incomplete, unless the caller keeps it and the format can say so.
fn check_coverage(coverage: Coverage, options: &DumpOptions, format: Format) -> Result<Coverage> {
    if coverage.is_complete() {
        return Ok(coverage);
    }
    let lacks = coverage.lacks.clone();
    if format.is_windows() {
        return Err(Refusal::NoMark { format, lacks }.into());
    }
    if !options.keep_incomplete {
        return Err(Refusal::IncompleteSource { lacks }.into());
    }
    Ok(coverage)
}

/// Finds VMCOREINFO. A Windows guest has none: its note is its dump's header.
fn find_vmcoreinfo(
    guest: Guest<'_>,
    options: &DumpOptions,
    format: Format,
) -> Result<Option<Located>> {
    if format.is_windows() {
        return Ok(None);
    }
    Ok(locate(
        guest,
        &options.guest.vmcoreinfo,
        options.guest.phys_base,
        options.workers.as_threads(),
        options.workers.handle(),
    )?)
}

/// Encodes the notes. ELF has a note for what kdump has in its headers.
fn plan_notes(
    about: &GuestInfo,
    info: Option<&Vmcoreinfo>,
    coverage: &Coverage,
    format: Format,
) -> Result<NoteSegment> {
    let too_large = |len| Refusal::NotesTooLarge {
        len,
        max: MAX_NOTES,
    };
    let mut notes = NoteSegment::new(about.machine, &about.cpus, &about.notes, info)
        .map_err(|error| too_large(error.value))?;
    if format == Format::Elf {
        notes
            .add_kdump_facts(about, coverage)
            .map_err(|error| too_large(error.value))?;
    }
    let len = notes.bytes.len() as u64 + about.erase_info.len() as u64;
    if len > MAX_NOTES {
        return Err(too_large(len).into());
    }
    Ok(notes)
}

fn plan_windows(
    guest: Guest<'_>,
    options: &DumpOptions,
    selection: &mut Selection,
) -> Result<Option<WinDmpPlan>> {
    let FormatOptions::Windows(windows) = &options.format else {
        return Ok(None);
    };
    let request = WinDmpRequest {
        kind: windows.kind,
        header: &windows.header,
        bugcheck: windows.bugcheck,
        damaged: windows.damaged,
    };
    let plan = WinDmpPlan::new(guest, &options.guest, request, &options.workers, selection);
    plan.map(Some).map_err(|error| match error {
        PlanError::Windows(error) => error.into(),
        PlanError::TooHigh(TooHigh { end }) => too_high(Format::Windows(windows.kind), end),
        PlanError::Absent { bytes } => Refusal::AbsentRam {
            format: Format::Windows(windows.kind),
            bytes,
            instead: match windows.kind {
                DumpKind::Full => Format::WIN_DMP_BITMAP,
                DumpKind::Bitmap => Format::Elf,
            },
        }
        .into(),
    })
}

fn header_facts(guest: Guest<'_>, about: &GuestInfo, info: Option<&Vmcoreinfo>) -> HeaderFacts {
    let machine = about.machine;
    let known = info
        .and_then(|info| read_utsname(guest, info))
        .or(about.utsname);
    HeaderFacts {
        utsname: utsname_for_header(known, machine, info),
        phys_base: info
            .and_then(|info| machine.phys_base(info))
            .or(about.phys_base)
            .or_else(|| machine.likely_phys_base(guest.ranges.first()?.start())),
        timestamp: about
            .timestamp
            .or_else(|| info?.crash_time().map(Duration::from_secs))
            .unwrap_or_default(),
        nr_cpus: about.kdump_cpus.map_or(0, |(nr_cpus, _)| nr_cpus),
        current_cpu: about.kdump_cpus.map_or(0, |(_, current_cpu)| current_cpu),
    }
}

fn page_size(about: &GuestInfo, info: Option<&Vmcoreinfo>) -> Result<u64> {
    let machine = about.machine;
    // A nonsensical size in the guest must not prevent a dump.
    let guests = || {
        let size = info?.page_size()?;
        machine.page_sizes().contains(&size).then_some(size)
    };
    let size = about
        .page_size
        .or_else(guests)
        .unwrap_or_else(|| machine.default_page_size());
    supported_page_size(size)
}

fn supported_page_size(size: u64) -> Result<u64> {
    if size.is_power_of_two() && (MIN_PAGE_SIZE..=MAX_PAGE_SIZE).contains(&size) {
        Ok(size)
    } else {
        Err(Refusal::PageSize(size).into())
    }
}

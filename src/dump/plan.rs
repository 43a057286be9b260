//! What will be in a dump, checked before anything is written.

use std::time::Duration;

use super::DumpOptions;
use super::exclusion::{ExclusionSummary, exclude};
use crate::codec::Engine;
use crate::elf::sections;
use crate::elf::writer::{ElfContents, ElfWriter};
use crate::error::{Error, Result};
use crate::format::Format;
use crate::guest::{Guest, HeaderFacts, read_utsname, utsname_for_header};
use crate::kdump::writer::{KdumpContents, KdumpWriter};
use crate::linux::DumpLevel;
use crate::memory::{
    GuestMemory, MIN_PAGE_SIZE, MemoryRange, UnreadableLog, WholePages, validate_ranges,
};
use crate::notes::{MAX_NOTES, NoteSegment};
use crate::paging::{Budget, Mappings, address_spaces, mappings};
use crate::pipeline::{Selection, Threads, Written};
use crate::sink::SinkAccess;
use crate::vmcoreinfo::{Located, Vmcoreinfo, locate};
use crate::windmp::{WinDmpError, WinDmpPlan};

/// What will be in the dump, checked as far as that is possible without the
/// sink.
pub(super) struct Plan {
    /// The guest's RAM, if it is not made of whole pages.
    pub(super) partial_pages: Option<Vec<MemoryRange>>,
    pub(super) selection: Selection,
    /// What a dump level leaves out.
    pub(super) excluded: Option<ExclusionSummary>,
    pub(super) mappings: Option<Mappings>,
    pub(super) notes: NoteSegment,
    pub(super) vmcoreinfo: Option<Located>,
    pub(super) facts: HeaderFacts,
    /// Of a Windows dump.
    pub(super) windows: Option<WinDmpPlan>,
}

impl Plan {
    /// Of a guest with this `memory`. `exact` is the same, but fails where that
    /// has zeroes for what cannot be read.
    pub(super) fn new(
        memory: &dyn GuestMemory,
        exact: &dyn GuestMemory,
        options: &DumpOptions,
    ) -> Result<Self> {
        let &DumpOptions {
            format, machine, ..
        } = options;
        if let Some(codec) = format.codec().filter(|c| !c.is_available()) {
            let feature = codec.feature();
            return Err(Error::CodecMissing { format, feature });
        }
        if let Some(engine) = options.engine {
            check_engine(format, engine)?;
        }
        if !format.is_for(machine) {
            return Err(WinDmpError::NotX86 { machine }.into());
        }
        if options.level != DumpLevel::NONE && format.is_windows() {
            return Err(Error::DumpLevelFormat { format });
        }
        if options.paging.is_some() && format != Format::Elf {
            return Err(Error::PagingFormat { format });
        }
        if let Some(cpu) = options.cpus.iter().position(|r| !r.fit(machine)) {
            return Err(Error::WrongRegisters { cpu, machine });
        }
        sections::check(format, &options.sections)?;
        let ranges = memory.ranges();
        validate_ranges(&ranges)?;
        if let Some(size) = options.page_size {
            supported_page_size(size)?;
        }
        let guest = Guest {
            memory,
            ranges: &ranges,
            machine,
        };
        // A Windows guest has none; its note is its dump's header.
        let vmcoreinfo = match format.is_windows() {
            true => None,
            false => locate(
                guest,
                &options.vmcoreinfo,
                options.workers(),
                &options.progress,
            )?,
        };
        let info = vmcoreinfo.as_ref().map(|located| &located.info);
        let page_size = page_size(options, info)?;
        let whole_pages = ranges.iter().all(|range| range.is_aligned(page_size));
        // ELF has no pages, so it need not make memory up to fill them.
        let page_size = match format {
            Format::Elf if !whole_pages => MIN_PAGE_SIZE,
            _ => page_size,
        };
        let mut selection = Selection::new(&ranges, page_size, options.filter)?;
        let windows = format
            .is_windows()
            .then(|| WinDmpPlan::new(guest, options, &mut selection))
            .transpose()?;
        let notes = NoteSegment::new(machine, &options.cpus, &options.notes, info);
        if notes.bytes.len() as u64 > MAX_NOTES {
            return Err(Error::NotesTooLarge {
                len: notes.bytes.len() as u64,
                max: MAX_NOTES,
            });
        }
        let mappings = options
            .paging
            .map(|budget| find_mappings(guest, &selection, info, budget, options))
            .transpose()?;
        let known = info
            .and_then(|info| read_utsname(guest, info))
            .or(options.utsname);
        let facts = HeaderFacts {
            utsname: utsname_for_header(known, machine, info),
            phys_base: info
                .and_then(|info| machine.phys_base(info))
                .or(options.phys_base)
                .or_else(|| machine.likely_phys_base(ranges.first()?.start())),
            timestamp: options
                .timestamp
                .or_else(|| info?.crash_time().map(Duration::from_secs))
                .unwrap_or_default(),
        };
        // Last, for it reads most.
        let exact = Guest {
            memory: exact,
            ..guest
        };
        let excluded = exclude(exact, &mut selection, info, options)?;
        Ok(Self {
            partial_pages: (!whole_pages).then_some(ranges),
            selection,
            excluded,
            mappings,
            notes,
            vmcoreinfo,
            facts,
            windows,
        })
    }

    /// Pages that are gone through.
    pub(super) fn pages(&self, format: Format) -> u64 {
        match format {
            // What is left out has its place, as a hole.
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
        let &DumpOptions {
            format, machine, ..
        } = options;
        let progress = &options.progress;
        let total = self.pages(format) * self.selection.page_size;
        if let Some(windows) = &self.windows {
            progress.start(total);
            return windows.write(
                memory,
                unreadable,
                &self.selection,
                access,
                threads,
                progress,
            );
        }
        match format.codec() {
            None => {
                let writer = ElfWriter::new(ElfContents {
                    memory,
                    selection: &self.selection,
                    mappings: self.mappings.as_ref().map_or(&[], |m| &m.list),
                    notes: &self.notes,
                    sections: &options.sections,
                    machine,
                    direct_mapping: self
                        .vmcoreinfo
                        .as_ref()
                        .and_then(|located| machine.direct_mapping(&located.info)),
                })?;
                progress.start(total);
                writer.write(access, threads, progress)
            }
            Some(codec) => {
                let whole_pages = self
                    .partial_pages
                    .as_ref()
                    .map(|ranges| WholePages::new(memory, ranges));
                let writer = KdumpWriter::new(KdumpContents {
                    memory: whole_pages
                        .as_ref()
                        .map_or(memory, |memory| memory as &dyn GuestMemory),
                    unreadable,
                    selection: &self.selection,
                    notes: &self.notes,
                    facts: &self.facts,
                    format,
                    engine: options.engine.unwrap_or(codec.default_engine()),
                    machine,
                    level: self
                        .excluded
                        .as_ref()
                        .map_or(DumpLevel::NONE, |excluded| excluded.level),
                    keep_partial: options.keep_partial,
                })?;
                progress.start(total);
                writer.write(access, threads, progress)
            }
        }
    }
}

fn check_engine(format: Format, engine: Engine) -> Result<()> {
    if format.codec() != Some(engine.codec()) {
        return Err(Error::EngineFormat { engine, format });
    }
    if !engine.is_available() {
        return Err(Error::EngineMissing { engine });
    }
    Ok(())
}

fn find_mappings(
    guest: Guest<'_>,
    selection: &Selection,
    info: Option<&Vmcoreinfo>,
    budget: Budget,
    options: &DumpOptions,
) -> Result<Mappings> {
    let read = |gpa, buf: &mut [u8]| guest.read(gpa, buf);
    let spaces = address_spaces(guest.machine, &options.cpus, &options.notes, info, &read)?;
    let ram: Vec<_> = selection
        .wanted
        .iter()
        .map(|run| run.range(selection.page_size))
        .collect();
    mappings(&spaces, &read, &ram, budget, &options.progress)
}

/// The largest page size that the formats' readers know.
const MAX_PAGE_SIZE: u64 = 64 << 10;

fn page_size(options: &DumpOptions, info: Option<&Vmcoreinfo>) -> Result<u64> {
    let machine = options.machine;
    // A guest's nonsense must not keep it from being dumped.
    let guests = || {
        let size = info?.page_size()?;
        machine.page_sizes().contains(&size).then_some(size)
    };
    let size = options
        .page_size
        .or_else(guests)
        .unwrap_or_else(|| machine.default_page_size());
    supported_page_size(size)
}

fn supported_page_size(size: u64) -> Result<u64> {
    if size.is_power_of_two() && (MIN_PAGE_SIZE..=MAX_PAGE_SIZE).contains(&size) {
        Ok(size)
    } else {
        Err(Error::PageSize(size))
    }
}

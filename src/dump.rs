//! A dump from end to end: options, checks, writing, summary.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::arch::{Machine, Registers};
use crate::elf::Section;
use crate::elf::sections;
use crate::elf::writer::{ElfContents, ElfWriter};
use crate::error::{Error, Result};
use crate::format::Format;
use crate::guest::{Guest, HeaderFacts, read_utsname, utsname_for_header};
use crate::kdump::Utsname;
use crate::kdump::writer::{KdumpContents, KdumpWriter};
use crate::memory::{
    GuestMemory, MIN_PAGE_SIZE, MemoryRange, OnReadError, Tolerant, Unreadable, UnreadableLog,
    WholePages, validate_ranges,
};
use crate::notes::{MAX_NOTES, NoteSegment};
use crate::paging::{Budget, Mappings, address_spaces, mappings};
use crate::pipeline::{CHUNK_SIZE, Executor, Selection, Threads, Written, panic_message};
use crate::progress::Progress;
use crate::sink::{DumpSink, SinkAccess};
use crate::throttle::{Monotonic, Throttled};
use crate::vmcoreinfo::{Located, Vmcoreinfo, VmcoreinfoSource, locate};
use crate::windmp::{HeaderSource, WinDmpError, WinDmpPlan, WindowsOptions, WindowsSummary};

/// What to dump and how. Begin with [`new`](Self::new).
#[derive(Debug, Clone)]
pub struct DumpOptions {
    pub(crate) format: Format,
    pub(crate) machine: Machine,
    pub(crate) page_size: Option<u64>,
    pub(crate) cpus: Vec<Registers>,
    pub(crate) notes: Vec<u8>,
    pub(crate) sections: Vec<Section>,
    pub(crate) vmcoreinfo: VmcoreinfoSource,
    pub(crate) utsname: Option<Utsname>,
    pub(crate) phys_base: Option<u64>,
    pub(crate) timestamp: Option<Duration>,
    pub(crate) filter: Option<(u64, u64)>,
    pub(crate) windows: WindowsOptions,
    pub(crate) paging: Option<Budget>,
    pub(crate) on_read_error: OnReadError,
    pub(crate) keep_partial: bool,
    pub(crate) threads: usize,
    pub(crate) executor: Option<Arc<dyn Executor>>,
    pub(crate) throttle: Option<u64>,
    pub(crate) progress: Progress,
}

impl DumpOptions {
    /// A dump in `format` of an x86_64 guest without CPUs, VMCOREINFO by a
    /// scan of guest RAM, on one thread.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self {
            format,
            machine: Machine::default(),
            page_size: None,
            cpus: Vec::new(),
            notes: Vec::new(),
            sections: Vec::new(),
            vmcoreinfo: VmcoreinfoSource::default(),
            utsname: None,
            phys_base: None,
            timestamp: None,
            filter: None,
            windows: WindowsOptions::new(),
            paging: None,
            on_read_error: OnReadError::default(),
            keep_partial: false,
            threads: 1,
            executor: None,
            throttle: None,
            progress: Progress::new(),
        }
    }

    /// The guest's architecture.
    #[must_use]
    pub fn machine(mut self, machine: Machine) -> Self {
        self.machine = machine;
        self
    }

    /// The registers of each virtual CPU, in order.
    #[must_use]
    pub fn cpus(mut self, cpus: impl IntoIterator<Item = impl Into<Registers>>) -> Self {
        self.cpus = cpus.into_iter().map(Into::into).collect();
        self
    }

    /// ELF notes, encoded in the guest's byte order, that go behind the
    /// CPUs' notes as they are: those of another dump, for example. A note
    /// with VMCOREINFO does not belong here. A Windows dump has no notes; of
    /// these it takes the registers if [`cpus`](Self::cpus) gives none.
    #[must_use]
    pub fn raw_notes(mut self, notes: Vec<u8>) -> Self {
        self.notes = notes;
        self
    }

    /// Sections for an ELF dump, behind its memory: what a kind of guest needs
    /// that no note has. Other formats are refused with them.
    #[must_use]
    pub fn sections(mut self, sections: impl IntoIterator<Item = Section>) -> Self {
        self.sections = sections.into_iter().collect();
        self
    }

    /// The guest's page size in bytes. Without it, VMCOREINFO's `PAGESIZE`
    /// or else the architecture's usual one.
    #[must_use]
    pub fn page_size(mut self, bytes: u64) -> Self {
        self.page_size = Some(bytes);
        self
    }

    /// Where VMCOREINFO comes from.
    #[must_use]
    pub fn vmcoreinfo(mut self, source: VmcoreinfoSource) -> Self {
        self.vmcoreinfo = source;
        self
    }

    /// The guest's `uname`, for kdump's header, where VMCOREINFO does not
    /// lead to the kernel's own.
    #[must_use]
    pub fn utsname(mut self, utsname: Utsname) -> Self {
        self.utsname = Some(utsname);
        self
    }

    /// `phys_base` for kdump's header, where VMCOREINFO does not have it.
    #[must_use]
    pub fn phys_base(mut self, phys_base: u64) -> Self {
        self.phys_base = Some(phys_base);
        self
    }

    /// The time for kdump's header, since 1970. Without it VMCOREINFO's
    /// `CRASHTIME`, or 0: so the same guest gives the same dump.
    #[must_use]
    pub fn timestamp(mut self, since_1970: Duration) -> Self {
        self.timestamp = Some(since_1970);
        self
    }

    /// Only the pages that lie at least in part in the `length` bytes from
    /// the guest-physical address `begin` on.
    #[must_use]
    pub fn filter(mut self, begin: u64, length: u64) -> Self {
        self.filter = Some((begin, length));
        self
    }

    /// What a Windows dump's header says, and where it comes from. Other
    /// formats take no notice.
    #[must_use]
    pub fn windows(mut self, options: WindowsOptions) -> Self {
        self.windows = options;
        self
    }

    /// Where a Windows dump's header comes from. What else
    /// [`windows`](Self::windows) says stays.
    #[must_use]
    pub fn windows_header(mut self, source: HeaderSource) -> Self {
        self.windows = self.windows.header(source);
        self
    }

    /// Whether a Windows guest's kernel may have broken lists, see
    /// [`WindowsOptions::damaged`]. What else [`windows`](Self::windows) says
    /// stays.
    #[must_use]
    pub fn windows_damaged(mut self, may_be: bool) -> Self {
        self.windows = self.windows.damaged(may_be);
        self
    }

    /// Also says at which guest-virtual addresses the memory is mapped, by
    /// the page tables of all CPUs and of the kernel, which may make as much
    /// work as `budget` allows. In an ELF dump each mapping is a PT_LOAD;
    /// other formats have no place for it.
    #[must_use]
    pub fn paging(mut self, budget: Budget) -> Self {
        self.paging = Some(budget);
        self
    }

    /// What to do when guest memory cannot be read. [`OnReadError::Skip`] is
    /// refused for formats that must have every page.
    #[must_use]
    pub fn on_read_error(mut self, policy: OnReadError) -> Self {
        self.on_read_error = policy;
        self
    }

    /// When the dump fails, because the disk is full for example, or is
    /// cancelled, keep what there is: the pages that were written are a valid
    /// dump that says that it is incomplete. The sink is finished then, and
    /// the error is [`Error::Incomplete`]. The space for headers, bitmaps and
    /// page descriptors is taken at the beginning. Formats other than
    /// kdump-raw are refused with it.
    #[must_use]
    pub fn keep_partial(mut self, keep: bool) -> Self {
        self.keep_partial = keep;
        self
    }

    /// How many threads read and compress; 0 for as many as there are cores.
    /// With 1, the default, the calling thread does everything. There are
    /// never more than mebibytes of memory to dump, and fewer if the system
    /// starts no more. The dump is the same for every number.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Threads of the caller's own for [`threads`](Self::threads): then a dump
    /// starts none. Without it, it starts them, and they have ended when it
    /// returns.
    #[must_use]
    pub fn executor(mut self, executor: Arc<dyn Executor>) -> Self {
        self.executor = Some(executor);
        self
    }

    /// Reads at most so many bytes of guest memory a second, all threads
    /// together, for a dump beside guests that run. Memory that was never
    /// populated costs nothing. What is written is hardly ever more than what
    /// is read, and compression goes with it, so this limits the load on
    /// disks and processors too; a limit on what is written would not, for a
    /// guest of zeroes. The dump is the same. Less than a page a second is
    /// refused.
    #[must_use]
    pub fn throttle(mut self, bytes_per_second: u64) -> Self {
        self.throttle = Some(bytes_per_second);
        self
    }

    /// A handle to watch and to cancel the dump with. Once it is cancelled it
    /// stays so, for every dump that has it.
    #[must_use]
    pub fn progress(mut self, progress: Progress) -> Self {
        self.progress = progress;
        self
    }

    /// The threads to work on.
    pub(crate) fn workers(&self) -> Threads<'_> {
        let count = match self.threads {
            0 => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            n => n,
        };
        let executor = self.executor.as_deref();
        Threads { count, executor }
    }
}

/// What a finished dump is made of.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Summary {
    /// The format.
    pub format: Format,
    /// The guest's architecture.
    pub machine: Machine,
    /// Bytes in a page: the guest's, or 4096 in an ELF dump of a guest whose
    /// RAM is not made of whole pages.
    pub page_size: u64,
    /// Pages in the dump.
    pub pages: u64,
    /// Pages of these that are all zero.
    pub zero_pages: u64,
    /// Bytes of guest memory that the dump covers.
    pub bytes_total: u64,
    /// Bytes given to the sink; holes do not count.
    pub bytes_written: u64,
    /// Length of the dump in bytes, holes included; of a flattened one, of its
    /// raw form.
    pub file_size: u64,
    /// Threads that worked on it, unless the system started fewer.
    pub threads: usize,
    /// How long it took.
    pub duration: Duration,
    /// VMCOREINFO, if the dump has it.
    pub vmcoreinfo: Option<Located>,
    /// Of a Windows dump.
    pub windows: Option<WindowsSummary>,
    /// What the page tables gave, if they were asked for.
    pub paging: Option<PagingSummary>,
    /// Guest memory that could not be read: zeroes in the dump, or left out
    /// of it, as [`DumpOptions::on_read_error`] says.
    pub unreadable: Option<Unreadable>,
}

/// What a dump with guest-virtual addresses has of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PagingSummary {
    /// Mappings in the dump, each contiguous in both kinds of address.
    pub mappings: u64,
    /// Page tables that were read.
    pub tables: u64,
    /// Whether the budget cut anything off: the next two.
    pub partial: bool,
    /// References to page tables that were not followed.
    pub cut_tables: u64,
    /// Bytes of mapped pages that were found and left out.
    pub cut_bytes: u64,
    /// References to page tables that cannot be read, outside RAM for
    /// example.
    pub unreadable_tables: u64,
}

impl From<&Mappings> for PagingSummary {
    fn from(mappings: &Mappings) -> Self {
        Self {
            mappings: mappings.list.len() as u64,
            tables: mappings.tables,
            partial: mappings.is_partial(),
            cut_tables: mappings.cut_tables,
            cut_bytes: mappings.cut_bytes,
            unreadable_tables: mappings.unreadable_tables,
        }
    }
}

/// Writes a dump of `memory` to `sink`.
///
/// Blocks until the dump is finished; [`crate::DumpJob`] runs it in the
/// background. Everything is checked before the first byte is written.
///
/// # Errors
///
/// Any [`Error`]; if [`Error::is_refusal`] says so, nothing was written.
pub fn dump(
    memory: &dyn GuestMemory,
    sink: &mut dyn DumpSink,
    options: &DumpOptions,
) -> Result<Summary> {
    let begun = Instant::now();
    // What the caller's memory and sink do wrong, a panic included, is a
    // failure like another.
    let access = catch_panics(|| Ok(sink.access()))?;
    if options.format.needs_positions() && matches!(access, SinkAccess::Stream(_)) {
        return Err(Error::NeedsPositions {
            format: options.format,
            instead: options.format.streamable(),
        });
    }
    check_policies(options, &access)?;
    let clock = Monotonic::new();
    let throttled = options
        .throttle
        .map(|rate| Throttled::new(memory, rate, &options.progress, &clock))
        .transpose()?;
    let memory = throttled
        .as_ref()
        .map_or(memory, |throttled| throttled as &dyn GuestMemory);
    let plan = catch_panics(|| match options.on_read_error {
        OnReadError::Fail => Plan::new(memory, options),
        // What is looked for may be elsewhere.
        policy => {
            let log = &UnreadableLog::new(policy, MIN_PAGE_SIZE);
            Plan::new(&Tolerant { memory, log }, options)
        }
    })?;
    let page_size = plan.selection.page_size;
    let bytes_total = plan.selection.pages() * page_size;
    let chunks = bytes_total.div_ceil(CHUNK_SIZE);
    let workers = options.workers();
    let threads = Threads {
        count: (workers.count as u64).min(chunks) as usize,
        ..workers
    };
    let progress = &options.progress;
    let log = &UnreadableLog::new(options.on_read_error, page_size);
    let tolerant = Tolerant { memory, log };
    let memory = match options.on_read_error {
        OnReadError::Fail => memory,
        OnReadError::Zero | OnReadError::Skip => &tolerant,
    };
    let written = match catch_panics(|| plan.write(memory, log, access, options, threads)) {
        Ok(written) => written,
        Err(Error::Incomplete { pages, of, cause }) => {
            // The first error counts.
            return Err(
                match catch_panics(|| sink.finish().map_err(Error::Finish)) {
                    Ok(()) => Error::Incomplete { pages, of, cause },
                    Err(_) => *cause,
                },
            );
        }
        Err(error) => return Err(error),
    };
    catch_panics(|| sink.finish().map_err(Error::Finish))?;
    Ok(Summary {
        format: options.format,
        machine: options.machine,
        page_size,
        pages: written.pages,
        zero_pages: written.zero_pages,
        bytes_total: written.pages * page_size,
        bytes_written: progress.snapshot().written,
        file_size: written.file_size,
        threads: threads.count,
        duration: begun.elapsed(),
        paging: plan.mappings.as_ref().map(PagingSummary::from),
        vmcoreinfo: plan.vmcoreinfo,
        windows: plan.windows.map(|plan| plan.summary),
        unreadable: log.summary(),
    })
}

/// Refuses what the format or the sink cannot do.
fn check_policies(options: &DumpOptions, access: &SinkAccess<'_>) -> Result<()> {
    let format = options.format;
    if options.keep_partial && !(format.codec().is_some() && format.needs_positions()) {
        return Err(Error::KeepPartialFormat { format });
    }
    if options.on_read_error == OnReadError::Skip && format.codec().is_none() {
        let stream = format == Format::WinDmpBitmap;
        if !stream || matches!(access, SinkAccess::Stream(_)) {
            return Err(Error::SkipFormat { format, stream });
        }
    }
    Ok(())
}

fn catch_panics<R>(f: impl FnOnce() -> Result<R>) -> Result<R> {
    catch_unwind(AssertUnwindSafe(f))
        .unwrap_or_else(|panic| Err(Error::Panicked(panic_message(&*panic))))
}

/// What will be in the dump, checked as far as that is possible without the
/// sink.
struct Plan {
    /// The guest's RAM, if it is not made of whole pages.
    partial_pages: Option<Vec<MemoryRange>>,
    selection: Selection,
    mappings: Option<Mappings>,
    notes: NoteSegment,
    vmcoreinfo: Option<Located>,
    facts: HeaderFacts,
    /// Of a Windows dump.
    windows: Option<WinDmpPlan>,
}

impl Plan {
    fn new(memory: &dyn GuestMemory, options: &DumpOptions) -> Result<Self> {
        let &DumpOptions {
            format, machine, ..
        } = options;
        if let Some(codec) = format.codec().filter(|c| !c.is_available()) {
            let feature = codec.feature();
            return Err(Error::CodecMissing { format, feature });
        }
        if !format.is_for(machine) {
            return Err(WinDmpError::NotX86 { machine }.into());
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
        Ok(Self {
            partial_pages: (!whole_pages).then_some(ranges),
            selection,
            mappings,
            notes,
            vmcoreinfo,
            facts,
            windows,
        })
    }

    /// Writes the dump.
    fn write<'s>(
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
        let total = self.selection.pages() * self.selection.page_size;
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
                    codec,
                    machine,
                    keep_partial: options.keep_partial,
                })?;
                progress.start(total);
                writer.write(access, threads, progress)
            }
        }
    }
}

fn find_mappings(
    guest: Guest<'_>,
    selection: &Selection,
    info: Option<&Vmcoreinfo>,
    budget: Budget,
    options: &DumpOptions,
) -> Result<Mappings> {
    let spaces = address_spaces(guest.machine, &options.cpus, &options.notes, info)?;
    let ram: Vec<_> = selection
        .dumped
        .iter()
        .map(|run| run.range(selection.page_size))
        .collect();
    let read = |gpa, buf: &mut [u8]| guest.read(gpa, buf);
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

//! `dump-guest-memory` and `query-dump` for a VMM.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};

use crate::arch::{CpuState, Machine};
use crate::dump::{DumpOptions, FormatOptions, NotInFormat, Summary};
use crate::dump::{DumpStatus, Dumper, dump_work};
use crate::dump::{Error, Result};
use crate::fault::{Fault, error_chain};
use crate::guest::GuestInfo;
use crate::guest::paging::Budget;
use crate::memory::{GuestMemory, MemoryRange};
use crate::qapi::arguments::{
    Circumstances, DumpGuestMemoryArguments, DumpRequest, Protocol, Rules,
};
use crate::qapi::control::{GuestControl, PausedGuest};
use crate::qapi::error::{ArgumentsError, CommandError};
use crate::qapi::qmp::{DumpCompleted, DumpQueryResult, Event, EventMessage};
use crate::qapi::run_state::GuestPanicInformation;
use crate::sink::{DumpSink, FdSink, FileSink, FileSinkOptions, SinkAccess};
use crate::workers::Progress;

/// A guest, as a VMM gives it to [`DumpService`].
pub trait Guest: GuestControl + 'static {
    /// The type of the guest's memory.
    type Memory: GuestMemory + 'static;

    /// Returns the guest's architecture.
    fn machine(&self) -> Machine;

    /// Whether the guest is being migrated away or saved. No dump begins then. The VMM in turn
    /// begins neither while [`DumpService::is_active`] is true.
    fn is_migrating(&self) -> bool {
        false
    }

    /// Returns the memory of the guest, which is paused.
    ///
    /// # Errors
    ///
    /// If it is not available.
    fn memory(&self) -> io::Result<Self::Memory>;

    /// Returns the registers of each virtual CPU of the guest, which is paused.
    ///
    /// # Errors
    ///
    /// If they are not available.
    fn registers(&self) -> io::Result<Vec<CpuState>>;

    /// Returns the crash data that the guest reported when it panicked, as in `GUEST_PANICKED`. A
    /// Windows dump contains it if the guest's own crash data cannot be read.
    fn panic_information(&self) -> Option<GuestPanicInformation> {
        None
    }

    /// Returns the final options of a dump: threads, VMCOREINFO, page size, and for a Windows dump
    /// debug registers and XMM. This is called while the guest is paused.
    fn adjust(&self, options: DumpOptions) -> DumpOptions {
        options
    }

    /// Takes the event [`Event::DumpCompleted`]. This is called exactly once for each dump that has
    /// begun, at its end, when the guest is resumed. It runs on the dump's thread, or on the
    /// caller's if that thread cannot be started.
    fn event(&self, event: EventMessage) {
        let _ = event;
    }
}

/// QEMU's dump commands for one guest, with at most one dump at a time, detached or not. Dropping
/// the service cancels the dump and waits until the guest is resumed.
pub struct DumpService<G: Guest> {
    guest: Arc<G>,
    dumper: Dumper,
    rules: Rules,
    files: FileSinkOptions,
}

impl<G: Guest> DumpService<G> {
    /// Makes a service that dumps `guest`. Existing files are replaced, as QEMU does it.
    #[must_use]
    pub fn new(guest: Arc<G>) -> Self {
        Self {
            guest,
            dumper: Dumper::new(),
            rules: Rules::default(),
            files: FileSinkOptions::default().overwrite(true),
        }
    }

    /// Sets the rules for arguments.
    #[must_use]
    pub fn rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    /// Sets how `file:` treats files.
    #[must_use]
    pub fn files(mut self, options: FileSinkOptions) -> Self {
        self.files = options;
        self
    }

    /// Executes `dump-guest-memory`: pauses the guest, dumps it and resumes it. For `fd:NAME`,
    /// `fds` returns the file descriptor with this name.
    ///
    /// A detached dump returns `None` once the guest is paused and the dump is about to begin.
    /// Otherwise this returns at the dump's end, after [`Guest::event`] has returned.
    ///
    /// # Errors
    ///
    /// - [`CommandError::Arguments`]: see [`DumpGuestMemoryArguments::check`]. There are also
    ///   [`ArgumentsError::UnknownFd`], [`ArgumentsError::Open`] and
    ///   [`ArgumentsError::NotSeekable`] for the target;
    /// - [`ArgumentsError::NoMemory`], after which the dump counts as failed;
    /// - [`CommandError::Pause`], [`CommandError::Guest`]: the guest is as it was before, and the
    ///   dump counts as failed;
    /// - [`CommandError::Dump`], unless detached.
    pub fn dump_guest_memory(
        &self,
        arguments: &DumpGuestMemoryArguments,
        fds: impl FnOnce(&str) -> Option<OwnedFd>,
    ) -> Result<Option<Summary>, CommandError> {
        let request = arguments.check(&self.circumstances())?;
        let progress = Progress::new();
        let claim = self
            .dumper
            .claim(progress.clone())
            .map_err(ArgumentsError::Busy)?;
        let sink = self.open(&request, fds)?;
        let prepared = match self.prepare(&request, &progress) {
            Ok(prepared) => prepared,
            Err(error) => {
                claim.fail();
                return Err(error);
            }
        };
        let Prepared {
            paused,
            memory,
            options,
        } = prepared;
        let dump = dump_work(memory, sink, options);
        let work = move || {
            let result = dump();
            drop(paused);
            result
        };
        let (tell, told) = mpsc::channel();
        let guest = Arc::clone(&self.guest);
        claim.start(work, move |result| {
            let event = Event::DumpCompleted(completed(&result, &progress));
            // For a detached dump, no receiver is left.
            let _ = tell.send(result);
            guest.event(EventMessage::now(event));
        });
        if request.detach {
            return Ok(None);
        }
        let lost = |_| {
            Err(Error::Failed(Fault::Panicked(
                "the dump's end was lost".into(),
            )))
        };
        let result = told.recv().unwrap_or_else(lost);
        // No second message comes, so this waits until the callback has returned.
        let _ = told.recv();
        Ok(Some(result?))
    }

    /// Executes `query-dump`.
    #[must_use]
    pub fn query_dump(&self) -> DumpQueryResult {
        let (status, figures) = self.dumper.query();
        DumpQueryResult {
            status,
            completed: figures.done,
            total: figures.total,
        }
    }

    /// Whether a dump is active.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.dumper.query().0 == DumpStatus::Active
    }

    /// Cancels the active dump, if there is one, which then fails. This does not wait for its end.
    /// QEMU has no such command.
    pub fn cancel(&self) {
        self.dumper.cancel();
    }

    pub(super) fn machine(&self) -> Machine {
        self.guest.machine()
    }

    fn circumstances(&self) -> Circumstances {
        Circumstances {
            run_state: self.guest.run_state(),
            status: self.dumper.query().0,
            migrating: self.guest.is_migrating(),
            machine: self.machine(),
            rules: self.rules,
        }
    }

    fn open(
        &self,
        request: &DumpRequest,
        fds: impl FnOnce(&str) -> Option<OwnedFd>,
    ) -> Result<Box<dyn DumpSink>, ArgumentsError> {
        let opened: io::Result<Box<dyn DumpSink>> = match &request.protocol {
            Protocol::File(path) => {
                FileSink::create(path, self.files).map(|sink| Box::new(sink) as _)
            }
            Protocol::Fd(name) => {
                let fd = fds(name).ok_or_else(|| ArgumentsError::UnknownFd(name.clone()))?;
                FdSink::new(fd).map(|sink| Box::new(sink) as _)
            }
        };
        let mut sink = opened.map_err(|source| ArgumentsError::Open {
            target: match &request.protocol {
                Protocol::File(path) => path.clone(),
                Protocol::Fd(name) => PathBuf::from(format!("fd:{name}")),
            },
            source,
        })?;
        let format = request.format;
        if format.needs_positions() && matches!(sink.access(), SinkAccess::Stream(_)) {
            let instead = format.streamable();
            return Err(ArgumentsError::NotSeekable { format, instead });
        }
        Ok(sink)
    }

    /// Pauses the guest and gets its memory and its registers.
    fn prepare(
        &self,
        request: &DumpRequest,
        progress: &Progress,
    ) -> Result<Prepared<G>, CommandError> {
        let paused = PausedGuest::pause(Arc::clone(&self.guest)).map_err(CommandError::Pause)?;
        let memory = self.guest.memory().map_err(CommandError::Guest)?;
        let registers = self.guest.registers().map_err(CommandError::Guest)?;
        let total = covered(&memory.ranges(), request.filter);
        if total == 0 {
            return Err(ArgumentsError::NoMemory.into());
        }
        // This is an estimate for clients that ask before the dump has planned its pages.
        progress.start(total);
        let about = GuestInfo::new(self.machine()).cpus(registers);
        let options = request.dump_options(about).map_err(ArgumentsError::from)?;
        let mut options = self.guest.adjust(options).progress(progress.clone());
        if let Some(GuestPanicInformation::HyperV(crash)) = self.guest.panic_information() {
            let known = &mut options.guest.windows.crash_registers;
            known.get_or_insert(crash.into());
        }
        Ok(Prepared {
            paused,
            memory,
            options,
        })
    }
}

impl<G: Guest> std::fmt::Debug for DumpService<G> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DumpService")
            .field("dumper", &self.dumper)
            .field("rules", &self.rules)
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

/// A paused guest, ready to be dumped.
struct Prepared<G: Guest> {
    paused: PausedGuest<G>,
    memory: G::Memory,
    options: DumpOptions,
}

impl DumpRequest {
    /// Returns the options of [`dump`](crate::dump()) for this request.
    ///
    /// # Errors
    ///
    /// [`NotInFormat::Paging`] if paging is asked for with a format other than
    /// ELF, which [`DumpGuestMemoryArguments::check`] excludes.
    pub fn dump_options(&self, guest: GuestInfo) -> Result<DumpOptions, NotInFormat> {
        let mut format = FormatOptions::from(self.format);
        if self.paging {
            format = format.paging(Budget::default())?;
        }
        let options = DumpOptions::new(guest, format);
        Ok(match self.filter {
            Some((begin, length)) => options.filter(begin, length),
            None => options,
        })
    }
}

/// Counts the bytes of `ranges` that lie in `filter`.
fn covered(ranges: &[MemoryRange], filter: Option<(u64, u64)>) -> u64 {
    let (begin, end) = match filter {
        Some((begin, length)) => (begin, begin.saturating_add(length)),
        None => (0, u64::MAX),
    };
    ranges
        .iter()
        .map(|range| {
            range
                .end()
                .min(end)
                .saturating_sub(range.start().max(begin))
        })
        .fold(0, u64::saturating_add)
}

fn completed(result: &Result<Summary>, progress: &Progress) -> DumpCompleted {
    let figures = progress.snapshot();
    DumpCompleted {
        result: DumpQueryResult {
            status: match result {
                Ok(_) => DumpStatus::Completed,
                Err(_) => DumpStatus::Failed,
            },
            completed: figures.done,
            total: figures.total,
        },
        error: result.as_ref().err().map(|error| error_chain(error)),
    }
}

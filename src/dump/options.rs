//! What a dump is told.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use super::OnUnknownKernel;
use crate::arch::{Machine, Registers};
use crate::codec::Engine;
use crate::elf::Section;
use crate::format::Format;
use crate::kdump::Utsname;
use crate::linux::DumpLevel;
use crate::memory::OnReadError;
use crate::paging::Budget;
use crate::pipeline::{Executor, Threads};
use crate::progress::Progress;
use crate::vmcoreinfo::VmcoreinfoSource;
use crate::windmp::{HeaderSource, WindowsOptions};

/// What to dump and how. Begin with [`new`](Self::new).
#[derive(Debug, Clone)]
pub struct DumpOptions {
    pub(crate) format: Format,
    pub(crate) engine: Option<Engine>,
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
    pub(crate) level: DumpLevel,
    pub(crate) on_unknown_kernel: OnUnknownKernel,
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
            engine: None,
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
            level: DumpLevel::NONE,
            on_unknown_kernel: OnUnknownKernel::default(),
            on_read_error: OnReadError::default(),
            keep_partial: false,
            threads: 1,
            executor: None,
            throttle: None,
            progress: Progress::new(),
        }
    }

    /// The engine that compresses pages. Without it, the
    /// [default](crate::codec::Codec::default_engine) of the format's codec, which is
    /// the same in every build. A dump is refused if the engine is not in the build,
    /// or does not belong to the format's codec.
    ///
    /// [`Engine::Minilzo`] is GPL-3.0-or-later.
    #[must_use]
    pub fn compressor(mut self, engine: Engine) -> Self {
        self.engine = Some(engine);
        self
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

    /// Leaves out the pages that a Linux guest's kernel uses for what `level`
    /// names, and those that the hardware reported as broken or that the guest
    /// gave back. A kdump dump does not list them; in an ELF dump they are
    /// holes. Which pages that are is found by VMCOREINFO alone. Windows formats
    /// are refused with a level.
    #[must_use]
    pub fn dump_level(mut self, level: DumpLevel) -> Self {
        self.level = level;
        self
    }

    /// What [`dump_level`](Self::dump_level) does about a kernel that is not
    /// understood.
    #[must_use]
    pub fn on_unknown_kernel(mut self, policy: OnUnknownKernel) -> Self {
        self.on_unknown_kernel = policy;
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
    /// the error is [`Error::Incomplete`](crate::Error::Incomplete). The space for headers, bitmaps and
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

//! The options of a dump.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::FormatOptions;
use crate::guest::GuestInfo;
use crate::memory::OnReadError;
use crate::workers::{Executor, Progress, Workers};

/// The guest to dump, and how to dump it. Begin with [`new`](Self::new).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DumpOptions {
    /// The guest to dump.
    pub guest: GuestInfo,
    /// The dump's format, with the options of that format.
    pub format: FormatOptions,
    pub(crate) filter: Option<(u64, u64)>,
    pub(crate) on_read_error: OnReadError,
    pub(crate) keep_incomplete: bool,
    pub(crate) throttle: Option<u64>,
    pub(crate) workers: Workers,
}

impl DumpOptions {
    /// Makes options for a dump of all memory of `guest` in `format`, on the calling thread.
    #[must_use]
    pub fn new(guest: GuestInfo, format: impl Into<FormatOptions>) -> Self {
        Self {
            guest,
            format: format.into(),
            filter: None,
            on_read_error: OnReadError::default(),
            keep_incomplete: false,
            throttle: None,
            workers: Workers::new(),
        }
    }

    /// Selects the pages that overlap the `length` bytes from the guest-physical address `begin`
    /// on.
    #[must_use]
    pub fn filter(mut self, begin: u64, length: u64) -> Self {
        self.filter = Some((begin, length));
        self
    }

    /// Sets what happens when guest memory cannot be read.
    /// [`OnReadError::Skip`] is refused for formats that must contain every
    /// page.
    #[must_use]
    pub fn on_read_error(mut self, policy: OnReadError) -> Self {
        self.on_read_error = policy;
        self
    }

    /// Sets whether a source that is incomplete is dumped. The dump then says that it is
    /// incomplete: ELF in `e_flags`, kdump in its header's status. By default such a source is
    /// refused.
    ///
    /// [`GuestMemory::coverage`](crate::GuestMemory::coverage) tells what the source lacks. A
    /// Windows dump has no mark for it and is refused always.
    #[must_use]
    pub fn keep_incomplete(mut self, keep: bool) -> Self {
        self.keep_incomplete = keep;
        self
    }

    /// Sets how many threads read and compress; 0 means one for each core.
    ///
    /// With 1, the default, the calling thread does everything. At most one thread per MiB of
    /// memory is used, fewer if the system cannot start more. The dump is the same for every
    /// number.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.workers = self.workers.threads(threads);
        self
    }

    /// Sets an executor that provides the caller's own threads for [`threads`](Self::threads). The
    /// dump then starts no thread. Without an executor, the dump starts threads, and they have
    /// ended when it returns.
    #[must_use]
    pub fn executor(mut self, executor: Arc<dyn Executor>) -> Self {
        self.workers = self.workers.executor(executor);
        self
    }

    /// Limits how many bytes of guest memory all threads together read in a second. This suits a
    /// host on which other guests run.
    ///
    /// Memory that was never populated does not count. A dump writes and compresses what it reads,
    /// so the limit also applies to the load on disks and processors. The contents of the dump stay
    /// the same. A rate below one page (4096 bytes) a second is refused.
    #[must_use]
    pub fn throttle(mut self, bytes_per_second: u64) -> Self {
        self.throttle = Some(bytes_per_second);
        self
    }

    /// Sets the handle that watches and cancels the dump. A cancelled handle cancels every dump
    /// that uses it, also a later one.
    #[must_use]
    pub fn progress(mut self, progress: Progress) -> Self {
        self.workers = self.workers.progress(progress);
        self
    }
}

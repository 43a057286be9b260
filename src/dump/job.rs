//! A dump in the background, and the one dump at a time that a virtual
//! machine monitor's management interface has.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use super::error::Result;
use crate::dump::{DumpOptions, Summary, dump};
use crate::fault::Fault;
use crate::memory::GuestMemory;
use crate::sink::DumpSink;
use crate::workers::panic_message;
use crate::workers::{Progress, ProgressSnapshot};

/// Where a dump stands: QEMU's `DumpStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
pub enum DumpStatus {
    /// No dump was started yet.
    #[default]
    None,
    /// A dump is being written.
    Active,
    /// The last dump is finished.
    Completed,
    /// The last dump failed or was cancelled.
    Failed,
}

impl DumpStatus {
    /// The name, as QEMU spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Active => "active",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

/// A dump that runs on a thread of its own.
///
/// Dropping the job cancels the dump and waits for its threads, so that none
/// outlives it.
#[derive(Debug)]
pub struct DumpJob {
    progress: Progress,
    status: Arc<Mutex<DumpStatus>>,
    thread: Option<JoinHandle<()>>,
}

impl DumpJob {
    /// Starts a dump of `memory` to `sink`.
    ///
    /// `on_complete` is called exactly once, on the job's thread, when the
    /// dump has ended for whatever reason: it is finished, has failed, was
    /// cancelled, or its thread could not be started (then on the calling
    /// thread, before this returns). [`status`](Self::status) is no longer
    /// active by then, so that it may start the next dump.
    pub fn start<M, S, F>(memory: M, sink: S, options: DumpOptions, on_complete: F) -> Self
    where
        M: GuestMemory + 'static,
        S: DumpSink + 'static,
        F: FnOnce(Result<Summary>) + Send + 'static,
    {
        let progress = options.workers.handle().clone();
        let work = dump_work(memory, sink, options);
        let (job, begin) = Self::prepare(progress, work, on_complete);
        begin();
        job
    }

    /// A job for `work`, and what makes it begin. All that `work` owns is
    /// gone before `on_complete` is called, also if it never ran.
    fn prepare<W, F>(progress: Progress, work: W, on_complete: F) -> (Self, impl FnOnce())
    where
        W: FnOnce() -> Result<Summary> + Send + 'static,
        F: FnOnce(Result<Summary>) + Send + 'static,
    {
        let completion = Arc::new(Completion {
            status: Arc::new(Mutex::new(DumpStatus::Active)),
            callback: Mutex::new(Some(on_complete)),
        });
        let status = Arc::clone(&completion.status);
        let on_thread = Arc::clone(&completion);
        let (open, gate) = mpsc::channel::<()>();
        let thread = thread::Builder::new()
            .name("guestdump-job".into())
            .spawn(move || {
                // Nothing is ever sent: the gate opens when `open` is dropped.
                let _ = gate.recv();
                let result = catch_unwind(AssertUnwindSafe(work))
                    .unwrap_or_else(|panic| Err(Fault::Panicked(panic_message(&*panic)).into()));
                on_thread.complete(result);
            });
        let (thread, failed) = match thread {
            Ok(thread) => (Some(thread), None),
            Err(error) => (None, Some(error)),
        };
        let begin = move || {
            drop(open);
            if let Some(error) = failed {
                completion.complete(Err(Fault::Thread(error).into()));
            }
        };
        let job = Self {
            progress,
            status,
            thread,
        };
        (job, begin)
    }

    /// A job that failed before it began.
    #[cfg(feature = "serde")]
    fn failed(progress: Progress) -> Self {
        Self {
            progress,
            status: Arc::new(Mutex::new(DumpStatus::Failed)),
            thread: None,
        }
    }

    /// [`DumpStatus::Active`], `Completed` or `Failed`.
    #[must_use]
    pub fn status(&self) -> DumpStatus {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far the dump is; also to cancel it.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Waits until the dump has ended and its callback has returned.
    pub fn wait(mut self) {
        self.join();
    }

    fn join(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        // The callback may drop the job, on the job's own thread: that ends
        // when the callback returns.
        if thread.thread().id() != thread::current().id() {
            // The thread catches every panic itself.
            let _ = thread.join();
        }
    }
}

impl Drop for DumpJob {
    fn drop(&mut self) {
        // An ended dump's handle may belong to the next dump by now.
        if self.status() == DumpStatus::Active {
            self.progress.cancel();
        }
        self.join();
    }
}

/// A whole dump, as a job's work.
pub(crate) fn dump_work<M, S>(
    memory: M,
    mut sink: S,
    options: DumpOptions,
) -> impl FnOnce() -> Result<Summary> + Send + 'static
where
    M: GuestMemory + 'static,
    S: DumpSink + 'static,
{
    move || {
        let result = catch_unwind(AssertUnwindSafe(|| dump(&memory, &mut sink, &options)))
            .unwrap_or_else(|panic| Err(Fault::Panicked(panic_message(&*panic)).into()));
        // An unfinished file is gone before anybody hears of the end. What
        // happens there does not change the dump's result.
        let _ = catch_unwind(AssertUnwindSafe(|| drop((memory, sink))));
        result
    }
}

struct Completion<F> {
    status: Arc<Mutex<DumpStatus>>,
    callback: Mutex<Option<F>>,
}

impl<F: FnOnce(Result<Summary>)> Completion<F> {
    fn complete(&self, result: Result<Summary>) {
        let status = match result {
            Ok(_) => DumpStatus::Completed,
            Err(_) => DumpStatus::Failed,
        };
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
        let callback = self
            .callback
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(callback) = callback {
            // The dump has ended; a panic here concerns the callback alone.
            let _ = catch_unwind(AssertUnwindSafe(|| callback(result)));
        }
    }
}

/// One dump at a time, as QEMU's `dump-guest-memory` and `query-dump` have
/// it: a second one is refused while the first is active.
#[derive(Debug, Default)]
pub struct Dumper {
    slot: Mutex<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    job: Option<DumpJob>,
    /// A dump is being prepared, and is to take the slot.
    claimed: Option<Progress>,
}

impl Slot {
    fn status(&self) -> DumpStatus {
        match (&self.claimed, &self.job) {
            (Some(_), _) => DumpStatus::Active,
            (None, Some(job)) => job.status(),
            (None, None) => DumpStatus::None,
        }
    }

    fn progress(&self) -> Option<&Progress> {
        self.claimed
            .as_ref()
            .or_else(|| self.job.as_ref().map(DumpJob::progress))
    }
}

/// A dump is refused because another one is being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another dump is being written; wait until it has ended, or cancel it")]
pub struct Busy;

impl Dumper {
    /// No dump yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a dump in the background; see [`DumpJob::start`].
    ///
    /// # Errors
    ///
    /// [`Busy`] while another dump is active; `on_complete` is not called
    /// then.
    pub fn start<M, S, F>(
        &self,
        memory: M,
        sink: S,
        options: DumpOptions,
        on_complete: F,
    ) -> Result<(), Busy>
    where
        M: GuestMemory + 'static,
        S: DumpSink + 'static,
        F: FnOnce(Result<Summary>) + Send + 'static,
    {
        let claim = self.claim(options.workers.handle().clone())?;
        claim.start(dump_work(memory, sink, options), on_complete);
        Ok(())
    }

    /// Takes the place of the one dump for a dump that is still to be
    /// prepared. It counts as active from now on.
    pub(crate) fn claim(&self, progress: Progress) -> Result<Claim<'_>, Busy> {
        let mut slot = self.lock();
        if slot.status() == DumpStatus::Active {
            return Err(Busy);
        }
        slot.claimed = Some(progress.clone());
        Ok(Claim {
            dumper: self,
            progress,
        })
    }

    /// Where the last dump stands, and its figures.
    #[must_use]
    pub fn query(&self) -> (DumpStatus, ProgressSnapshot) {
        let slot = self.lock();
        let figures = slot.progress().map(Progress::snapshot).unwrap_or_default();
        (slot.status(), figures)
    }

    /// Cancels the active dump, if there is one. Does not wait for its end.
    pub fn cancel(&self) {
        let slot = self.lock();
        if slot.status() == DumpStatus::Active
            && let Some(progress) = slot.progress()
        {
            progress.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of the one dump, for a dump that is being prepared. Dropped, it
/// is free again, and the last dump's state is as it was.
pub(crate) struct Claim<'a> {
    dumper: &'a Dumper,
    progress: Progress,
}

impl Claim<'_> {
    /// Runs `work` as the dump; see [`DumpJob::prepare`].
    pub(crate) fn start<W, F>(self, work: W, on_complete: F)
    where
        W: FnOnce() -> Result<Summary> + Send + 'static,
        F: FnOnce(Result<Summary>) + Send + 'static,
    {
        let (job, begin) = DumpJob::prepare(self.progress.clone(), work, on_complete);
        // The callback may ask for the state and start the next dump: so it
        // is called with the job in its place, and without the lock.
        self.give_place_to(job);
        begin();
    }

    /// The dump failed before it began.
    #[cfg(feature = "serde")]
    pub(crate) fn fail(self) {
        let job = DumpJob::failed(self.progress.clone());
        self.give_place_to(job);
    }

    fn give_place_to(self, job: DumpJob) {
        // Waits for the last dump's callback, which may ask for the state.
        let ended = self.dumper.lock().job.take();
        drop(ended);
        self.dumper.lock().job = Some(job);
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.dumper.lock().claimed = None;
    }
}

//! Dumps in the background.
#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use super::error::Result;
use crate::dump::{DumpOptions, Summary, dump};
use crate::fault::Fault;
use crate::memory::GuestMemory;
use crate::sink::DumpSink;
use crate::workers::{Progress, panic_message};

/// The state of a dump: QEMU's `DumpStatus`.
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
#[must_use = "dropping a job cancels its dump"]
pub struct DumpJob {
    progress: Progress,
    status: Arc<Mutex<DumpStatus>>,
    thread: Option<JoinHandle<()>>,
    /// The result of the dump, once it has ended. The job of a [`Dumper`] gives the result to its
    /// callback instead.
    ///
    /// [`Dumper`]: crate::Dumper
    result: Arc<Mutex<Option<Result<Summary>>>>,
}

impl DumpJob {
    /// Starts a dump of `memory` to `sink`. [`wait`](Self::wait) returns its
    /// result.
    pub fn start<M, S>(memory: M, sink: S, options: DumpOptions) -> Self
    where
        M: GuestMemory + 'static,
        S: DumpSink + 'static,
    {
        Self::start_with(memory, sink, options, |_| ())
    }

    /// Starts a dump of `memory` to `sink` and calls `on_complete` when it has
    /// ended.
    ///
    /// `on_complete` is called exactly once, on the job's thread, whether the dump is finished, has
    /// failed or was cancelled. If the thread cannot be started, `on_complete` is called on the
    /// calling thread before this function returns.
    ///
    /// [`status`](Self::status) is no longer active at that time, so `on_complete` may start the
    /// next dump.
    pub fn start_with<M, S, F>(memory: M, sink: S, options: DumpOptions, on_complete: F) -> Self
    where
        M: GuestMemory + 'static,
        S: DumpSink + 'static,
        F: FnOnce(&Result<Summary>) + Send + 'static,
    {
        let progress = options.workers.handle().clone();
        let work = dump_work(memory, sink, options);
        let kept = Arc::new(Mutex::new(None));
        let keep = Arc::clone(&kept);
        let (mut job, begin) = Self::prepare(progress, work, move |result| {
            // A panic in the callback must not lose the result.
            let _ = catch_unwind(AssertUnwindSafe(|| on_complete(&result)));
            *keep.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        });
        job.result = kept;
        begin();
        job
    }

    /// Makes a job for `work`, and the function that makes it begin. Everything that `work` owns is
    /// dropped before `on_complete` is called, even if `work` never ran.
    pub(super) fn prepare<W, F>(
        progress: Progress,
        work: W,
        on_complete: F,
    ) -> (Self, impl FnOnce())
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
                // The gate opens when `open` is dropped; no message is ever sent.
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
            result: Arc::default(),
        };
        (job, begin)
    }

    /// Makes a job that failed before it began.
    #[cfg(feature = "qapi")]
    pub(super) fn failed(progress: Progress) -> Self {
        Self {
            progress,
            status: Arc::new(Mutex::new(DumpStatus::Failed)),
            thread: None,
            result: Arc::default(),
        }
    }

    /// Returns the dump's state: [`DumpStatus::Active`], `Completed` or `Failed`.
    #[must_use]
    pub fn status(&self) -> DumpStatus {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the handle that reports the dump's figures and cancels it.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Waits until the dump has ended and its callback has returned, and
    /// returns the dump's result.
    ///
    /// # Errors
    ///
    /// As [`dump`](crate::dump()). A job that waits for itself in its own callback fails with
    /// [`Fault::Panicked`]; the callback has the result.
    pub fn wait(mut self) -> Result<Summary> {
        self.join();
        let mut result = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = || Err(Fault::Panicked("the job waits for itself".into()).into());
        result.take().unwrap_or_else(lost)
    }

    fn join(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        // The callback may drop the job on the job's own thread, which ends when the callback
        // returns.
        if thread.thread().id() != thread::current().id() {
            // The thread itself catches every panic.
            let _ = thread.join();
        }
    }
}

impl Drop for DumpJob {
    fn drop(&mut self) {
        // After a dump has ended, the next dump may use its handle.
        if self.status() == DumpStatus::Active {
            self.progress.cancel();
        }
        self.join();
    }
}

/// Makes the work of a job that writes one dump.
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
        // An unfinished file is removed before anybody learns of the end. A panic there does not
        // change the dump's result.
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
            // The dump has ended, so a panic here concerns only the callback.
            let _ = catch_unwind(AssertUnwindSafe(|| callback(result)));
        }
    }
}

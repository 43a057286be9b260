//! One dump at a time, for the management interface of a VMM.
#![forbid(unsafe_code)]

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::Result;
use super::job::{DumpJob, DumpStatus, dump_work};
use super::{DumpOptions, Summary};
use crate::memory::GuestMemory;
use crate::sink::DumpSink;
use crate::workers::{Progress, ProgressSnapshot};

/// Runs at most one dump at a time, as QEMU's `dump-guest-memory` and `query-dump` do. A second
/// dump is refused while the first is active.
#[derive(Debug, Default)]
pub struct Dumper {
    slot: Mutex<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    job: Option<DumpJob>,
    /// The handle of a dump that is being prepared and will take the slot.
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

/// The error that another dump is active.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another dump is being written; wait until it has ended, or cancel it")]
pub struct Busy;

impl Dumper {
    /// Makes a dumper that has started no dump.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a dump in the background; see [`DumpJob::start_with`].
    ///
    /// # Errors
    ///
    /// [`Busy`] while another dump is active. `on_complete` is not called then.
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

    /// Claims the slot for a dump that is being prepared. From now on that dump counts as active.
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

    /// Returns the state and the figures of the last dump.
    #[must_use]
    pub fn query(&self) -> (DumpStatus, ProgressSnapshot) {
        let slot = self.lock();
        let figures = slot.progress().map(Progress::snapshot).unwrap_or_default();
        (slot.status(), figures)
    }

    /// Cancels the active dump, if there is one, without waiting for its end.
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

/// The slot, claimed for a dump that is being prepared. Dropping the claim frees the slot and
/// leaves the last dump's state as it was.
pub(crate) struct Claim<'a> {
    dumper: &'a Dumper,
    progress: Progress,
}

impl Claim<'_> {
    /// Runs `work` as the dump. See [`DumpJob::prepare`].
    pub(crate) fn start<W, F>(self, work: W, on_complete: F)
    where
        W: FnOnce() -> Result<Summary> + Send + 'static,
        F: FnOnce(Result<Summary>) + Send + 'static,
    {
        let (job, begin) = DumpJob::prepare(self.progress.clone(), work, on_complete);
        // The callback may query the state and start the next dump. It is therefore called when the
        // job is in its slot, and without the lock.
        self.give_place_to(job);
        begin();
    }

    /// Records that the dump failed before it began.
    #[cfg(feature = "qapi")]
    pub(crate) fn fail(self) {
        let job = DumpJob::failed(self.progress.clone());
        self.give_place_to(job);
    }

    fn give_place_to(self, job: DumpJob) {
        // This waits for the last dump's callback, which may query the state.
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

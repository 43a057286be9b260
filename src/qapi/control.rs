//! Pauses a guest for a dump, and resumes it in every case.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::qapi::run_state::RunState;

/// A VMM's way to pause and resume its guest.
pub trait GuestControl: Send + Sync {
    /// Returns the guest's present state.
    fn run_state(&self) -> RunState;

    /// Pauses the guest. When this returns, no CPU and no device changes the guest's memory any
    /// more.
    ///
    /// Returns whether the guest was running until now. A guest that is paused already stays as it
    /// is.
    ///
    /// # Errors
    ///
    /// If the guest cannot be paused. A guest that was running is then [`resume`](Self::resume)d,
    /// in case a part of it is paused.
    fn pause(&self) -> io::Result<bool>;

    /// Resumes the guest. This is also called for a guest whose pause failed, and which may run as
    /// a whole or in part.
    ///
    /// This returns no error, because the dump is over and its quality does not depend on the
    /// result. The VMM reports a guest that does not resume.
    fn resume(&self);
}

/// A guest that is paused for as long as this value lives. When the value is dropped, even by a
/// panic, it resumes the guest: once, and only if the guest was running before.
pub struct PausedGuest<G: GuestControl> {
    guest: Arc<G>,
    resume: bool,
}

impl<G: GuestControl> PausedGuest<G> {
    /// Pauses `guest`.
    ///
    /// # Errors
    ///
    /// The error of [`GuestControl::pause`]. A guest that was running is resumed.
    pub fn pause(guest: Arc<G>) -> io::Result<Self> {
        let mut paused = Self {
            resume: guest.run_state().is_running(),
            guest,
        };
        paused.resume = paused.guest.pause()?;
        Ok(paused)
    }

    /// Whether the guest was running, and will be resumed.
    #[must_use]
    pub fn was_running(&self) -> bool {
        self.resume
    }
}

impl<G: GuestControl> std::fmt::Debug for PausedGuest<G> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PausedGuest")
            .field("resume", &self.resume)
            .finish_non_exhaustive()
    }
}

impl<G: GuestControl> Drop for PausedGuest<G> {
    fn drop(&mut self) {
        if self.resume {
            // A second panic during unwinding would abort the process.
            let _ = catch_unwind(AssertUnwindSafe(|| self.guest.resume()));
        }
    }
}

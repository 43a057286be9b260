//! A guest that stands still for a dump, and runs again whatever happens.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::qapi::run_state::RunState;

/// How a virtual machine monitor pauses and resumes its guest.
pub trait GuestControl: Send + Sync {
    /// The guest's present state.
    fn run_state(&self) -> RunState;

    /// Pauses the guest: no CPU and no device changes its memory any more
    /// when this returns. Returns whether the guest was running until now; a
    /// guest that stands still already is left alone.
    ///
    /// # Errors
    ///
    /// If the guest cannot be paused. If it was running before, it is
    /// [`resume`](Self::resume)d, in case a part of it stands still.
    fn pause(&self) -> io::Result<bool>;

    /// Lets the guest run again. Also called for a guest whose pause failed,
    /// and which may run as a whole or in part.
    ///
    /// There is no error to return: the dump is over, whether it is good does
    /// not depend on this, and the monitor is the one to report it.
    fn resume(&self);
}

/// A guest that stands still for as long as this lives. Dropped, also by a
/// panic, it resumes the guest: once, and only if it was running before.
pub struct PausedGuest<G: GuestControl> {
    guest: Arc<G>,
    resume: bool,
}

impl<G: GuestControl> PausedGuest<G> {
    /// Pauses `guest`.
    ///
    /// # Errors
    ///
    /// What [`GuestControl::pause`] reports; the guest is as it was before.
    pub fn pause(guest: Arc<G>) -> io::Result<Self> {
        let mut paused = Self {
            resume: guest.run_state().is_running(),
            guest,
        };
        paused.resume = paused.guest.pause()?;
        Ok(paused)
    }

    /// Whether the guest will run again.
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
            // A second panic while the first unwinds would end the process.
            let _ = catch_unwind(AssertUnwindSafe(|| self.guest.resume()));
        }
    }
}

//! Progress and cancellation of a dump, from any thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// A handle on a dump's progress.
///
/// All clones share one state. Give one clone to
/// [`DumpOptions::progress`](crate::DumpOptions::progress) and keep another.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    total: AtomicU64,
    done: AtomicU64,
    written: AtomicU64,
    cancelled: AtomicBool,
}

/// The figures of a [`Progress`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ProgressSnapshot {
    /// Bytes of guest memory that the dump covers; 0 before it begins.
    pub total: u64,
    /// Bytes of guest memory that are already processed.
    pub done: u64,
    /// Bytes that the sink received.
    pub written: u64,
}

impl Progress {
    /// Creates a new handle, with all figures 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the present figures.
    #[must_use]
    pub fn snapshot(&self) -> ProgressSnapshot {
        ProgressSnapshot {
            total: self.state.total.load(Relaxed),
            done: self.state.done.load(Relaxed),
            written: self.state.written.load(Relaxed),
        }
    }

    /// Asks the dump to stop. The dump finishes at most the block that it works
    /// on, and returns [`Fault::Cancelled`](crate::Fault::Cancelled).
    pub fn cancel(&self) {
        self.state.cancelled.store(true, Relaxed);
    }

    /// Returns whether [`cancel`](Self::cancel) was called.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.state.cancelled.load(Relaxed)
    }

    pub(crate) fn start(&self, total: u64) {
        self.state.total.store(total, Relaxed);
        self.state.done.store(0, Relaxed);
        self.state.written.store(0, Relaxed);
    }

    pub(crate) fn add_done(&self, bytes: u64) {
        self.state.done.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn add_written(&self, bytes: u64) {
        self.state.written.fetch_add(bytes, Relaxed);
    }
}

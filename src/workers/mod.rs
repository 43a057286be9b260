//! Threads that work on a dump, and the progress that they report.
#![forbid(unsafe_code)]

mod progress;
mod threads;

use std::num::NonZeroUsize;
use std::sync::Arc;

pub use progress::{Progress, ProgressSnapshot};
pub use threads::Executor;
pub(crate) use threads::{Threads, panic_message};

/// The threads that do a piece of work, and the handle that reports and
/// cancels it.
#[derive(Debug, Clone)]
pub struct Workers {
    count: usize,
    executor: Option<Arc<dyn Executor>>,
    progress: Progress,
}

impl Default for Workers {
    /// Uses the calling thread alone.
    fn default() -> Self {
        Self {
            count: 1,
            executor: None,
            progress: Progress::new(),
        }
    }
}

impl Workers {
    /// Uses the calling thread alone.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the number of threads; 0 means one for each core.
    ///
    /// With 1, the default, the calling thread does everything.
    #[must_use]
    pub fn threads(mut self, count: usize) -> Self {
        self.count = count;
        self
    }

    /// Sets the caller's own threads, on which the work is done.
    ///
    /// Without an executor, threads are started for the work. They have ended
    /// when it returns.
    #[must_use]
    pub fn executor(mut self, executor: Arc<dyn Executor>) -> Self {
        self.executor = Some(executor);
        self
    }

    /// Sets the handle that watches and cancels the work.
    ///
    /// A cancelled handle stays cancelled, for all work that uses it.
    #[must_use]
    pub fn progress(mut self, progress: Progress) -> Self {
        self.progress = progress;
        self
    }

    /// Returns the handle that watches and cancels the work.
    #[must_use]
    pub fn handle(&self) -> &Progress {
        &self.progress
    }

    pub(crate) fn as_threads(&self) -> Threads<'_> {
        let count = match self.count {
            0 => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            n => n,
        };
        let executor = self.executor.as_deref();
        Threads { count, executor }
    }
}

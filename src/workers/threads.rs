//! The threads that a dump works on.
#![forbid(unsafe_code)]

use std::any::Any;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::fault::Fault;

/// Threads of the caller's own: a pool, or threads with a seccomp filter and a
/// place in a cgroup. See [`crate::DumpOptions::executor`].
pub trait Executor: Debug + Send + Sync {
    /// Calls `work` on up to `threads` threads at the same time, and returns
    /// when all calls have returned. The calling thread may be one of them.
    ///
    /// With fewer threads the dump is the same but takes longer. The thread
    /// that called [`crate::dump`] does the work that they leave undone. `work`
    /// does not panic.
    fn run(&self, threads: usize, work: &(dyn Fn() + Sync));
}

/// The number of threads that work on a dump, and their owner.
#[derive(Clone, Copy)]
pub(crate) struct Threads<'a> {
    pub(crate) count: usize,
    pub(crate) executor: Option<&'a dyn Executor>,
}

impl Threads<'_> {
    /// The calling thread alone.
    pub(crate) const ONE: Threads<'static> = Threads {
        count: 1,
        executor: None,
    };

    /// Calls `work` on all threads, or on fewer if no more can be started. The
    /// last call is on the calling thread.
    pub(crate) fn run(&self, work: &(dyn Fn() + Sync)) {
        match self.executor {
            Some(executor) if self.count > 1 => {
                executor.run(self.count, work);
                work();
            }
            _ => thread::scope(|scope| {
                for number in 1..self.count {
                    let spawned = thread::Builder::new()
                        .name(format!("guestdump-{number}"))
                        .spawn_scoped(scope, work);
                    if spawned.is_err() {
                        break;
                    }
                }
                work();
            }),
        }
    }

    /// Applies `work` to each of `items`, and returns the results in their
    /// order. A panic of `work` becomes an error.
    pub(crate) fn map<T: Sync, R: Send, E: From<Fault> + Send>(
        &self,
        items: &[T],
        work: &(dyn Fn(&T) -> Result<R, E> + Sync),
    ) -> Vec<Result<R, E>> {
        let next = AtomicUsize::new(0);
        let results: Vec<Mutex<Option<Result<R, E>>>> =
            items.iter().map(|_| Mutex::new(None)).collect();
        let some = Threads {
            count: self.count.min(items.len()),
            ..*self
        };
        some.run(&|| {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(item) = items.get(index) else {
                    break;
                };
                let result = catch_unwind(AssertUnwindSafe(|| work(item)))
                    .unwrap_or_else(|panic| Err(Fault::Panicked(panic_message(&*panic)).into()));
                *results[index]
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) = Some(result);
            }
        });
        // The calling thread did what other threads left undone, so every item
        // has a result.
        results
            .into_iter()
            .filter_map(|result| result.into_inner().unwrap_or_else(PoisonError::into_inner))
            .collect()
    }
}

pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "no message".to_owned())
}

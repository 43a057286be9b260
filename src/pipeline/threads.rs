//! The threads that a dump works on.
#![forbid(unsafe_code)]

use std::fmt::Debug;
use std::thread;

/// Threads of the caller's own: a pool, or threads with a seccomp filter and
/// a place in a cgroup. See [`crate::DumpOptions::executor`].
pub trait Executor: Debug + Send + Sync {
    /// Calls `work` on up to `threads` threads at the same time, the calling
    /// one among them or not, and returns when all calls have returned. With
    /// fewer threads the dump is the same, and takes longer; what they leave
    /// undone, the thread that called [`crate::dump`] does. `work` does not
    /// panic.
    fn run(&self, threads: usize, work: &(dyn Fn() + Sync));
}

/// How many threads work on a dump, and whose they are.
#[derive(Clone, Copy)]
pub(crate) struct Threads<'a> {
    pub(crate) count: usize,
    pub(crate) executor: Option<&'a dyn Executor>,
}

impl Threads<'_> {
    /// Calls `work` on all threads, of which the calling one is the last, or
    /// on fewer if no more can be started.
    pub(crate) fn run(&self, work: &(dyn Fn() + Sync)) {
        match self.executor {
            Some(executor) => {
                executor.run(self.count, work);
                work();
            }
            None => thread::scope(|scope| {
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
}

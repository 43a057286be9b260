//! Handles the signals that end a process: stops the work and cleans up.
//!
//! Without a handler they would leave a temporary file with guest memory. SIGPIPE is ignored by
//! Rust's runtime, so a write to a pipe without a reader is an error. SIGKILL cannot be caught, and
//! the signals of faults are left to the system.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use guestdump::Progress;
use signal_hook::consts::{
    SIGABRT, SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2,
    SIGVTALRM, SIGXCPU, SIGXFSZ,
};
use signal_hook::flag;
use signal_hook::iterator::{Handle, Signals};

use crate::report::Failure;

/// Time limit for a cancelled dump that is stuck in a write to a stream whose reader does not read.
const STUCK: Duration = Duration::from_secs(2);

/// An action that must happen before the process ends, at any stage of the work.
pub(crate) type Rescue = Box<dyn Fn() + Send>;

/// Signals besides SIGINT and SIGTERM that would end the process. One that is ignored, as SIGHUP is
/// under nohup, stays ignored.
const OTHERS: [i32; 10] = [
    SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGXCPU, SIGIO, SIGABRT,
];

/// Cancels a [`Progress`] on the first signal. The second SIGINT or SIGTERM ends the process at
/// once, without cleaning up. Other signals do not, because a shell and the kernel may both send
/// SIGHUP.
pub(crate) struct Watch {
    caught: Arc<AtomicI32>,
    handle: Handle,
    thread: Option<JoinHandle<()>>,
    done: Option<mpsc::Sender<()>>,
}

impl Watch {
    /// Begins to watch. `may_get_stuck` is for targets that need no cleaning up: the process then
    /// ends if cancelling does not help.
    ///
    /// With a `rescue`, no signal ends the process before the rescue.
    pub(crate) fn start(
        progress: Progress,
        may_get_stuck: bool,
        rescue: Option<Rescue>,
    ) -> io::Result<Self> {
        make_size_limit_an_error()?;
        if rescue.is_none() {
            end_on_second()?;
        }
        let mut signals = Signals::new(watched())?;
        let handle = signals.handle();
        let caught = Arc::new(AtomicI32::new(0));
        let (done, is_done) = mpsc::channel();
        let seen = Arc::clone(&caught);
        let end = move |signal| {
            if let Some(rescue) = &rescue {
                rescue();
            }
            let failure = Failure::signal(signal);
            let _ = failure.finish();
            std::process::exit(failure.code().into());
        };
        let thread = std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                let mut was_told = false;
                for signal in signals.forever() {
                    let _ = seen.compare_exchange(0, signal, SeqCst, SeqCst);
                    let is_second = was_told && is_told(signal);
                    was_told |= is_told(signal);
                    progress.cancel();
                    let stuck = || is_done.recv_timeout(STUCK) == Err(RecvTimeoutError::Timeout);
                    if is_second || may_get_stuck && stuck() {
                        end(signal);
                    }
                }
            })?;
        Ok(Self {
            caught,
            handle,
            thread: Some(thread),
            done: Some(done),
        })
    }

    /// Returns the failure for the signal that came, if one did.
    pub(crate) fn caught(&self) -> Option<Failure> {
        match self.caught.load(SeqCst) {
            0 => None,
            signal => Some(Failure::signal(signal)),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.done = None;
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Makes a write beyond the limit on file sizes an error instead of a signal that ends the process.
pub(crate) fn make_size_limit_an_error() -> io::Result<()> {
    flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    Ok(())
}

/// Whether the signal is one by which people and init systems tell a process to end.
fn is_told(signal: i32) -> bool {
    [SIGINT, SIGTERM].contains(&signal)
}

/// Ends the process on the second SIGINT or SIGTERM even if its threads no longer run.
fn end_on_second() -> io::Result<()> {
    let second = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The order matters: the first signal only sets the flag.
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&second))?;
        flag::register(signal, Arc::clone(&second))?;
    }
    Ok(())
}

/// Returns all signals to watch.
fn watched() -> impl Iterator<Item = i32> {
    let others = OTHERS.into_iter().filter(|signal| !is_ignored(*signal));
    [SIGINT, SIGTERM].into_iter().chain(others)
}

fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask >> (signal - 1) & 1 != 0)
}

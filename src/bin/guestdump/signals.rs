//! Handles SIGINT, SIGTERM and other signals that end the process: stops the work and cleans up.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use guestdump::Progress;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use signal_hook::iterator::{Handle, Signals};

use crate::report::Failure;

/// Time limit for a cancelled dump that is stuck in a write to a stream whose reader does not read.
const STUCK: Duration = Duration::from_secs(2);

/// An action that must happen before the process ends, at any stage of the work.
pub(crate) type Rescue = Box<dyn Fn() + Send>;

/// Cancels a [`Progress`] on the first signal. The second signal ends the process at once, without
/// cleaning up.
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
    /// With a `rescue`, SIGQUIT and SIGHUP are handled too, and each signal ends the process only
    /// after the rescue.
    ///
    /// With a `rescue`, every signal that would end the process counts, and
    /// none does before the rescue.
    pub(crate) fn start(
        progress: Progress,
        may_get_stuck: bool,
        rescue: Option<Rescue>,
    ) -> io::Result<Self> {
        // A handler turns a write beyond the limit on file sizes into an error.
        flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
        let watched = match rescue {
            None => end_on_second()?,
            Some(_) => catch_all()?,
        };
        let mut signals = Signals::new(watched)?;
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
                for signal in signals.forever() {
                    let is_second = seen.swap(signal, SeqCst) != 0;
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

/// Watches SIGINT and SIGTERM. The second signal ends the process even if its threads no longer
/// run.
fn end_on_second() -> io::Result<Vec<i32>> {
    let second = Arc::new(AtomicBool::new(false));
    let signals = vec![SIGINT, SIGTERM];
    for &signal in &signals {
        // The order matters: the first signal only sets the flag.
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&second))?;
        flag::register(signal, Arc::clone(&second))?;
    }
    Ok(signals)
}

/// Returns the signals that are sent to end a process: SIGINT, SIGTERM, SIGQUIT and SIGHUP. A
/// SIGHUP that is ignored, as under nohup, stays ignored.
fn catch_all() -> io::Result<Vec<i32>> {
    let mut signals = vec![SIGINT, SIGTERM, SIGQUIT];
    if !is_ignored(SIGHUP) {
        signals.push(SIGHUP);
    }
    Ok(signals)
}

fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask >> (signal - 1) & 1 != 0)
}

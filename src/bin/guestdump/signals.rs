//! SIGINT and SIGTERM: stop the work and tidy up.

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

/// How long a cancelled dump may stay stuck in a write to a stream whose
/// reader does not read.
const STUCK: Duration = Duration::from_secs(2);

/// What must be done before the process ends, wherever the work stands.
pub(crate) type Rescue = Box<dyn Fn() + Send>;

/// Cancels a [`Progress`] on the first signal. The second one ends the
/// process at once, without tidying up.
pub(crate) struct Watch {
    caught: Arc<AtomicI32>,
    handle: Handle,
    thread: Option<JoinHandle<()>>,
    done: Option<mpsc::Sender<()>>,
}

impl Watch {
    /// Begins to watch. With `may_get_stuck`, for targets that leave nothing
    /// to tidy up, the process ends if cancelling does not help.
    ///
    /// With a `rescue`, every signal that would end the process counts, and
    /// none does before the rescue.
    pub(crate) fn start(
        progress: Progress,
        may_get_stuck: bool,
        rescue: Option<Rescue>,
    ) -> io::Result<Self> {
        // Caught, it makes a write behind the limit on file sizes an error.
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

    /// The failure for the signal that came, if one did.
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

/// SIGINT and SIGTERM, of which the second ends the process even if nothing
/// of it runs any more.
fn end_on_second() -> io::Result<Vec<i32>> {
    let second = Arc::new(AtomicBool::new(false));
    let signals = vec![SIGINT, SIGTERM];
    for &signal in &signals {
        // In this order: the first signal only sets the flag.
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&second))?;
        flag::register(signal, Arc::clone(&second))?;
    }
    Ok(signals)
}

/// Every signal that somebody sends to end a process, as far as that can be
/// prevented. A hang-up that is ignored, as under nohup, stays ignored.
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

//! SIGINT and SIGTERM: stop the work and tidy up.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use guestdump::Progress;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::{Handle, Signals};

use super::report::Failure;

/// How long a cancelled dump may stay stuck in a write to a stream whose
/// reader does not read.
const STUCK: Duration = Duration::from_secs(2);

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
    pub(crate) fn start(progress: Progress, may_get_stuck: bool) -> io::Result<Self> {
        let second = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal only sets the flag.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&second))?;
            flag::register(signal, Arc::clone(&second))?;
        }
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let handle = signals.handle();
        let caught = Arc::new(AtomicI32::new(0));
        let (done, is_done) = mpsc::channel();
        let seen = Arc::clone(&caught);
        let thread = std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                for signal in signals.forever() {
                    seen.store(signal, SeqCst);
                    progress.cancel();
                    let stuck = || is_done.recv_timeout(STUCK) == Err(RecvTimeoutError::Timeout);
                    if may_get_stuck && stuck() {
                        let failure = Failure::signal(signal);
                        let _ = failure.finish();
                        std::process::exit(failure.code().into());
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

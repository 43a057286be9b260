//! Stops the guest, and resumes it in every case.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::qemu::error::QemuError;
use crate::qemu::qmp::{Qmp, answer};

/// Time limit of each command that resumes the guest, at first and after a failure.
const FIRST: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_secs(1);

/// The report of how long the guest was paused for a dump, and what else happened to it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Standstill {
    /// The time from before the command `stop` until QEMU confirmed that the guest runs again.
    /// `None` if the guest was paused before and still is.
    pub duration: Option<Duration>,
    /// An action of another client on the guest meanwhile. The dump may then mix several moments.
    pub interference: Option<Interference>,
}

/// An action of another client on a guest while it was dumped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Interference {
    /// The guest was resumed.
    #[error("somebody else resumed the guest while it was dumped")]
    Resumed,
    /// The guest was reset.
    #[error("the guest was reset while it was dumped")]
    Reset,
    /// The guest has another status than the dump gave it, and keeps that status.
    #[error("the guest's status became '{0}' while it was dumped, and was left so")]
    Status(String),
}

/// The connection to QEMU, and the changes to undo.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) qmp: Qmp,
    state: State,
    /// Time limit of a command that resumes the guest.
    patience: Duration,
}

#[derive(Debug)]
enum State {
    /// The guest was not changed.
    Untouched,
    /// The guest was told to stop, or is paused already.
    Stopping(Stop),
    /// All changes are undone.
    Done(Standstill),
}

#[derive(Debug, Clone)]
struct Stop {
    since: Instant,
    /// Whether this dump must resume the guest.
    ours: bool,
    /// QEMU's name of the status after the stop; `None` until it is known.
    status: Option<String>,
}

#[derive(Debug)]
struct Status {
    name: String,
    running: bool,
}

impl Control {
    pub(super) fn new(qmp: Qmp) -> Self {
        Self {
            qmp,
            state: State::Untouched,
            patience: FIRST,
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        matches!(&self.state, State::Stopping(stop) if stop.status.is_some())
    }

    /// Stops the guest. The caller must resume it even after an error.
    pub(super) fn stop(&mut self) -> Result<(), QemuError> {
        let before = self.status()?;
        let mut stop = Stop {
            since: Instant::now(),
            // Newer versions of QEMU stop a suspended guest too.
            ours: before.running || before.name == "suspended",
            status: None,
        };
        self.state = State::Stopping(stop.clone());
        self.qmp.execute("stop", json!({}))?;
        let after = self.status()?;
        self.qmp.take_events();
        if after.running {
            return Err(QemuError::NotStopped { status: after.name });
        }
        stop.ours = before.name != after.name;
        stop.status = Some(after.name);
        self.state = State::Stopping(stop);
        Ok(())
    }

    /// Puts the guest into the state that it had before it was stopped. After a success, further
    /// calls do nothing.
    pub(super) fn resume(&mut self) -> Result<Standstill, QemuError> {
        let stop = match &self.state {
            State::Untouched => {
                return Ok(Standstill {
                    duration: None,
                    interference: None,
                });
            }
            State::Done(standstill) => return Ok(standstill.clone()),
            State::Stopping(stop) => stop.clone(),
        };
        let result = self.undo(&stop);
        match &result {
            Ok(standstill) => self.state = State::Done(standstill.clone()),
            // A second attempt waits for a shorter time.
            Err(_) => self.patience = AGAIN,
        }
        result
    }

    fn undo(&mut self, stop: &Stop) -> Result<Standstill, QemuError> {
        self.qmp.only_wait(self.patience);
        let looked = match &stop.status {
            Some(expected) => self.interference(expected),
            None => Ok(None),
        };
        let elsewhere = matches!(
            looked,
            Ok(Some(Interference::Resumed | Interference::Status(_)))
        );
        let interference = if stop.ours && !elsewhere {
            self.qmp.execute("cont", json!({}))?;
            looked.unwrap_or(None)
        } else {
            looked?
        };
        Ok(Standstill {
            duration: stop.ours.then(|| stop.since.elapsed()),
            interference,
        })
    }

    /// Resumes a guest that a killed dump left paused. Returns whether the guest was resumed.
    pub(super) fn resume_abandoned(&mut self) -> Result<bool, QemuError> {
        let before = self.status()?;
        match &*before.name {
            _ if before.running => return Ok(false),
            // The status of a running guest after `stop`.
            "paused" => {}
            _ => {
                return Err(QemuError::NotPaused {
                    status: before.name,
                });
            }
        }
        self.qmp.execute("cont", json!({}))?;
        let after = self.status()?;
        if !after.running {
            return Err(QemuError::NotResumed { status: after.name });
        }
        Ok(true)
    }

    /// Finds out what happened to the guest since it was stopped with the status `expected`.
    fn interference(&mut self, expected: &str) -> Result<Option<Interference>, QemuError> {
        let now = self.status()?;
        let events = self.qmp.take_events();
        let happened = |name: &str| events.iter().any(|event| event == name);
        Ok(if now.running || happened("RESUME") {
            Some(Interference::Resumed)
        } else if now.name != expected {
            Some(Interference::Status(now.name))
        } else {
            happened("RESET").then_some(Interference::Reset)
        })
    }

    fn status(&mut self) -> Result<Status, QemuError> {
        let value = self.qmp.execute("query-status", json!({}))?;
        let name = value.get("status").and_then(Value::as_str);
        let running = value.get("running").and_then(Value::as_bool);
        match (name, running) {
            (Some(name), Some(running)) => Ok(Status {
                name: name.to_owned(),
                running,
            }),
            _ => Err(answer("query-status", &value.to_string())),
        }
    }
}

/// Resumes a guest from another thread, for example one that waits for signals and is about to end
/// the process.
#[derive(Debug, Clone)]
pub struct Resumer {
    control: Arc<Mutex<Control>>,
}

impl Resumer {
    pub(super) fn new(control: Control) -> Self {
        Self {
            control: Arc::new(Mutex::new(control)),
        }
    }

    /// Puts the guest into the state that it had before it was stopped. After a success, further
    /// calls do nothing. A dump in progress continues to read, but it is worthless.
    ///
    /// # Errors
    ///
    /// Any [`QemuError`] of the connection. The guest may then stay paused, and QEMU's command
    /// `cont` resumes it.
    pub fn resume(&self) -> Result<Standstill, QemuError> {
        self.lock().resume()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! Stopping the guest, and letting it run again whatever happens.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::qemu::error::QemuError;
use crate::qemu::qmp::{Qmp, answer};

/// How long each command may take when the guest is resumed, and how long if
/// that failed before.
const FIRST: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_secs(1);

/// How the guest stood still for a dump.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Standstill {
    /// From before the command to stop until QEMU confirmed that the guest
    /// runs again; `None` if it stood still before and still does.
    pub duration: Option<Duration>,
    /// What somebody else did to the guest meanwhile. The dump may then be
    /// of more than one moment.
    pub interference: Option<Interference>,
}

/// What somebody else did to a guest while it was dumped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Interference {
    /// The guest was resumed.
    #[error("somebody else resumed the guest while it was dumped")]
    Resumed,
    /// The guest was reset.
    #[error("the guest was reset while it was dumped")]
    Reset,
    /// The guest is in another state than it was put into, and was left in
    /// it.
    #[error("the guest's status became '{0}' while it was dumped, and was left so")]
    Status(String),
}

/// The connection, and what must be undone.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) qmp: Qmp,
    state: State,
    /// How long a command may take that resumes the guest.
    patience: Duration,
}

#[derive(Debug)]
enum State {
    /// Nothing was done to the guest.
    Untouched,
    /// The guest was told to stop, or stands still already.
    Stopping(Stop),
    /// All is undone.
    Done(Standstill),
}

#[derive(Debug, Clone)]
struct Stop {
    since: Instant,
    /// Whether it is ours to resume the guest.
    ours: bool,
    /// QEMU's name for the status that the guest was left in; `None` as long
    /// as that is not known.
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

    /// Stops the guest. After an error too, it must be resumed.
    pub(super) fn stop(&mut self) -> Result<(), QemuError> {
        let before = self.status()?;
        let mut stop = Stop {
            since: Instant::now(),
            // A suspended guest stops too, with newer versions of QEMU.
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

    /// Puts the guest into the state that it was in; only the first call
    /// does anything, unless it failed.
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
            // Whoever tries again need not wait as long.
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

    /// Resumes a guest that a dump has left standing still. Gives whether it
    /// did.
    pub(super) fn resume_abandoned(&mut self) -> Result<bool, QemuError> {
        let before = self.status()?;
        match &*before.name {
            _ if before.running => return Ok(false),
            // What `stop` makes of a guest that runs.
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

    /// What happened to the guest since it was stopped with the status
    /// `expected`.
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

/// Resumes a guest from another thread, such as one that waits for signals
/// and is about to end the process.
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

    /// Puts the guest into the state that it was in before it was stopped;
    /// only the first call does anything, unless it failed. A dump that is
    /// under way goes on reading, and is worthless.
    ///
    /// # Errors
    ///
    /// Any [`QemuError`] of the connection; the guest may stand still then,
    /// and QEMU's command `cont` resumes it.
    pub fn resume(&self) -> Result<Standstill, QemuError> {
        self.lock().resume()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

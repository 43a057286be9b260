//! The messages of QMP, QEMU's machine protocol, that the dump commands need.
//! [`Display`](std::fmt::Display) of a message is its form on the wire: compact JSON in ASCII,
//! without a line break.
//!
//! Source: QEMU's `docs/interop/qmp-spec.rst`, `qapi/error.json` and `qapi/run-state.json`.

use std::fmt::{self, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::dump::DumpStatus;
use crate::qapi::format::DumpGuestMemoryCapability;
use crate::qapi::run_state::{GuestPanicAction, GuestPanicInformation};

/// A command of a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The command's name.
    pub execute: String,
    /// The command's arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Map<String, Value>>,
    /// A value of the client's choice that the reply repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Value>,
}

/// The outcome of a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The command's result.
    Return(Answer),
    /// The reason for which the command failed.
    Error(QmpError),
}

/// The result of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Answer {
    /// The result of `query-dump`.
    QueryDump(DumpQueryResult),
    /// The result of `query-dump-guest-memory-capability`.
    Capability(DumpGuestMemoryCapability),
    /// The empty result of `dump-guest-memory`.
    DumpGuestMemory {},
}

/// The reply to a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The outcome of the command.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The command's `id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Value>,
}

/// The error of a command, as a client receives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QmpError {
    /// The error's class.
    pub class: ErrorClass,
    /// A text for people.
    pub desc: String,
}

impl QmpError {
    /// Makes an error without a class of its own.
    #[must_use]
    pub fn generic(desc: impl Into<String>) -> Self {
        Self {
            class: ErrorClass::GenericError,
            desc: desc.into(),
        }
    }
}

/// The classes of errors: QEMU's `QapiErrorClass`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ErrorClass {
    /// An error without a class of its own.
    GenericError,
    /// The command is unknown.
    CommandNotFound,
    /// A device is not active.
    DeviceNotActive,
    /// The device does not exist.
    DeviceNotFound,
    /// KVM lacks a capability.
    KVMMissingCap,
}

/// The answer to `query-dump`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DumpQueryResult {
    /// The state of the last dump.
    pub status: DumpStatus,
    /// Number of bytes of guest memory that are done, before compression.
    pub completed: u64,
    /// Number of bytes of guest memory that the dump covers.
    pub total: u64,
}

/// The data of `DUMP_COMPLETED`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DumpCompleted {
    /// The dump's final state.
    #[serde(serialize_with = "total_first")]
    pub result: DumpQueryResult,
    /// The reason for which the dump failed, as a text for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Serializes the members in the order of the schema's example of the event. `query-dump` has
/// another order.
fn total_first<S: Serializer>(result: &DumpQueryResult, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct TotalFirst {
        total: u64,
        status: DumpStatus,
        completed: u64,
    }
    let &DumpQueryResult {
        status,
        completed,
        total,
    } = result;
    TotalFirst {
        total,
        status,
        completed,
    }
    .serialize(serializer)
}

/// The data of `GUEST_PANICKED` and `GUEST_CRASHLOADED`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestPanic {
    /// The action that was taken.
    pub action: GuestPanicAction,
    /// The crash data that the guest reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<GuestPanicInformation>,
}

/// QEMU's events that concern dumps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", content = "data", rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum Event {
    /// A dump has ended.
    DumpCompleted(DumpCompleted),
    /// The guest has panicked.
    GuestPanicked(GuestPanic),
    /// The guest has panicked, and its own crash kernel takes over.
    GuestCrashloaded(GuestPanic),
}

/// An event with its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventMessage {
    /// The event.
    #[serde(flatten)]
    pub event: Event,
    /// The time of the event.
    pub timestamp: Timestamp,
}

impl EventMessage {
    /// Makes a message for an event that happens now.
    #[must_use]
    pub fn now(event: Event) -> Self {
        Self {
            event,
            timestamp: Timestamp::now(),
        }
    }
}

/// A time since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timestamp {
    /// Whole seconds; -1 if the time is unknown.
    pub seconds: i64,
    /// Microseconds after the whole second; -1 if the time is unknown.
    pub microseconds: i64,
}

impl Timestamp {
    /// Returns the host's time.
    #[must_use]
    pub fn now() -> Self {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => Self {
                seconds: since.as_secs() as i64,
                microseconds: i64::from(since.subsec_micros()),
            },
            Err(_) => Self {
                seconds: -1,
                microseconds: -1,
            },
        }
    }
}

/// Displays the message as it goes over the wire, without a line break.
macro_rules! wire_form {
    ($($message:ty),*) => {$(
        impl fmt::Display for $message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_ascii(&serde_json::to_string(self).map_err(|_| fmt::Error)?, f)
            }
        }
    )*};
}
wire_form!(Command, Reply, EventMessage);

/// Escapes all characters beyond ASCII, because QMP servers write ASCII. In JSON, only strings
/// contain such characters.
fn write_ascii(json: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for c in json.chars() {
        if c.is_ascii() {
            f.write_char(c)?;
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(f, "\\u{unit:04x}")?;
            }
        }
    }
    Ok(())
}

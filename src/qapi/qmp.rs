//! The messages of QMP, QEMU's machine protocol, as far as the dump commands
//! need them. [`Display`](std::fmt::Display) of a message is its form on the
//! wire: compact JSON in ASCII, without a line break. Source: QEMU's `docs/interop/qmp-spec.rst`, `qapi/error.json`
//! and `qapi/run-state.json`.

use std::fmt::{self, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::dump::DumpStatus;
use crate::qapi::format::DumpGuestMemoryCapability;
use crate::qapi::run_state::{GuestPanicAction, GuestPanicInformation};

/// A command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The command's name.
    pub execute: String,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Map<String, Value>>,
    /// Whatever the client wants to find in the reply again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Value>,
}

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The command's result.
    Return(Answer),
    /// Why it failed.
    Error(QmpError),
}

/// The result of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Answer {
    /// Of `query-dump`.
    QueryDump(DumpQueryResult),
    /// Of `query-dump-guest-memory-capability`.
    Capability(DumpGuestMemoryCapability),
    /// Of `dump-guest-memory`, which has none.
    DumpGuestMemory {},
}

/// The reply to a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The command's `id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Value>,
}

/// Why a command failed, for a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QmpError {
    /// The kind.
    pub class: ErrorClass,
    /// A text for people.
    pub desc: String,
}

impl QmpError {
    /// An error without a class of its own.
    #[must_use]
    pub fn generic(desc: impl Into<String>) -> Self {
        Self {
            class: ErrorClass::GenericError,
            desc: desc.into(),
        }
    }
}

/// The kinds of errors: QEMU's `QapiErrorClass`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ErrorClass {
    /// All without a class of their own.
    GenericError,
    /// There is no such command.
    CommandNotFound,
    /// A device is not active.
    DeviceNotActive,
    /// There is no such device.
    DeviceNotFound,
    /// KVM lacks a capability.
    KVMMissingCap,
}

/// The answer to `query-dump`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DumpQueryResult {
    /// Where the last dump stands.
    pub status: DumpStatus,
    /// Bytes of guest memory that are dealt with, before compression.
    pub completed: u64,
    /// Bytes of guest memory that the dump covers.
    pub total: u64,
}

/// The data of `DUMP_COMPLETED`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DumpCompleted {
    /// How the dump ended.
    #[serde(serialize_with = "total_first")]
    pub result: DumpQueryResult,
    /// Why it failed; a text for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The order of the members in the schema's example of the event, which is
/// not that of `query-dump`.
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
    /// What was done about it.
    pub action: GuestPanicAction,
    /// What the guest said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<GuestPanicInformation>,
}

/// The events of QEMU's that concern dumps.
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
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
    /// When.
    pub timestamp: Timestamp,
}

impl EventMessage {
    /// An event that happens now.
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
    /// Whole seconds; -1 if the time is not known.
    pub seconds: i64,
    /// Microseconds besides; -1 if the time is not known.
    pub microseconds: i64,
}

impl Timestamp {
    /// The host's time.
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

/// The message as it goes over the wire, without a line break.
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

/// QMP servers write ASCII. In JSON, other characters are in strings alone.
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

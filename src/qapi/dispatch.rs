//! The dump commands, with JSON as input and output.

use std::os::fd::OwnedFd;

use serde_json::{Map, Value};

use crate::fault::error_chain;
use crate::qapi::arguments::DumpGuestMemoryArguments;
use crate::qapi::error::{ArgumentsError, CommandError};
use crate::qapi::format::DumpGuestMemoryCapability;
use crate::qapi::qmp::{Answer, Command, ErrorClass, Outcome, QmpError, Reply};
use crate::qapi::service::{DumpService, Guest};

const DUMP: &str = "dump-guest-memory";
const QUERY: &str = "query-dump";
const CAPABILITY: &str = "query-dump-guest-memory-capability";

impl<G: Guest> DumpService<G> {
    /// The names of the commands that [`execute`](Self::execute) knows.
    pub const COMMANDS: [&str; 3] = [DUMP, QUERY, CAPABILITY];

    /// Executes one command, given as JSON text. Returns the reply as JSON text without a line
    /// break. A dump that is not detached returns only at its end.
    ///
    /// For `fd:NAME`, `fds` returns the file descriptor with this name. The VMM does the greeting
    /// and the capability negotiation.
    pub fn dispatch(&self, command: &str, fds: impl FnOnce(&str) -> Option<OwnedFd>) -> String {
        match parse(command) {
            Ok(command) => self.execute(command, fds),
            Err(reply) => reply,
        }
        .to_string()
    }

    /// Executes one command and returns the reply, both as parsed messages. See
    /// [`dispatch`](Self::dispatch).
    pub fn execute(&self, command: Command, fds: impl FnOnce(&str) -> Option<OwnedFd>) -> Reply {
        let arguments = command.arguments.unwrap_or_default();
        let result = match command.execute.as_str() {
            DUMP => DumpGuestMemoryArguments::from_members(arguments)
                .map_err(CommandError::from)
                .and_then(|arguments| self.dump_guest_memory(&arguments, fds))
                .map_err(|error| QmpError::generic(error_chain(&error)))
                .map(|_| Answer::DumpGuestMemory {}),
            QUERY => no_arguments(&arguments).map(|()| Answer::QueryDump(self.query_dump())),
            CAPABILITY => no_arguments(&arguments)
                .map(|()| Answer::Capability(DumpGuestMemoryCapability::available(self.machine()))),
            other => Err(QmpError {
                class: ErrorClass::CommandNotFound,
                desc: format!("there is no command '{other}' among those for dumps"),
            }),
        };
        Reply {
            outcome: match result {
                Ok(value) => Outcome::Return(value),
                Err(error) => Outcome::Error(error),
            },
            id: command.id,
        }
    }
}

/// Parses the command, or returns the reply that refuses it.
fn parse(command: &str) -> Result<Command, Reply> {
    let refuse = |desc: String, id| Reply {
        outcome: Outcome::Error(QmpError::generic(desc)),
        id,
    };
    let value: Value = serde_json::from_str(command)
        .map_err(|error| refuse(format!("the command is not JSON: {error}"), None))?;
    let id = value.get("id").cloned();
    serde_json::from_value(value)
        .map_err(|error| refuse(format!("this is not a command: {error}"), id))
}

fn no_arguments(arguments: &Map<String, Value>) -> Result<(), QmpError> {
    match arguments.keys().next() {
        Some(name) => {
            let error = ArgumentsError::Unexpected(name.clone());
            Err(QmpError::generic(error.to_string()))
        }
        None => Ok(()),
    }
}

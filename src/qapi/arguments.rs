//! The arguments of `dump-guest-memory`: their JSON, and QEMU's rules for them.
//!
//! Source: QEMU's `qapi/dump.json` and the command in `dump/dump.c`.

use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::arch::Machine;
use crate::dump::Format;
use crate::dump::{Busy, DumpStatus};
use crate::qapi::error::{ArgumentsError, Parameter};
use crate::qapi::format::{DumpGuestMemoryFormat, FormatName};
use crate::qapi::run_state::RunState;

/// The arguments of `dump-guest-memory`, as a client writes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DumpGuestMemoryArguments {
    /// Whether the dump contains guest-virtual addresses, by the guest's page tables.
    pub paging: bool,
    /// The dump's target: `file:PATH` or `fd:NAME`.
    pub protocol: String,
    /// Whether the command returns at once. By default it waits for the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detach: Option<bool>,
    /// The guest-physical address at which the dump begins, in bytes. It goes with `length`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begin: Option<i64>,
    /// The length of guest-physical memory that the dump covers, in bytes. It goes with `begin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<i64>,
    /// The format; ELF by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<FormatName>,
}

/// The facts besides the arguments that decide whether a dump may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Circumstances {
    /// The guest's state.
    pub run_state: RunState,
    /// The state of the last dump.
    pub status: DumpStatus,
    /// Whether the guest is being migrated away or saved.
    pub migrating: bool,
    /// The guest's architecture.
    pub machine: Machine,
    /// The rules that apply.
    pub rules: Rules,
}

/// The rules that apply where this crate can do more than QEMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Rules {
    /// This crate's rules: every format accepts `begin` and `length`, and this crate's own formats
    /// are accepted.
    #[default]
    Extended,
    /// QEMU's rules: only ELF accepts `begin` and `length`, and only the names of QEMU's schema are
    /// formats.
    Qemu,
}

/// The target that `protocol` names.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// A file by path.
    File(PathBuf),
    /// A file descriptor that the client has passed under this name.
    Fd(String),
}

/// The dump that the arguments request. They have passed every rule that can be checked before the
/// target is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DumpRequest {
    /// Whether the dump contains guest-virtual addresses.
    pub paging: bool,
    /// The dump's target.
    pub protocol: Protocol,
    /// Whether the command returns before the dump ends.
    pub detach: bool,
    /// The guest-physical address and the length of the dumped memory, in bytes; `None` for all
    /// memory.
    pub filter: Option<(u64, u64)>,
    /// The dump's format.
    pub format: Format,
}

impl DumpGuestMemoryArguments {
    /// Parses the arguments from the members of a JSON object. The checks are those of QEMU's
    /// schema.
    ///
    /// # Errors
    ///
    /// - [`ArgumentsError::Missing`]: `paging` or `protocol` is absent;
    /// - [`ArgumentsError::WrongType`]: a member has another type; `null` differs from an absent
    ///   member;
    /// - [`ArgumentsError::UnknownFormat`]: `format` is not the name of a format;
    /// - [`ArgumentsError::Unexpected`]: there are other members.
    pub fn from_members(mut members: Map<String, Value>) -> Result<Self, ArgumentsError> {
        use Parameter::{Begin, Detach, Length, Paging, Protocol};
        let arguments = Self {
            paging: required(&mut members, Paging)?,
            protocol: required(&mut members, Protocol)?,
            detach: optional(&mut members, Detach)?,
            begin: optional(&mut members, Begin)?,
            length: optional(&mut members, Length)?,
            format: optional::<String>(&mut members, Parameter::Format)?
                .map(|name| name.parse().map_err(ArgumentsError::UnknownFormat))
                .transpose()?,
        };
        match members.into_iter().next() {
            Some((name, _)) => Err(ArgumentsError::Unexpected(name)),
            None => Ok(arguments),
        }
    }

    /// Checks QEMU's rules, in QEMU's order.
    ///
    /// # Errors
    ///
    /// - [`ArgumentsError::IncomingMigration`], [`ArgumentsError::Busy`];
    /// - [`ArgumentsError::PagingNeedsElf`], and by [`Rules::Qemu`]
    ///   [`ArgumentsError::FilterNeedsElf`];
    /// - [`ArgumentsError::LengthMissing`], [`ArgumentsError::BeginMissing`];
    /// - [`ArgumentsError::FormatUnavailable`],
    ///   [`ArgumentsError::WinDmpUnavailable`], and by [`Rules::Qemu`]
    ///   [`ArgumentsError::UnknownFormat`];
    /// - [`ArgumentsError::Protocol`];
    /// - [`ArgumentsError::Migrating`];
    /// - [`ArgumentsError::LengthZero`], [`ArgumentsError::Negative`].
    ///
    /// [`DumpService`](crate::qapi::DumpService) checks the rules that need the target or the
    /// guest's memory map.
    pub fn check(&self, circumstances: &Circumstances) -> Result<DumpRequest, ArgumentsError> {
        let &Circumstances {
            run_state,
            status,
            migrating,
            machine,
            rules,
        } = circumstances;
        if !run_state.allows_dump() {
            return Err(ArgumentsError::IncomingMigration);
        }
        if status == DumpStatus::Active {
            return Err(ArgumentsError::Busy(Busy));
        }
        let name = self.format.unwrap_or(DumpGuestMemoryFormat::Elf.into());
        if name != DumpGuestMemoryFormat::Elf.into() {
            if self.paging {
                return Err(ArgumentsError::PagingNeedsElf { format: name });
            }
            if rules == Rules::Qemu && (self.begin.is_some() || self.length.is_some()) {
                return Err(ArgumentsError::FilterNeedsElf { format: name });
            }
        }
        let filter = match (self.begin, self.length) {
            (Some(begin), Some(length)) => Some((begin, length)),
            (Some(_), None) => return Err(ArgumentsError::LengthMissing),
            (None, Some(_)) => return Err(ArgumentsError::BeginMissing),
            (None, None) => None,
        };
        let format = available(name, machine, rules)?;
        let protocol = self.protocol.parse()?;
        if migrating {
            return Err(ArgumentsError::Migrating);
        }
        Ok(DumpRequest {
            paging: self.paging,
            protocol,
            detach: self.detach.unwrap_or(false),
            filter: filter.map(positive).transpose()?,
            format,
        })
    }
}

impl std::str::FromStr for Protocol {
    type Err = ArgumentsError;

    fn from_str(s: &str) -> Result<Self, ArgumentsError> {
        if let Some(name) = s.strip_prefix("fd:") {
            return Ok(Self::Fd(name.into()));
        }
        match s.strip_prefix("file:") {
            Some(path) => Ok(Self::File(path.into())),
            None => Err(ArgumentsError::Protocol(s.into())),
        }
    }
}

fn available(name: FormatName, machine: Machine, rules: Rules) -> Result<Format, ArgumentsError> {
    if rules == Rules::Qemu && matches!(name, FormatName::Extension(_)) {
        let name = name.name().to_owned();
        return Err(ArgumentsError::UnknownFormat(crate::dump::UnknownFormat(
            name,
        )));
    }
    let format = name.format();
    if !format.is_for(machine) {
        return Err(ArgumentsError::WinDmpUnavailable { format, machine });
    }
    match format.codec() {
        Some(codec) if !codec.is_available() => Err(ArgumentsError::FormatUnavailable {
            format,
            feature: codec.feature(),
        }),
        _ => Ok(format),
    }
}

fn positive((begin, length): (i64, i64)) -> Result<(u64, u64), ArgumentsError> {
    if length == 0 {
        return Err(ArgumentsError::LengthZero);
    }
    let unsigned = |parameter, value: i64| {
        u64::try_from(value).map_err(|_| ArgumentsError::Negative { parameter, value })
    };
    Ok((
        unsigned(Parameter::Begin, begin)?,
        unsigned(Parameter::Length, length)?,
    ))
}

fn required<T: DeserializeOwned>(
    members: &mut Map<String, Value>,
    parameter: Parameter,
) -> Result<T, ArgumentsError> {
    optional(members, parameter)?.ok_or(ArgumentsError::Missing(parameter))
}

fn optional<T: DeserializeOwned>(
    members: &mut Map<String, Value>,
    parameter: Parameter,
) -> Result<Option<T>, ArgumentsError> {
    members
        .remove(parameter.name())
        .map(|value| {
            serde_json::from_value(value).map_err(|_| ArgumentsError::WrongType(parameter))
        })
        .transpose()
}

//! Errors of commands.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::arch::Machine;
use crate::dump::Busy;
use crate::dump::{Format, NotInFormat, UnknownFormat};
use crate::qapi::format::FormatName;

/// A parameter of `dump-guest-memory`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Parameter {
    /// `paging`
    Paging,
    /// `protocol`
    Protocol,
    /// `detach`
    Detach,
    /// `begin`
    Begin,
    /// `length`
    Length,
    /// `format`
    Format,
}

impl Parameter {
    /// Returns the parameter's name in the schema.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Paging => "paging",
            Self::Protocol => "protocol",
            Self::Detach => "detach",
            Self::Begin => "begin",
            Self::Length => "length",
            Self::Format => "format",
        }
    }

    /// Describes a valid value for messages.
    const fn expected(self) -> &'static str {
        match self {
            Self::Paging | Self::Detach => "true or false",
            Self::Begin | Self::Length => "an integer, in bytes",
            Self::Protocol => "a string, file:PATH or fd:NAME",
            Self::Format => "a string, the name of a format",
        }
    }
}

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A rule of `dump-guest-memory` that its arguments break. `docs/qapi.md` lists QEMU's message for
/// each.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArgumentsError {
    /// The format does not have an option that the arguments ask for.
    #[error(transparent)]
    NotInFormat(#[from] NotInFormat),
    /// A parameter without a default is absent.
    #[error("parameter '{0}' is missing: {what}", what = .0.expected())]
    Missing(Parameter),
    /// A parameter has the wrong type.
    #[error("parameter '{0}' must be {what}", what = .0.expected())]
    WrongType(Parameter),
    /// A parameter is unknown.
    #[error("there is no parameter '{0}'")]
    Unexpected(String),
    /// The format is unknown.
    #[error("parameter 'format' is wrong: {0}; query-dump-guest-memory-capability lists them")]
    UnknownFormat(UnknownFormat),

    /// The guest's incoming migration has not ended.
    #[error("the guest is being migrated to here; dump it when that has ended")]
    IncomingMigration,
    /// A dump is active already.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// Only ELF accepts `paging`.
    #[error("{format} has no virtual addresses; paging is for the format elf")]
    PagingNeedsElf {
        /// The requested format.
        format: FormatName,
    },
    /// Only ELF accepts `begin` and `length`, by QEMU's rules.
    #[error("{format} is for all of guest memory; begin and length are for the format elf")]
    FilterNeedsElf {
        /// The requested format.
        format: FormatName,
    },
    /// There is `begin` but no `length`.
    #[error("parameter 'length' is missing: begin and length go together")]
    LengthMissing,
    /// There is `length` but no `begin`.
    #[error("parameter 'begin' is missing: begin and length go together")]
    BeginMissing,
    /// The format's codec is not part of this build.
    #[error("{format} is not part of this build; it was built without the feature '{feature}'")]
    FormatUnavailable {
        /// The requested format.
        format: Format,
        /// The crate feature that has the codec.
        feature: &'static str,
    },
    /// The format is a Windows dump, and the guest is not x86.
    #[error("{format} is for x86 guests, and this is a {machine} guest; use elf or a kdump format")]
    WinDmpUnavailable {
        /// The requested format.
        format: Format,
        /// The guest's architecture.
        machine: Machine,
    },
    /// `protocol` is neither `file:` nor `fd:`.
    #[error("parameter 'protocol' is '{0}'; it must begin with 'file:' or 'fd:'")]
    Protocol(String),
    /// No file descriptor was passed under this name.
    #[error("there is no file descriptor named '{0}'; hand it over first")]
    UnknownFd(String),
    /// The target cannot be opened.
    #[error("cannot write to {target}")]
    Open {
        /// The path, or `fd:NAME`.
        target: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The format needs a file that can be written at any position.
    #[error(
        "{format} needs an empty regular file, and the target is a stream; use {instead} instead"
    )]
    NotSeekable {
        /// The requested format.
        format: Format,
        /// The flattened format with the same contents.
        instead: Format,
    },
    /// The guest is being migrated away or saved.
    #[error("the guest is being migrated or saved; dump it when that has ended")]
    Migrating,
    /// `length` is 0.
    #[error("parameter 'length' is 0; give the number of bytes to dump")]
    LengthZero,
    /// `begin` or `length` is below 0.
    #[error("parameter '{parameter}' is {value}; addresses and lengths are not negative")]
    Negative {
        /// The parameter.
        parameter: Parameter,
        /// The parameter's value.
        value: i64,
    },
    /// The guest has no memory, or none within `begin` and `length`.
    #[error("there is no guest memory to dump; give a begin and length inside the guest's RAM")]
    NoMemory,
}

/// The reason for which a command fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The arguments or the guest's state do not allow a dump. Nothing was done, except that the
    /// guest may have been paused for the check.
    #[error(transparent)]
    Arguments(#[from] ArgumentsError),
    /// The guest cannot be paused.
    #[error("the guest cannot be paused")]
    Pause(#[source] io::Error),
    /// The paused guest's memory or registers are not available.
    #[error("the guest's memory or registers are not available")]
    Guest(#[source] io::Error),
    /// The dump failed. A detached dump does not return this.
    #[error(transparent)]
    Dump(#[from] crate::dump::Error),
}

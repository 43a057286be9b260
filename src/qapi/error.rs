//! Why a command is refused or fails.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::arch::Machine;
use crate::dump::Busy;
use crate::dump::{Format, UnknownFormat};
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
    /// The name in the schema.
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

    /// What a value of it is.
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

/// A rule of `dump-guest-memory` that its arguments break. `docs/qapi.md`
/// has the table of QEMU's messages that these stand for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArgumentsError {
    /// A parameter without a default is absent.
    #[error("parameter '{0}' is missing: {what}", what = .0.expected())]
    Missing(Parameter),
    /// A parameter has another type.
    #[error("parameter '{0}' must be {what}", what = .0.expected())]
    WrongType(Parameter),
    /// There is no such parameter.
    #[error("there is no parameter '{0}'")]
    Unexpected(String),
    /// There is no such format.
    #[error("parameter 'format' is wrong: {0}; query-dump-guest-memory-capability lists them")]
    UnknownFormat(UnknownFormat),

    /// The guest is still on its way here.
    #[error("the guest is being migrated to here; dump it when that has ended")]
    IncomingMigration,
    /// A dump is active already.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// `paging` is for ELF alone.
    #[error("{format} has no virtual addresses; paging is for the format elf")]
    PagingNeedsElf {
        /// The format asked for.
        format: FormatName,
    },
    /// `begin` and `length` are for ELF alone, by QEMU's rules.
    #[error("{format} is for all of guest memory; begin and length are for the format elf")]
    FilterNeedsElf {
        /// The format asked for.
        format: FormatName,
    },
    /// `begin` without `length`.
    #[error("parameter 'length' is missing: begin and length go together")]
    LengthMissing,
    /// `length` without `begin`.
    #[error("parameter 'begin' is missing: begin and length go together")]
    BeginMissing,
    /// The format's codec is not part of this build.
    #[error("{format} is not part of this build; it was built without the feature '{feature}'")]
    FormatUnavailable {
        /// The format asked for.
        format: Format,
        /// The crate feature that has the codec.
        feature: &'static str,
    },
    /// A Windows dump cannot be written of this guest.
    #[error("{format} is for x86 guests, and this is a {machine} guest; use elf or a kdump format")]
    WinDmpUnavailable {
        /// The format asked for.
        format: Format,
        /// The guest's architecture.
        machine: Machine,
    },
    /// `protocol` is neither `file:` nor `fd:`.
    #[error("parameter 'protocol' is '{0}'; it must begin with 'file:' or 'fd:'")]
    Protocol(String),
    /// No file descriptor was handed over under this name.
    #[error("there is no file descriptor named '{0}'; hand it over first")]
    UnknownFd(String),
    /// The target cannot be opened.
    #[error("cannot write to {target}")]
    Open {
        /// The path, or `fd:NAME`.
        target: PathBuf,
        /// What the system reported.
        source: io::Error,
    },
    /// The format needs a file that can be written at any position.
    #[error(
        "{format} needs an empty regular file, and the target is a stream; use {instead} instead"
    )]
    NotSeekable {
        /// The format asked for.
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
        /// Its value.
        value: i64,
    },
    /// The guest has no memory, or none where `begin` and `length` say.
    #[error("there is no guest memory to dump; give a begin and length inside the guest's RAM")]
    NoMemory,
}

/// Why a command fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The arguments, or the guest's state, do not allow a dump: nothing was
    /// done, and the guest was not paused for longer than it took to see that.
    #[error(transparent)]
    Arguments(#[from] ArgumentsError),
    /// The guest cannot be paused.
    #[error("the guest cannot be paused")]
    Pause(#[source] io::Error),
    /// The paused guest cannot be looked at.
    #[error("the guest's memory or registers are not available")]
    Guest(#[source] io::Error),
    /// The dump failed. Not for a detached one.
    #[error(transparent)]
    Dump(#[from] crate::dump::Error),
}

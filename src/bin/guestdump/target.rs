//! Opens the target of a dump, with checks for terminal users on top of the library's sinks.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, IsTerminal};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};

use guestdump::guest::windows::WinDmpError;
use guestdump::sink::{FileSinkOptions, Target};
use guestdump::{DumpSink, Error, Fault, Refusal};
use rustix::fs::OFlags;

use crate::closed;
use crate::paths::Shown;
use crate::report::{Failure, Result, chain, human};

/// A target's name in messages.
pub(crate) struct Name<'a>(pub(crate) &'a Target);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Target::File(path) => Shown(path).fmt(f),
            Target::Fd(number) => write!(f, "fd:{number}"),
            Target::Stdout => f.write_str("standard output"),
            other => write!(f, "{other:?}"),
        }
    }
}

/// Whether the dump goes to standard output.
pub(crate) fn is_stdout(target: &Target) -> bool {
    matches!(target, Target::Stdout | Target::Fd(1))
}

/// Opens `target`. A terminal is refused, because a dump there is useless.
pub(crate) fn open(target: &Target, options: FileSinkOptions) -> Result<Box<dyn DumpSink>> {
    if is_terminal(target) {
        return Err(Failure::new(format!(
            "{} is a terminal, and a dump is not text; redirect it or name a file",
            Name(target)
        )));
    }
    target.open(options).map_err(|error| {
        if error.kind() == io::ErrorKind::AlreadyExists {
            return already_there(target);
        }
        Failure::new(format!("cannot write {}: {}", Name(target), chain(&error)))
    })
}

/// Returns the failure of a dump to `target`. A file of that name may have appeared meanwhile.
pub(crate) fn failure(target: &Target, error: Error) -> Failure {
    match error {
        Error::Finish(e) if e.kind() == io::ErrorKind::AlreadyExists => already_there(target),
        Error::Refused(Refusal::WinDmp(WinDmpError::Damaged(_))) => Failure::new(format!(
            "{}: pass --windows-header FILE, or --windows-damaged, or --format elf",
            chain(&error)
        )),
        Error::Refused(Refusal::WinDmp(ref e)) if e.wants_header() => Failure::new(format!(
            "{}: pass it with --windows-header FILE",
            chain(&error)
        )),
        Error::Incomplete { .. } => {
            Failure::new(format!("{} is kept: {}", Name(target), chain(&error))).kept()
        }
        error @ (Error::Finish(_) | Error::Failed(Fault::Write { .. })) => {
            Failure::because(Name(target), &error)
        }
        error => Failure::new(chain(&error)),
    }
}

/// Returns the failure of a target that did not accept the dump after `written`
/// bytes. `keep` tells whether an incomplete dump was asked for, and is possible.
pub(crate) fn not_written(target: &Target, fault: &Fault, written: u64, keep: Keep) -> Failure {
    let name = Name(target);
    let cause = chain(fault);
    let written = human(written);
    if !matches!(target, Target::File(_)) {
        return Failure::new(format!("{name}: {cause}; {written} were written"));
    }
    let way_out = match keep {
        Keep::Asked => "too little for --keep-partial to keep",
        Keep::Possible => "--keep-partial keeps them as an incomplete dump",
        Keep::Impossible => {
            "make space, or name a target elsewhere; kdump-raw formats can be kept incomplete with --keep-partial"
        }
    };
    Failure::new(format!(
        "{name}: {cause}; {written} were written and are removed; {way_out}"
    ))
}

/// Whether a dump that fails is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Keep {
    Asked,
    Possible,
    Impossible,
}

/// Refuses output to a standard descriptor that is closed ([`closed`]).
pub(crate) fn refuse_closed(target: &Target) -> Result<()> {
    let is_closed = match target {
        Target::Stdout | Target::Fd(1) => closed::is_closed(io::stdout()),
        Target::Fd(0) => closed::is_closed(io::stdin()),
        Target::Fd(2) => closed::is_closed(io::stderr()),
        _ => false,
    };
    if is_closed {
        return Err(Failure::new(closed::message(Name(target))));
    }
    Ok(())
}

fn already_there(target: &Target) -> Failure {
    Failure::new(format!(
        "{} exists already; name another file or give --force to replace it",
        Name(target)
    ))
}

fn is_terminal(target: &Target) -> bool {
    match target {
        Target::Stdout | Target::Fd(1) => io::stdout().is_terminal(),
        Target::Fd(0) => io::stdin().is_terminal(),
        Target::Fd(2) => io::stderr().is_terminal(),
        Target::Fd(number) => is_terminal_device(&format!("/proc/self/fd/{number}")),
        _ => false,
    }
}

/// Whether `path` is a terminal. This opens only character devices, because opening a pipe would
/// wait for its other end.
fn is_terminal_device(path: &str) -> bool {
    let device = std::fs::metadata(path).is_ok_and(|m| m.file_type().is_char_device());
    let flags = OFlags::NOCTTY | OFlags::NONBLOCK;
    device
        && OpenOptions::new()
            .write(true)
            .custom_flags(flags.bits() as i32)
            .open(path)
            .is_ok_and(|file| file.is_terminal())
}

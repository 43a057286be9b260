//! Names of sinks, as users and QMP clients write them.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::host::raw_fd::duplicate;
use crate::sink::{DumpSink, FdSink, FileSink, FileSinkOptions};

/// The name of a sink. `file:PATH` and `fd:N` are as in the argument `protocol` of QEMU's
/// `dump-guest-memory`; `-` is standard output; anything else is a path.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// A file by path.
    File(PathBuf),
    /// An open file descriptor of this process by number.
    Fd(RawFd),
    /// Standard output.
    Stdout,
}

/// The reason for which a target's name is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// The name is empty.
    #[error("the target is empty; name a path, file:PATH, fd:N or -")]
    Empty,
    /// The text after `fd:` is not the number of a file descriptor.
    #[error("'fd:{0}' does not name a file descriptor; write a number, as in fd:3")]
    BadFd(String),
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(s: &str) -> Result<Self, TargetError> {
        if s == "-" {
            return Ok(Self::Stdout);
        }
        if let Some(number) = s.strip_prefix("fd:") {
            return match number.parse() {
                Ok(fd) if fd >= 0 => Ok(Self::Fd(fd)),
                _ => Err(TargetError::BadFd(number.to_owned())),
            };
        }
        let path = s.strip_prefix("file:").unwrap_or(s);
        if path.is_empty() {
            return Err(TargetError::Empty);
        }
        Ok(Self::File(path.into()))
    }
}

/// Names are bytes, because paths need not be UTF-8.
impl TryFrom<&OsStr> for Target {
    type Error = TargetError;

    fn try_from(name: &OsStr) -> Result<Self, TargetError> {
        if let Some(text) = name.to_str() {
            return text.parse();
        }
        let bytes = name.as_bytes();
        if let Some(number) = bytes.strip_prefix(b"fd:") {
            let number = String::from_utf8_lossy(number);
            return Err(TargetError::BadFd(number.into_owned()));
        }
        let path = bytes.strip_prefix(b"file:").unwrap_or(bytes);
        Ok(Self::File(OsStr::from_bytes(path).into()))
    }
}

impl Target {
    /// Opens the sink. For a descriptor, only [`sync`](FileSinkOptions::sync) and
    /// [`nocache`](FileSinkOptions::nocache) of `options` apply.
    ///
    /// # Errors
    ///
    /// As [`FileSink::create`], [`FdSink::new`] and [`FdSink::sync`]. A descriptor that is
    /// not open gives the system's `EBADF`.
    pub fn open(&self, options: FileSinkOptions) -> io::Result<Box<dyn DumpSink>> {
        let fd = match self {
            Self::File(path) => return Ok(Box::new(FileSink::create(path, options)?)),
            Self::Fd(number) => duplicate(*number)?,
            Self::Stdout => io::stdout().as_fd().try_clone_to_owned()?,
        };
        let sink = FdSink::new(fd)?.nocache(options.nocache);
        Ok(Box::new(sink.sync(options.sync)?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_those_of_qemu_and_a_plain_path() {
        let parse = |s: &str| s.parse::<Target>();
        assert_eq!(parse("-"), Ok(Target::Stdout));
        assert_eq!(parse("fd:7"), Ok(Target::Fd(7)));
        assert_eq!(parse("file:a b"), Ok(Target::File("a b".into())));
        assert_eq!(parse("file:-"), Ok(Target::File("-".into())));
        assert_eq!(parse("dir/x"), Ok(Target::File("dir/x".into())));
        assert_eq!(parse(""), Err(TargetError::Empty));
        assert_eq!(parse("file:"), Err(TargetError::Empty));
        for bad in ["fd:", "fd:x", "fd:-1", "fd:99999999999"] {
            assert!(matches!(parse(bad), Err(TargetError::BadFd(_))), "{bad}");
        }
    }

    #[test]
    fn a_path_need_not_be_utf_8() {
        let parse = |name: &[u8]| Target::try_from(OsStr::from_bytes(name));
        let file = |path: &[u8]| Ok(Target::File(OsStr::from_bytes(path).into()));
        assert_eq!(parse(b"dump\xff"), file(b"dump\xff"));
        assert_eq!(parse(b"file:\xff"), file(b"\xff"));
        assert_eq!(parse(b"fd:7"), Ok(Target::Fd(7)));
        assert!(matches!(parse(b"fd:\xff"), Err(TargetError::BadFd(_))));
    }

    #[test]
    fn a_closed_descriptor_is_an_error() {
        let error = Target::Fd(987_654)
            .open(FileSinkOptions::default())
            .err()
            .unwrap();
        assert_eq!(error.raw_os_error(), Some(9));
    }
}

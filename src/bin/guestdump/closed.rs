//! Standard descriptors that are closed.
//!
//! Before `main`, Rust's standard library opens `/dev/null` for reading and
//! writing in place of a standard descriptor that is closed
//! (`library/std/src/sys/pal/unix/mod.rs`, `sanitize_standard_fds`). A shell's
//! `> /dev/null` opens it for writing only. A parent may have opened
//! `/dev/null` both ways on purpose, as Python's `DEVNULL` does; nothing tells
//! these cases apart after the start, and lost output must not look written.

use std::fmt::Display;
use std::os::fd::AsFd;

use rustix::fs::{FileType, OFlags};

/// Whether a standard descriptor is closed, or is `/dev/null` opened both ways.
pub(crate) fn is_closed(fd: impl AsFd) -> bool {
    let is_null = || {
        let (found, null) = (
            rustix::fs::fstat(&fd).ok()?,
            rustix::fs::stat("/dev/null").ok()?,
        );
        Some(
            FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice
                && found.st_rdev == null.st_rdev,
        )
    };
    let flags = rustix::fs::fcntl_getfl(&fd);
    flags.is_ok_and(|flags| flags & OFlags::RWMODE == OFlags::RDWR) && is_null() == Some(true)
}

/// Says that the descriptor `name` is closed, and what to do.
pub(crate) fn message(name: impl Display) -> String {
    format!(
        "{name} is closed, or it is /dev/null opened for reading too; to throw the output away, redirect {name} with > /dev/null"
    )
}

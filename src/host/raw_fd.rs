//! File descriptors by number: the one place that takes them on trust.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

/// A descriptor of our own for whatever `number` is open on.
pub(crate) fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: `number` is not -1. The borrow lasts for one fcntl(2), which
    // gives EBADF if the number is not open; nothing is closed, and no
    // memory depends on what the number refers to.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    borrowed.try_clone_to_owned()
}

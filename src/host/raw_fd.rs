//! File descriptors that are given by number. This is the crate's only `unsafe` code.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

/// Duplicates the file descriptor `number`.
///
/// # Errors
///
/// If the number is negative, or no file is open under it.
pub(crate) fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: `number` is not -1. The borrow lasts for one fcntl(2), which
    // gives EBADF if the number is not open. Nothing is closed, and no
    // memory depends on the file that the number refers to.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    borrowed.try_clone_to_owned()
}

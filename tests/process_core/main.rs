//! Guest memory in core files of the process that ran the guest.
#![cfg(all(feature = "demo", feature = "zlib"))]
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod extract;
mod find;
mod hostile;
#[cfg(feature = "cli")]
mod qemu;

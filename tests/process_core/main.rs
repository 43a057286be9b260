//! Guest memory in core files of the process that ran the guest.
#![cfg(all(feature = "demo", feature = "zlib"))]
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod core_file;
mod extract;
mod find;
mod hostile;
#[cfg(feature = "cli")]
mod qemu;
#[cfg(feature = "cli")]
#[allow(dead_code)]
#[path = "../qemu/real.rs"]
mod real;
#[cfg(feature = "cli")]
#[allow(dead_code)]
#[path = "../cli/support.rs"]
mod support;

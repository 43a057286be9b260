//! Guests under QEMU: against a server that only plays QEMU, and against the
//! real one.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod fake;
mod fake_tests;
mod map_tests;
mod real_tests;
mod vmcoreinfo_tests;

//! The command `guestdump`, run as its users run it.
#![cfg(all(feature = "cli", feature = "zlib"))]
#![allow(clippy::unwrap_used)]

mod dump;
mod files;
mod raw;
mod signals;
mod support;
mod targets;
mod usage;
#[path = "../support/windows.rs"]
mod windows;

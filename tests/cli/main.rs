//! The command `guestdump`, run as its users run it.
#![cfg(all(feature = "cli", feature = "zlib"))]
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../process_core/core_file.rs"]
mod core_file;
mod dmesg;
mod dump;
mod files;
mod levels;
mod paging;
mod process_core;
mod raw;
mod signals;
mod support;
mod targets;
mod usage;
#[path = "../support/windows.rs"]
mod windows;
mod windows_guest;

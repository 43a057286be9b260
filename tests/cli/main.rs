//! The command `guestdump`, run as its users run it.
#![cfg(all(feature = "cli", feature = "zlib"))]
#![allow(clippy::unwrap_used)]

mod compressed;
mod dmesg;
mod dump;
mod files;
mod kinds;
mod levels;
mod map_cmd;
mod old_kernel;
mod paging;
mod parts;
mod process_core;
mod raw;
mod raw_layout;
mod same_file;
mod signals;
mod targets;
mod usage;
mod windows_guest;

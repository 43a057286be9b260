//! The command `guestdump`, run as its users run it.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used)]

mod dump;
mod raw;
mod signals;
mod support;
mod targets;
mod usage;

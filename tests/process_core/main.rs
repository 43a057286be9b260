//! Guest memory in core files of the process that ran the guest.
#![cfg(all(feature = "demo", feature = "zlib"))]
#![allow(clippy::unwrap_used)]

mod core_file;
mod extract;
mod find;
mod hostile;

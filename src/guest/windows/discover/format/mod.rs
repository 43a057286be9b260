//! Structures of a Windows kernel in memory: its image's headers, KDBG, and the
//! page that it shares with all processes. All fields are little-endian.
//!
//! If the layout of a structure changes between Windows versions, KDBG gives
//! the offsets at which it is read.
#![forbid(unsafe_code)]

mod kdbg;
pub(crate) mod low_stub;
pub(crate) mod pe;
mod shared;

pub(crate) use kdbg::{KDBG_SIZES, KDBG_TAG, Kdbg, ListEntry, ListEntry32};
pub(crate) use shared::{KUSER_SHARED_DATA_32, KUSER_SHARED_DATA_64, SharedData};

//! What is read of a 64-bit Windows kernel in memory: its image's headers,
//! KDBG, and the page that it shares with all processes. All fields are
//! little-endian.
//!
//! Every structure whose layout changes between Windows versions is read at
//! offsets that KDBG gives.
#![forbid(unsafe_code)]

mod kdbg;
mod pe;
mod shared;

pub(crate) use kdbg::{KDBG_SIZES, KDBG_TAG, Kdbg, ListEntry};
pub(crate) use pe::{
    CODEVIEW, CodeView, DebugDirectory, DosHeader, ExportDirectory, IMAGE_DIRECTORY_DEBUG,
    IMAGE_DIRECTORY_EXPORT, MACHINE_AMD64, MZ, NtHeaders, PE_SIGNATURE, PE32_PLUS, RSDS,
};
pub(crate) use shared::{KUSER_SHARED_DATA, SharedData};

//! Guests, files and peers that lie, and what they cost: bytes that are read
//! and memory that is used, counted. Page tables have such tests in `paging`
//! and `paging_bounded`, the discovery of Windows in `windmp`.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)]

mod elf;
mod flattened;
mod kdump;
mod meter;
mod process_core;
#[cfg(feature = "qemu")]
mod qmp;
mod scan;
#[cfg(feature = "cli")]
mod text;
mod vmcoreinfo;

//! The bodies of the fuzz targets: functions of an input that panic where a
//! promise does not hold. The fuzz targets call them, and so does
//! `tests/fuzz/main.rs` with the seeds, which includes this file.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

pub mod allocator;
mod any_guest;
pub mod dumps;
pub mod headers;
pub mod linux;
pub mod map;
pub mod notes;
pub mod page_tables;
pub mod process_core;
pub mod qemu;
pub mod qmp;
mod ram;
pub mod round_trip;
pub mod vmcoreinfo;
pub mod windows_guest;

/// What looks at an input.
type Body = fn(&[u8]);

/// All targets by name.
pub const TARGETS: &[(&str, Body)] = &[
    ("elf", dumps::elf),
    ("kdump", dumps::kdump),
    ("flattened", dumps::flattened),
    ("windmp", dumps::windmp),
    ("notes", notes::notes),
    ("vmcoreinfo", vmcoreinfo::text),
    ("map", map::map),
    ("qmp", qmp::qmp),
    ("qemu", qemu::qemu),
    ("process_core", process_core::process_core),
    ("page_tables", page_tables::page_tables),
    ("windows_guest", windows_guest::windows_guest),
    ("vmcoreinfo_scan", vmcoreinfo::scan),
    ("round_trip", round_trip::round_trip),
    ("linux_log", linux::log),
    ("linux_pages", linux::pages),
    ("headers", headers::headers),
];

/// Has the target `name` look at `input`.
///
/// # Panics
///
/// If a promise does not hold, or there is no such target.
pub fn run(name: &str, input: &[u8]) {
    let (_, body) = TARGETS.iter().find(|(n, _)| *n == name).unwrap();
    body(input);
}

//! Helpers that tests, fuzz targets and benchmarks of guestdump share. docs/testing.md
//! lists them by need.

pub mod core_file;
pub mod elf;
pub mod kdump;
pub mod options;
pub mod page_cache;
pub mod peak;
pub mod pieces;
pub mod qemu;
#[path = "../../../src/testing/random.rs"]
pub mod random;
pub mod swap;
pub mod windows;

mod command;
mod disk;
mod memory;
mod parts;
mod sink;

pub use command::{Folder, Run, VMCOREINFO, names};
pub use disk::Disk;
pub use memory::{PAGE, Page, PageMemory, range, slice_memory, slices};
pub use parts::{LAYOUTS, LE64, LE64_ABI, TEXT, content, encodings, linux_formats, notes};
pub use random::Random;
pub use sink::{FaultySink, Nowhere, SinkFault};

use std::fs::File;
use std::io::Write;

use guestdump::read::{Vmcore, VmcoreError};
use guestdump::sink::BufferSink;
use guestdump::{DumpOptions, GuestMemory, Summary, dump};

/// A temporary file that contains `bytes`.
pub fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// Writes `bytes` to a file and opens it as a dump.
#[track_caller]
pub fn open(bytes: &[u8]) -> Vmcore {
    try_open(bytes).unwrap()
}

/// Writes `bytes` to a file and opens it, if it is a dump.
pub fn try_open(bytes: &[u8]) -> Result<Vmcore, VmcoreError> {
    Vmcore::open(file(bytes))
}

/// Dumps `memory` into a buffer and returns it with the summary.
#[track_caller]
pub fn to_buffer(memory: &dyn GuestMemory, options: &DumpOptions) -> (Vec<u8>, Summary) {
    let mut sink = BufferSink::new();
    let summary = dump(memory, &mut sink, options).unwrap();
    (sink.into_bytes(), summary)
}

/// Returns the bytes of a dump of `memory`.
#[track_caller]
pub fn written(memory: &dyn GuestMemory, options: &DumpOptions) -> Vec<u8> {
    to_buffer(memory, options).0
}

//! Helpers that unit tests of several rooms share. Other tests have `tests/kit`.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, unreachable_pub)]
mod random;

use crate::abi::{Abi, Utsname};
use crate::kdump::flattened::FlattenedWriter;
use crate::kdump::{MainHeader, SubHeader};
use crate::memory::MemoryRange;

pub(crate) use random::Random;

/// `size` bytes from `start` on.
pub(crate) fn range(start: u64, size: u64) -> MemoryRange {
    MemoryRange::new(start, size).unwrap()
}

/// The main header of a kdump that names `machine`: 100 page frames of 4 KiB.
pub(crate) fn main_header(machine: &str) -> MainHeader {
    MainHeader {
        header_version: 6,
        utsname: Utsname {
            machine: Utsname::field(machine),
            ..Utsname::default()
        },
        timestamp_sec: 0,
        timestamp_usec: 0,
        status: 1,
        block_size: 4096,
        sub_hdr_size: 1,
        bitmap_blocks: 2,
        max_mapnr: 100,
        total_ram_blocks: 0,
        device_blocks: 0,
        written_blocks: 0,
        current_cpu: 0,
        nr_cpus: 1,
    }
}

/// The bytes of a kdump's two headers, with blocks of 4 KiB.
pub(crate) fn kdump_headers(abi: Abi, main: &MainHeader, sub: &SubHeader) -> Vec<u8> {
    let mut bytes = Vec::new();
    main.encode(abi.encoding(), &mut bytes).unwrap();
    bytes.resize(4096, 0);
    sub.encode(abi, &mut bytes).unwrap();
    bytes
}

/// A file in the flattened format that contains `records`.
pub(crate) fn flattened(records: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut writer = FlattenedWriter::begin(Vec::new()).unwrap();
    for (offset, bytes) in records {
        writer.write_at(*offset, bytes).unwrap();
    }
    writer.finish().unwrap()
}

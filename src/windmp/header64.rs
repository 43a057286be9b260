//! `DUMP_HEADER64`: the first 8 KiB of a 64-bit dump.
//!
//! Sources: windows-docs-rs `DUMP_HEADER64` and `EXCEPTION_RECORD64`, whose names are used here;
//! kdmp-parser `structs.rs` (MIT) for the padding that those omit; volatility3
//! `symbols/windows/crash64.json` for offsets.
//!
//! Readers: WinDbg, volatility3, LeechCore; see docs/readers.md.
#![forbid(unsafe_code)]

use std::mem::{offset_of, size_of};

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Runs that fit into the 700 bytes of `PhysicalMemoryBlockBuffer`
/// (`DMP_PHYSICAL_MEMORY_BLOCK_SIZE_64`): (700 - 16) / 16.
pub(crate) const MAX_RUNS_64: usize = 42;

/// `DUMP_HEADER64`. Times are in units of 100 ns, `system_time` since 1601.
#[derive(Debug, Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(dead_code)] // The layout has all fields; their names are Windows's.
pub(crate) struct DumpHeader64 {
    pub(crate) signature: [u8; 4],
    pub(crate) valid_dump: [u8; 4],
    pub(crate) major_version: U32,
    pub(crate) minor_version: U32,
    pub(crate) directory_table_base: U64,
    pub(crate) pfn_database: U64,
    pub(crate) ps_loaded_module_list: U64,
    pub(crate) ps_active_process_head: U64,
    pub(crate) machine_image_type: U32,
    pub(crate) number_processors: U32,
    pub(crate) bug_check_code: U32,
    pub(crate) padding1: U32,
    pub(crate) bug_check_parameters: [U64; 4],
    pub(crate) version_user: [u8; 32],
    pub(crate) kd_debugger_data_block: U64,
    pub(crate) physical_memory_block: MemoryDescriptor64,
    /// The rest of `PhysicalMemoryBlockBuffer`, and padding.
    pub(crate) padding2: [u8; 16],
    /// A [`Context64`](crate::windmp::Context64), and room behind it.
    pub(crate) context_record: [u8; 3000],
    pub(crate) exception: ExceptionRecord64,
    pub(crate) dump_type: U32,
    pub(crate) padding3: U32,
    /// The length of the dump in bytes.
    pub(crate) required_dump_space: U64,
    pub(crate) system_time: U64,
    pub(crate) comment: [u8; 128],
    pub(crate) system_up_time: U64,
    pub(crate) mini_dump_fields: U32,
    pub(crate) secondary_data_state: U32,
    pub(crate) product_type: U32,
    pub(crate) suite_mask: U32,
    pub(crate) writer_status: U32,
    pub(crate) unused1: u8,
    pub(crate) kd_secondary_version: u8,
    pub(crate) unused2: [u8; 2],
    pub(crate) attributes: U32,
    pub(crate) boot_id: U32,
    pub(crate) reserved0: [u8; 4008],
}

/// `PHYSICAL_MEMORY_DESCRIPTOR64`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(dead_code)]
pub(crate) struct MemoryDescriptor64 {
    pub(crate) number_of_runs: U32,
    pub(crate) padding: U32,
    pub(crate) number_of_pages: U64,
    pub(crate) runs: [Run64; MAX_RUNS_64],
}

/// `PHYSICAL_MEMORY_RUN64`: page frame number and pages.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(dead_code)]
pub(crate) struct Run64 {
    pub(crate) base_page: U64,
    pub(crate) page_count: U64,
}

/// `EXCEPTION_RECORD64`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(dead_code)]
pub(crate) struct ExceptionRecord64 {
    pub(crate) exception_code: U32,
    pub(crate) exception_flags: U32,
    pub(crate) exception_record: U64,
    pub(crate) exception_address: U64,
    pub(crate) number_parameters: U32,
    pub(crate) padding: U32,
    pub(crate) exception_information: [U64; 15],
}

const _: () = assert!(offset_of!(DumpHeader64, directory_table_base) == 0x10);
const _: () = assert!(offset_of!(DumpHeader64, pfn_database) == 0x18);
const _: () = assert!(offset_of!(DumpHeader64, ps_loaded_module_list) == 0x20);
const _: () = assert!(offset_of!(DumpHeader64, ps_active_process_head) == 0x28);
const _: () = assert!(offset_of!(DumpHeader64, machine_image_type) == 0x30);
const _: () = assert!(offset_of!(DumpHeader64, number_processors) == 0x34);
const _: () = assert!(offset_of!(DumpHeader64, bug_check_code) == 0x38);
const _: () = assert!(offset_of!(DumpHeader64, bug_check_parameters) == 0x40);
const _: () = assert!(offset_of!(DumpHeader64, version_user) == 0x60);
const _: () = assert!(offset_of!(DumpHeader64, kd_debugger_data_block) == 0x80);
const _: () = assert!(offset_of!(DumpHeader64, physical_memory_block) == 0x88);
const _: () = assert!(offset_of!(MemoryDescriptor64, number_of_pages) == 8);
const _: () = assert!(offset_of!(MemoryDescriptor64, runs) == 16);
const _: () = assert!(offset_of!(DumpHeader64, context_record) == 0x348);
const _: () = assert!(offset_of!(DumpHeader64, exception) == 0xf00);
const _: () = assert!(offset_of!(ExceptionRecord64, exception_address) == 0x10);
const _: () = assert!(offset_of!(ExceptionRecord64, exception_information) == 0x20);
const _: () = assert!(size_of::<ExceptionRecord64>() == 152);
const _: () = assert!(offset_of!(DumpHeader64, dump_type) == 0xf98);
const _: () = assert!(offset_of!(DumpHeader64, required_dump_space) == 0xfa0);
const _: () = assert!(offset_of!(DumpHeader64, system_time) == 0xfa8);
const _: () = assert!(offset_of!(DumpHeader64, comment) == 0xfb0);
const _: () = assert!(offset_of!(DumpHeader64, system_up_time) == 0x1030);
const _: () = assert!(offset_of!(DumpHeader64, mini_dump_fields) == 0x1038);
const _: () = assert!(offset_of!(DumpHeader64, secondary_data_state) == 0x103c);
const _: () = assert!(offset_of!(DumpHeader64, product_type) == 0x1040);
const _: () = assert!(offset_of!(DumpHeader64, suite_mask) == 0x1044);
const _: () = assert!(offset_of!(DumpHeader64, writer_status) == 0x1048);
const _: () = assert!(offset_of!(DumpHeader64, kd_secondary_version) == 0x104d);
const _: () = assert!(offset_of!(DumpHeader64, attributes) == 0x1050);
const _: () = assert!(offset_of!(DumpHeader64, boot_id) == 0x1054);
const _: () = assert!(size_of::<DumpHeader64>() == DumpHeader64::SIZE);

impl DumpHeader64 {
    /// The length of the header in bytes.
    pub(crate) const SIZE: usize = 0x2000;
}

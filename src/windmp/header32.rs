//! `DUMP_HEADER32`: the first 4 KiB of a 32-bit dump, of a guest with or without PAE.
//!
//! Sources: windows-docs-rs `DUMP_HEADER32` and `EXCEPTION_RECORD32`, whose names are used here;
//! volatility3 `symbols/windows/crash.json` for offsets.
//!
//! Readers: WinDbg, volatility3, LeechCore; see docs/readers.md.
#![forbid(unsafe_code)]

use std::mem::{offset_of, size_of};

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Runs that fit into the 700 bytes of `PhysicalMemoryBlockBuffer`
/// (`DMP_PHYSICAL_MEMORY_BLOCK_SIZE_32`): (700 - 8) / 8.
pub(crate) const MAX_RUNS_32: usize = 86;

/// `DUMP_HEADER32`. Times are in units of 100 ns, `system_time` since 1601.
#[derive(Debug, Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(dead_code)] // The layout has all fields; their names are Windows's.
pub(crate) struct DumpHeader32 {
    pub(crate) signature: [u8; 4],
    pub(crate) valid_dump: [u8; 4],
    pub(crate) major_version: U32,
    pub(crate) minor_version: U32,
    pub(crate) directory_table_base: U32,
    pub(crate) pfn_database: U32,
    pub(crate) ps_loaded_module_list: U32,
    pub(crate) ps_active_process_head: U32,
    pub(crate) machine_image_type: U32,
    pub(crate) number_processors: U32,
    pub(crate) bug_check_code: U32,
    pub(crate) bug_check_parameters: [U32; 4],
    pub(crate) version_user: [u8; 32],
    /// 1 if the guest has physical address extension.
    pub(crate) pae_enabled: u8,
    pub(crate) kd_secondary_version: u8,
    pub(crate) spare3: [u8; 2],
    pub(crate) kd_debugger_data_block: U32,
    pub(crate) physical_memory_block: MemoryDescriptor32,
    /// The rest of `PhysicalMemoryBlockBuffer`.
    pub(crate) padding: [u8; 4],
    /// A [`Context32`](crate::windmp::Context32), and room behind it.
    pub(crate) context_record: [u8; 1200],
    pub(crate) exception: ExceptionRecord32,
    pub(crate) comment: [u8; 128],
    pub(crate) attributes: U32,
    pub(crate) boot_id: U32,
    pub(crate) reserved0: [u8; 1760],
    pub(crate) dump_type: U32,
    pub(crate) mini_dump_fields: U32,
    pub(crate) secondary_data_state: U32,
    pub(crate) product_type: U32,
    pub(crate) suite_mask: U32,
    pub(crate) writer_status: U32,
    /// The length of the dump in bytes.
    pub(crate) required_dump_space: U64,
    pub(crate) reserved2: [u8; 16],
    pub(crate) system_up_time: U64,
    pub(crate) system_time: U64,
    pub(crate) reserved3: [u8; 56],
}

/// `PHYSICAL_MEMORY_DESCRIPTOR32`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(dead_code)]
pub(crate) struct MemoryDescriptor32 {
    pub(crate) number_of_runs: U32,
    pub(crate) number_of_pages: U32,
    pub(crate) runs: [Run32; MAX_RUNS_32],
}

/// `PHYSICAL_MEMORY_RUN32`: page frame number and pages.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(dead_code)]
pub(crate) struct Run32 {
    pub(crate) base_page: U32,
    pub(crate) page_count: U32,
}

/// `EXCEPTION_RECORD32`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(dead_code)]
pub(crate) struct ExceptionRecord32 {
    pub(crate) exception_code: U32,
    pub(crate) exception_flags: U32,
    pub(crate) exception_record: U32,
    pub(crate) exception_address: U32,
    pub(crate) number_parameters: U32,
    pub(crate) exception_information: [U32; 15],
}

const _: () = assert!(offset_of!(DumpHeader32, directory_table_base) == 0x10);
const _: () = assert!(offset_of!(DumpHeader32, pfn_database) == 0x14);
const _: () = assert!(offset_of!(DumpHeader32, ps_loaded_module_list) == 0x18);
const _: () = assert!(offset_of!(DumpHeader32, ps_active_process_head) == 0x1c);
const _: () = assert!(offset_of!(DumpHeader32, machine_image_type) == 0x20);
const _: () = assert!(offset_of!(DumpHeader32, number_processors) == 0x24);
const _: () = assert!(offset_of!(DumpHeader32, bug_check_code) == 0x28);
const _: () = assert!(offset_of!(DumpHeader32, bug_check_parameters) == 0x2c);
const _: () = assert!(offset_of!(DumpHeader32, version_user) == 0x3c);
const _: () = assert!(offset_of!(DumpHeader32, pae_enabled) == 0x5c);
const _: () = assert!(offset_of!(DumpHeader32, kd_secondary_version) == 0x5d);
const _: () = assert!(offset_of!(DumpHeader32, kd_debugger_data_block) == 0x60);
const _: () = assert!(offset_of!(DumpHeader32, physical_memory_block) == 0x64);
const _: () = assert!(offset_of!(MemoryDescriptor32, runs) == 8);
const _: () = assert!(offset_of!(DumpHeader32, context_record) == 0x320);
const _: () = assert!(offset_of!(DumpHeader32, exception) == 0x7d0);
const _: () = assert!(offset_of!(ExceptionRecord32, exception_information) == 0x14);
const _: () = assert!(size_of::<ExceptionRecord32>() == 80);
const _: () = assert!(offset_of!(DumpHeader32, comment) == 0x820);
const _: () = assert!(offset_of!(DumpHeader32, attributes) == 0x8a0);
const _: () = assert!(offset_of!(DumpHeader32, dump_type) == 0xf88);
const _: () = assert!(offset_of!(DumpHeader32, mini_dump_fields) == 0xf8c);
const _: () = assert!(offset_of!(DumpHeader32, secondary_data_state) == 0xf90);
const _: () = assert!(offset_of!(DumpHeader32, product_type) == 0xf94);
const _: () = assert!(offset_of!(DumpHeader32, suite_mask) == 0xf98);
const _: () = assert!(offset_of!(DumpHeader32, writer_status) == 0xf9c);
const _: () = assert!(offset_of!(DumpHeader32, required_dump_space) == 0xfa0);
const _: () = assert!(offset_of!(DumpHeader32, system_up_time) == 0xfb8);
const _: () = assert!(offset_of!(DumpHeader32, system_time) == 0xfc0);
const _: () = assert!(size_of::<DumpHeader32>() == DumpHeader32::SIZE);

impl DumpHeader32 {
    /// The length of the header in bytes.
    pub(crate) const SIZE: usize = 0x1000;
}

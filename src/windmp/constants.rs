//! Numbers of Windows kernel dumps.
//!
//! Sources: windows-docs-rs and volatility3 `symbols/windows/crash_common.json`; kdmp-parser-rs 0.8.1
//! `structs.rs` for the types from 8 on.
#![forbid(unsafe_code)]

/// `Signature` of both headers.
pub const SIGNATURE: [u8; 4] = *b"PAGE";
/// `ValidDump` of a 32-bit header, and of a bitmap's header.
pub const VALID_DUMP_32: [u8; 4] = *b"DUMP";
/// `ValidDump` of a 64-bit header.
pub const VALID_DUMP_64: [u8; 4] = *b"DU64";

/// `DumpType` of a dump with all pages of the runs in its header.
pub const DUMP_TYPE_FULL: u32 = 1;
/// `DumpType` of a dump with the pages in its bitmap.
pub const DUMP_TYPE_BITMAP_FULL: u32 = 5;
/// `DumpType` of a dump with the pages in its bitmap, which are the kernel's.
pub const DUMP_TYPE_BITMAP_KERNEL: u32 = 6;
/// `DumpType` of a dump with the kernel's pages, in a list of ranges (`.dump /k`).
pub const DUMP_TYPE_KERNEL_MEMORY: u32 = 8;
/// `DumpType` of a dump with the pages of kernel and user, in a list of ranges (`.dump /ka`).
pub const DUMP_TYPE_KERNEL_AND_USER_MEMORY: u32 = 9;
/// `DumpType` of a dump with all pages, in a list of ranges (`.dump /f`).
pub const DUMP_TYPE_COMPLETE_MEMORY: u32 = 10;

/// `MachineImageType`: x86 of 32 bits.
pub const IMAGE_FILE_MACHINE_I386: u32 = 0x014c;
/// `MachineImageType`: x86 of 64 bits.
pub const IMAGE_FILE_MACHINE_AMD64: u32 = 0x8664;

/// `MachineImageType`: 64-bit Arm. Dumps of it are read, not written.
pub const IMAGE_FILE_MACHINE_ARM64: u32 = 0xaa64;

/// `BugCheckCode` of a guest that has not crashed.
pub const LIVE_SYSTEM_DUMP: u32 = 0x161;
/// The word that fills a header before Windows sets its fields: `PAGE`.
pub const FILLER: u32 = u32::from_le_bytes(SIGNATURE);
/// The page size of Windows on x86, in bytes.
pub const PAGE_SIZE: u64 = 4096;

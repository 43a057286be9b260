//! The bytes of Windows kernel dumps: the two headers, the page bitmap's
//! header, and the CPU contexts. All fields are little-endian.
//!
//! Sources: windows-docs-rs `DUMP_HEADER32`, `DUMP_HEADER64`,
//! `EXCEPTION_RECORD32`, `EXCEPTION_RECORD64` (their names are used here);
//! kdmp-parser `structs.rs` (MIT) for the padding that those leave out, and
//! for the bitmap's header; volatility3 `symbols/windows/crash.json`,
//! `crash64.json`, `crash_common.json` for offsets; QEMU
//! `include/qemu/win_dump_defs.h` for the contexts.
#![forbid(unsafe_code)]

/// `Signature` of both headers.
pub const SIGNATURE: [u8; 4] = *b"PAGE";
/// `ValidDump` of a 32-bit header, and of a bitmap's header.
pub const VALID_DUMP_32: [u8; 4] = *b"DUMP";
/// `ValidDump` of a 64-bit header.
pub const VALID_DUMP_64: [u8; 4] = *b"DU64";

/// `DumpType` of a dump with all memory of the runs in the header.
pub const DUMP_TYPE_FULL: u32 = 1;
/// `DumpType` of a dump with the pages of a bitmap.
pub const DUMP_TYPE_BITMAP_FULL: u32 = 5;
/// `DumpType` of a dump with a bitmap that has the kernel's pages.
pub const DUMP_TYPE_BITMAP_KERNEL: u32 = 6;

/// `MachineImageType`: x86 of 32 bits.
pub const IMAGE_FILE_MACHINE_I386: u32 = 0x014c;
/// `MachineImageType`: x86 of 64 bits.
pub const IMAGE_FILE_MACHINE_AMD64: u32 = 0x8664;

/// `BugCheckCode` of a guest that has not crashed.
pub const LIVE_SYSTEM_DUMP: u32 = 0x161;
/// What Windows fills a header with before it sets its fields.
pub const FILLER: u32 = u32::from_le_bytes(SIGNATURE);
/// Bytes in a page, of all that Windows runs on x86.
pub const PAGE_SIZE: u64 = 4096;

//! KDBG: `KDDEBUGGER_DATA64`, the kernel's list of data for debuggers.
//!
//! A 32-bit kernel has the same block with words of 64 bits and uses their
//! lower halves. Only its list's links are 32-bit ones, and both are in the
//! first word.
//!
//! Sources:
//!
//! - names: windows-docs-rs `KDDEBUGGER_DATA64`;
//! - offsets: volatility `overlays/windows/kdbg_vtypes.py`;
//! - sizes, and the second word of 32-bit lists, which is 0: the signatures in
//!   volatility's profiles.
//!
//! QEMU `dump/win_dump-x86.c` and ReactOS `ntoskrnl/kd64/kddata.c`, `kdinit.c`
//! have the same offsets and links for 32-bit kernels.

use std::mem::{offset_of, size_of};
use std::ops::RangeInclusive;

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `OwnerTag` of the block.
pub(crate) const KDBG_TAG: [u8; 4] = *b"KDBG";

/// Sizes that a block may have, in bytes. Windows XP has 0x290, Server 2003
/// 0x318, Windows 7 0x340, the latest 0x3a0. The range leaves room for more.
pub(crate) const KDBG_SIZES: RangeInclusive<u32> = 0x290..=0x800;

/// `LIST_ENTRY32`: guest-virtual addresses of the neighbours in the list.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct ListEntry32 {
    pub(crate) flink: U32,
    pub(crate) blink: U32,
}

/// `LIST_ENTRY64`: guest-virtual addresses of the neighbours in the list.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct ListEntry {
    pub(crate) flink: U64,
    pub(crate) blink: U64,
}

impl From<ListEntry32> for ListEntry {
    fn from(narrow: ListEntry32) -> Self {
        Self {
            flink: u64::from(narrow.flink.get()).into(),
            blink: u64::from(narrow.blink.get()).into(),
        }
    }
}

/// The used fields of `KDDEBUGGER_DATA64`. All addresses are guest-virtual.
#[derive(Debug, Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Kdbg {
    pub(crate) list: ListEntry,
    pub(crate) owner_tag: [u8; 4],
    /// Size of the whole block in bytes.
    pub(crate) size: U32,
    pub(crate) kern_base: U64,
    pub(crate) reserved1: [U64; 5],
    pub(crate) ps_loaded_module_list: U64,
    pub(crate) ps_active_process_head: U64,
    pub(crate) reserved2: [U64; 6],
    /// Address of the code and the four parameters, five words.
    pub(crate) ki_bugcheck_data: U64,
    pub(crate) reserved3: [U64; 6],
    pub(crate) mm_pfn_database: U64,
    pub(crate) reserved4: [U64; 42],
    /// Address of an array with a pointer to each CPU's `KPRCB`.
    pub(crate) ki_processor_block: U64,
    pub(crate) reserved5: [U64; 10],
    /// Address of a pointer to the `PHYSICAL_MEMORY_DESCRIPTOR`.
    pub(crate) mm_physical_memory_block: U64,
    pub(crate) reserved6: [U16; 27],
    pub(crate) offset_eprocess_directory_table_base: U16,
    pub(crate) size_prcb: U16,
    pub(crate) reserved7: [U16; 5],
    /// Offset of a `CONTEXT` in the `KPRCB`.
    pub(crate) offset_prcb_proc_state_context: U16,
    pub(crate) offset_prcb_number: U16,
    pub(crate) reserved8: [U16; 60],
    /// Offset, in the `KPRCB`, of the pointer to the CPU's `CONTEXT`. Windows 7
    /// and later have it.
    pub(crate) offset_prcb_context: U16,
    pub(crate) reserved9: [U16; 3],
}

const _: () = assert!(offset_of!(Kdbg, owner_tag) == 0x10);
const _: () = assert!(offset_of!(Kdbg, size) == 0x14);
const _: () = assert!(offset_of!(Kdbg, kern_base) == 0x18);
const _: () = assert!(offset_of!(Kdbg, ps_loaded_module_list) == 0x48);
const _: () = assert!(offset_of!(Kdbg, ps_active_process_head) == 0x50);
const _: () = assert!(offset_of!(Kdbg, ki_bugcheck_data) == 0x88);
const _: () = assert!(offset_of!(Kdbg, mm_pfn_database) == 0xc0);
const _: () = assert!(offset_of!(Kdbg, ki_processor_block) == 0x218);
const _: () = assert!(offset_of!(Kdbg, mm_physical_memory_block) == 0x270);
const _: () = assert!(offset_of!(Kdbg, offset_eprocess_directory_table_base) == 0x2ae);
const _: () = assert!(offset_of!(Kdbg, size_prcb) == 0x2b0);
const _: () = assert!(offset_of!(Kdbg, offset_prcb_proc_state_context) == 0x2bc);
const _: () = assert!(offset_of!(Kdbg, offset_prcb_number) == 0x2be);
const _: () = assert!(offset_of!(Kdbg, offset_prcb_context) == 0x338);
const _: () = assert!(size_of::<Kdbg>() == 0x340);

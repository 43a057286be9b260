//! `CONTEXT`: the registers of one CPU, as Windows keeps them.
//!
//! Sources: `CONTEXT` of `winnt.h` for x86 and x86_64, whose offsets
//! vergiliusproject.com lists (`_CONTEXT`); QEMU
//! `include/qemu/win_dump_defs.h` (`WinContext32`, `WinContext64`, `WIN_CTX_*`);
//! `XMM_SAVE_AREA32` is the processor's FXSAVE area.
#![forbid(unsafe_code)]

use std::mem::{offset_of, size_of};

use zerocopy::byteorder::little_endian::{U16, U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `ContextFlags` of every 32-bit context.
pub const CONTEXT_I386: u32 = 0x0001_0000;
/// `ContextFlags` of every 64-bit context.
pub const CONTEXT_AMD64: u32 = 0x0010_0000;
/// `ContextFlags`: CS, EIP, SS, ESP, EBP and flags are valid.
pub const CONTEXT_CONTROL: u32 = 1;
/// `ContextFlags`: the general registers are valid.
pub const CONTEXT_INTEGER: u32 = 2;
/// `ContextFlags`: DS, ES, FS and GS are valid.
pub const CONTEXT_SEGMENTS: u32 = 4;
/// `ContextFlags`: floating point and XMM registers are valid.
pub const CONTEXT_FLOATING_POINT: u32 = 8;
/// `ContextFlags`: the debug registers are valid.
pub const CONTEXT_DEBUG_REGISTERS: u32 = 0x10;
/// `ContextFlags` of a 32-bit context: the FXSAVE area is valid.
pub const CONTEXT_EXTENDED_REGISTERS: u32 = 0x20;

/// `CONTEXT` of x86_64.
#[derive(Debug, Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(dead_code)] // The layout has all fields; their names are Windows's.
pub(crate) struct Context64 {
    pub(crate) home: [U64; 6],
    pub(crate) context_flags: U32,
    pub(crate) mx_csr: U32,
    pub(crate) seg_cs: U16,
    pub(crate) seg_ds: U16,
    pub(crate) seg_es: U16,
    pub(crate) seg_fs: U16,
    pub(crate) seg_gs: U16,
    pub(crate) seg_ss: U16,
    pub(crate) eflags: U32,
    /// DR0 to DR3, DR6, DR7.
    pub(crate) debug: [U64; 6],
    pub(crate) rax: U64,
    pub(crate) rcx: U64,
    pub(crate) rdx: U64,
    pub(crate) rbx: U64,
    pub(crate) rsp: U64,
    pub(crate) rbp: U64,
    pub(crate) rsi: U64,
    pub(crate) rdi: U64,
    /// R8 to R15.
    pub(crate) r8_to_r15: [U64; 8],
    pub(crate) rip: U64,
    pub(crate) flt_save: Fxsave,
    pub(crate) vector_register: [U128; 26],
    pub(crate) vector_control: U64,
    pub(crate) debug_control: U64,
    pub(crate) last_branch_to_rip: U64,
    pub(crate) last_branch_from_rip: U64,
    pub(crate) last_exception_to_rip: U64,
    pub(crate) last_exception_from_rip: U64,
}

/// `CONTEXT` of x86 of 32 bits.
#[derive(Debug, Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(dead_code)]
pub(crate) struct Context32 {
    pub(crate) context_flags: U32,
    /// DR0 to DR3, DR6, DR7.
    pub(crate) debug: [U32; 6],
    pub(crate) float_save: FloatingSave32,
    pub(crate) seg_gs: U32,
    pub(crate) seg_fs: U32,
    pub(crate) seg_es: U32,
    pub(crate) seg_ds: U32,
    pub(crate) edi: U32,
    pub(crate) esi: U32,
    pub(crate) ebx: U32,
    pub(crate) edx: U32,
    pub(crate) ecx: U32,
    pub(crate) eax: U32,
    pub(crate) ebp: U32,
    pub(crate) eip: U32,
    pub(crate) seg_cs: U32,
    pub(crate) eflags: U32,
    pub(crate) esp: U32,
    pub(crate) seg_ss: U32,
    pub(crate) extended_registers: Fxsave,
}

/// `FLOATING_SAVE_AREA`.
#[derive(Debug, Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(dead_code)]
pub(crate) struct FloatingSave32 {
    pub(crate) control_word: U32,
    pub(crate) status_word: U32,
    pub(crate) tag_word: U32,
    pub(crate) error_offset: U32,
    pub(crate) error_selector: U32,
    pub(crate) data_offset: U32,
    pub(crate) data_selector: U32,
    pub(crate) register_area: [u8; 80],
    pub(crate) spare0: U32,
}

/// `XMM_SAVE_AREA32`.
#[derive(Debug, Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(dead_code)]
pub(crate) struct Fxsave {
    pub(crate) control_word: U16,
    pub(crate) status_word: U16,
    pub(crate) tag_word: u8,
    pub(crate) reserved1: u8,
    pub(crate) error_opcode: U16,
    pub(crate) error_offset: U32,
    pub(crate) error_selector: U16,
    pub(crate) reserved2: U16,
    pub(crate) data_offset: U32,
    pub(crate) data_selector: U16,
    pub(crate) reserved3: U16,
    pub(crate) mx_csr: U32,
    pub(crate) mx_csr_mask: U32,
    pub(crate) float_registers: [U128; 8],
    /// In a 32-bit context only the first eight are used.
    pub(crate) xmm_registers: [U128; 16],
    pub(crate) reserved4: [u8; 96],
}

const _: () = assert!(offset_of!(Context64, context_flags) == 0x30);
const _: () = assert!(offset_of!(Context64, seg_cs) == 0x38);
const _: () = assert!(offset_of!(Context64, seg_ss) == 0x42);
const _: () = assert!(offset_of!(Context64, eflags) == 0x44);
const _: () = assert!(offset_of!(Context64, debug) == 0x48);
const _: () = assert!(offset_of!(Context64, rax) == 0x78);
const _: () = assert!(offset_of!(Context64, rbx) == 0x90);
const _: () = assert!(offset_of!(Context64, rsp) == 0x98);
const _: () = assert!(offset_of!(Context64, rdi) == 0xb0);
const _: () = assert!(offset_of!(Context64, r8_to_r15) == 0xb8);
const _: () = assert!(offset_of!(Context64, rip) == 0xf8);
const _: () = assert!(offset_of!(Context64, flt_save) == 0x100);
const _: () = assert!(offset_of!(Fxsave, mx_csr) == 0x18);
const _: () = assert!(offset_of!(Fxsave, float_registers) == 0x20);
const _: () = assert!(offset_of!(Fxsave, xmm_registers) == 0xa0);
const _: () = assert!(size_of::<Fxsave>() == 512);
const _: () = assert!(offset_of!(Context64, vector_register) == 0x300);
const _: () = assert!(offset_of!(Context64, vector_control) == 0x4a0);
const _: () = assert!(size_of::<Context64>() == Context64::SIZE);
const _: () = assert!(offset_of!(Context32, float_save) == 0x1c);
const _: () = assert!(size_of::<FloatingSave32>() == 112);
const _: () = assert!(offset_of!(Context32, seg_gs) == 0x8c);
const _: () = assert!(offset_of!(Context32, edi) == 0x9c);
const _: () = assert!(offset_of!(Context32, eax) == 0xb0);
const _: () = assert!(offset_of!(Context32, eip) == 0xb8);
const _: () = assert!(offset_of!(Context32, esp) == 0xc4);
const _: () = assert!(offset_of!(Context32, extended_registers) == 0xcc);
const _: () = assert!(size_of::<Context32>() == Context32::SIZE);

impl Context64 {
    /// The length of the context in bytes.
    pub(crate) const SIZE: usize = 0x4d0;
}

impl Context32 {
    /// The length of the context in bytes.
    pub(crate) const SIZE: usize = 0x2cc;
}

//! `CONTEXT` of 64-bit Arm.
//!
//! Source: `ARM64_NT_CONTEXT` of `winnt.h`, with the offsets that ntdiff/headers
//! (`Win11_2409_24H2/ARM64`) lists.
#![forbid(unsafe_code)]

use std::mem::{offset_of, size_of};

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `ContextFlags` of every context of 64-bit Arm.
pub const CONTEXT_ARM64: u32 = 0x0040_0000;

/// The beginning of `CONTEXT` of 64-bit Arm; vector and debug registers follow.
#[derive(Debug, Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct ContextArm64 {
    pub(crate) context_flags: U32,
    pub(crate) cpsr: U32,
    /// X0 to X28, FP, LR.
    pub(crate) x: [U64; 31],
    pub(crate) sp: U64,
    pub(crate) pc: U64,
}

const _: () = assert!(offset_of!(ContextArm64, x) == 8);
const _: () = assert!(offset_of!(ContextArm64, sp) == 0x100);
const _: () = assert!(offset_of!(ContextArm64, pc) == 0x108);
const _: () = assert!(size_of::<ContextArm64>() == 0x110);

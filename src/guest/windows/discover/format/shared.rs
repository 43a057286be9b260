//! `KUSER_SHARED_DATA`: the page that the kernel shares with all processes.
//!
//! Sources:
//!
//! - structure: Microsoft `KUSER_SHARED_DATA` (ntddk.h);
//! - offsets: vergiliusproject.com, the same in Windows XP to 11, 32-bit and
//!   64-bit;
//! - addresses: geoffchappell.com, "KUSER_SHARED_DATA".

use std::mem::offset_of;

use zerocopy::byteorder::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Guest-virtual address of the page in every 64-bit Windows.
pub(crate) const KUSER_SHARED_DATA_64: u64 = 0xffff_f780_0000_0000;
/// Guest-virtual address of the page in every 32-bit Windows on x86.
pub(crate) const KUSER_SHARED_DATA_32: u64 = 0xffdf_0000;

/// `KSYSTEM_TIME`, in units of 100 ns.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct SystemTime {
    pub(crate) low: U32,
    pub(crate) high1: U32,
    pub(crate) high2: U32,
}

impl SystemTime {
    pub(crate) fn value(self) -> u64 {
        u64::from(self.high1.get()) << 32 | u64::from(self.low.get())
    }
}

impl From<u64> for SystemTime {
    fn from(value: u64) -> Self {
        let high = ((value >> 32) as u32).into();
        Self {
            low: (value as u32).into(),
            high1: high,
            high2: high,
        }
    }
}

/// The beginning of `KUSER_SHARED_DATA`.
#[derive(Debug, Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct SharedData {
    pub(crate) reserved1: [u8; 8],
    /// Time since the guest's start.
    pub(crate) interrupt_time: SystemTime,
    /// Time since 1601.
    pub(crate) system_time: SystemTime,
    pub(crate) reserved2: [u8; 0x240],
    /// Windows 10 and later have it.
    pub(crate) nt_build_number: U32,
    pub(crate) nt_product_type: U32,
    pub(crate) product_type_is_valid: u8,
    pub(crate) reserved3: [u8; 3],
    pub(crate) nt_major_version: U32,
    pub(crate) nt_minor_version: U32,
    pub(crate) reserved4: [u8; 0x5c],
    pub(crate) suite_mask: U32,
}

const _: () = assert!(offset_of!(SharedData, interrupt_time) == 8);
const _: () = assert!(offset_of!(SharedData, system_time) == 0x14);
const _: () = assert!(offset_of!(SharedData, nt_build_number) == 0x260);
const _: () = assert!(offset_of!(SharedData, nt_product_type) == 0x264);
const _: () = assert!(offset_of!(SharedData, nt_major_version) == 0x26c);
const _: () = assert!(offset_of!(SharedData, suite_mask) == 0x2d0);

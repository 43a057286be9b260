//! `struct disk_dump_header`: block 0 of a dump.
#![forbid(unsafe_code)]

use std::mem::{offset_of, size_of};

use zerocopy::byteorder::{ByteOrder as Order, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::abi::Utsname;
use crate::abi::{ByteOrder, Class, with_order};
use crate::kdump::SIGNATURE;
use crate::kdump::constants::Le;

/// `struct disk_dump_header` with 32-bit words.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct MainHeader32<O: Order> {
    signature: [u8; 8],
    header_version: U32<O>,
    utsname: Utsname,
    gap: [u8; 2],
    timestamp_sec: U32<O>,
    timestamp_usec: U32<O>,
    fields: MainFields<O>,
}

/// `struct disk_dump_header` with 64-bit words.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct MainHeader64<O: Order> {
    signature: [u8; 8],
    header_version: U32<O>,
    utsname: Utsname,
    gap: [u8; 6],
    timestamp_sec: U64<O>,
    timestamp_usec: U64<O>,
    fields: MainFields<O>,
}

/// The end of `struct disk_dump_header`, the same everywhere.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct MainFields<O: Order> {
    status: U32<O>,
    block_size: U32<O>,
    sub_hdr_size: U32<O>,
    bitmap_blocks: U32<O>,
    max_mapnr: U32<O>,
    total_ram_blocks: U32<O>,
    device_blocks: U32<O>,
    written_blocks: U32<O>,
    current_cpu: U32<O>,
    nr_cpus: U32<O>,
}

// 8 + 4 + 390 = 402, then 2 and 2 × 4, or 6 and 2 × 8, then 10 × 4.
const _: () = assert!(size_of::<MainFields<Le>>() == 40);
const _: () = assert!(offset_of!(MainHeader32<Le>, utsname) == 12);
const _: () = assert!(offset_of!(MainHeader32<Le>, timestamp_sec) == 404);
const _: () = assert!(offset_of!(MainHeader32<Le>, fields) == 412);
const _: () = assert!(size_of::<MainHeader32<Le>>() == 452);
const _: () = assert!(offset_of!(MainHeader64<Le>, header_version) == 8);
const _: () = assert!(offset_of!(MainHeader64<Le>, utsname) == 12);
const _: () = assert!(offset_of!(MainHeader64<Le>, timestamp_sec) == 408);
const _: () = assert!(offset_of!(MainHeader64<Le>, fields) == 424);
const _: () = assert!(offset_of!(MainFields<Le>, block_size) == 4);
const _: () = assert!(offset_of!(MainFields<Le>, sub_hdr_size) == 8);
const _: () = assert!(offset_of!(MainFields<Le>, bitmap_blocks) == 12);
const _: () = assert!(offset_of!(MainFields<Le>, max_mapnr) == 16);
const _: () = assert!(offset_of!(MainFields<Le>, nr_cpus) == 36);
const _: () = assert!(size_of::<MainHeader64<Le>>() == 464);
/// What the main header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MainHeader {
    /// The version decides which fields of the sub header there are.
    pub header_version: u32,
    /// The guest kernel's `struct new_utsname`.
    pub utsname: Utsname,
    /// Seconds since 1970; 0 if unknown.
    pub timestamp_sec: u64,
    /// Microseconds of the second.
    pub timestamp_usec: u64,
    /// The codec's flag, and [`DUMP_DH_COMPRESSED_INCOMPLETE`](crate::kdump::DUMP_DH_COMPRESSED_INCOMPLETE).
    pub status: u32,
    /// Size of a block and of a page, in bytes.
    pub block_size: u32,
    /// Blocks of the sub header and what follows it up to the bitmaps.
    pub sub_hdr_size: u32,
    /// Blocks of both bitmaps together.
    pub bitmap_blocks: u32,
    /// Page frames that a bitmap covers; [`u32::MAX`] if they are more, and
    /// then [`SubHeader::max_mapnr_64`](crate::kdump::SubHeader::max_mapnr_64) has the number.
    pub max_mapnr: u32,
    /// Pages of RAM; [`u32::MAX`] if they are more. No reader needs it.
    pub total_ram_blocks: u32,
    /// Blocks of the dump device; 0, as there is none. No reader needs it.
    pub device_blocks: u32,
    /// Pages in the dump; [`u32::MAX`] if they are more. No reader needs it.
    pub written_blocks: u32,
    /// The CPU that handled the dump.
    pub current_cpu: u32,
    /// Number of CPUs. crash wants more than 0.
    pub nr_cpus: u32,
}

impl MainHeader {
    fn fields<O: Order>(&self) -> MainFields<O> {
        MainFields {
            status: self.status.into(),
            block_size: self.block_size.into(),
            sub_hdr_size: self.sub_hdr_size.into(),
            bitmap_blocks: self.bitmap_blocks.into(),
            max_mapnr: self.max_mapnr.into(),
            total_ram_blocks: self.total_ram_blocks.into(),
            device_blocks: self.device_blocks.into(),
            written_blocks: self.written_blocks.into(),
            current_cpu: self.current_cpu.into(),
            nr_cpus: self.nr_cpus.into(),
        }
    }

    fn from_parts<O: Order>(
        header_version: u32,
        utsname: Utsname,
        timestamp_sec: u64,
        timestamp_usec: u64,
        f: &MainFields<O>,
    ) -> Self {
        Self {
            header_version,
            utsname,
            timestamp_sec,
            timestamp_usec,
            status: f.status.get(),
            block_size: f.block_size.get(),
            sub_hdr_size: f.sub_hdr_size.get(),
            bitmap_blocks: f.bitmap_blocks.get(),
            max_mapnr: f.max_mapnr.get(),
            total_ram_blocks: f.total_ram_blocks.get(),
            device_blocks: f.device_blocks.get(),
            written_blocks: f.written_blocks.get(),
            current_cpu: f.current_cpu.get(),
            nr_cpus: f.nr_cpus.get(),
        }
    }

    /// Appends the header's bytes to `out`.
    pub fn encode(&self, class: Class, order: ByteOrder, out: &mut Vec<u8>) {
        with_order!(order, O => match class {
            Class::Bits32 => out.extend_from_slice(MainHeader32::<O> {
                signature: SIGNATURE,
                header_version: self.header_version.into(),
                utsname: self.utsname,
                gap: [0; 2],
                timestamp_sec: (self.timestamp_sec as u32).into(),
                timestamp_usec: (self.timestamp_usec as u32).into(),
                fields: self.fields(),
            }.as_bytes()),
            Class::Bits64 => out.extend_from_slice(MainHeader64::<O> {
                signature: SIGNATURE,
                header_version: self.header_version.into(),
                utsname: self.utsname,
                gap: [0; 6],
                timestamp_sec: self.timestamp_sec.into(),
                timestamp_usec: self.timestamp_usec.into(),
                fields: self.fields(),
            }.as_bytes()),
        });
    }

    /// Decodes the header at the beginning of `bytes`, taking its class and
    /// byte order on trust; `None` if the signature is another or the bytes
    /// are too few.
    #[must_use]
    pub fn decode(class: Class, order: ByteOrder, bytes: &[u8]) -> Option<Self> {
        if bytes.get(..8)? != SIGNATURE {
            return None;
        }
        Some(with_order!(order, O => match class {
            Class::Bits32 => {
                let (h, _) = MainHeader32::<O>::read_from_prefix(bytes).ok()?;
                Self::from_parts(
                    h.header_version.get(),
                    h.utsname,
                    h.timestamp_sec.get().into(),
                    h.timestamp_usec.get().into(),
                    &h.fields,
                )
            }
            Class::Bits64 => {
                let (h, _) = MainHeader64::<O>::read_from_prefix(bytes).ok()?;
                Self::from_parts(
                    h.header_version.get(),
                    h.utsname,
                    h.timestamp_sec.get(),
                    h.timestamp_usec.get(),
                    &h.fields,
                )
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn main_header() -> MainHeader {
        MainHeader {
            header_version: 6,
            utsname: Utsname {
                sysname: Utsname::field("Linux"),
                machine: Utsname::field("x86_64"),
                ..Utsname::default()
            },
            timestamp_sec: 0x11,
            timestamp_usec: 0x12,
            status: 0x21,
            block_size: 0x22,
            sub_hdr_size: 0x23,
            bitmap_blocks: 0x24,
            max_mapnr: 0x25,
            total_ram_blocks: 0x26,
            device_blocks: 0x27,
            written_blocks: 0x28,
            current_cpu: 0x29,
            nr_cpus: 0x2a,
        }
    }

    #[test]
    fn main_header_bytes() {
        for (class, order, time_at, fields_at, size) in [
            (Class::Bits64, ByteOrder::Little, 408, 424, 464),
            (Class::Bits32, ByteOrder::Big, 404, 412, 452),
        ] {
            let mut expected = vec![0u8; size];
            expected[..8].copy_from_slice(b"KDUMP   ");
            expected[12..17].copy_from_slice(b"Linux");
            expected[12 + 4 * 65..12 + 4 * 65 + 6].copy_from_slice(b"x86_64");
            let word = if class == Class::Bits64 { 8 } else { 4 };
            let least = |width| {
                if order == ByteOrder::Little {
                    0
                } else {
                    width - 1
                }
            };
            expected[8 + least(4)] = 6;
            expected[time_at + least(word)] = 0x11;
            expected[time_at + word + least(word)] = 0x12;
            for i in 0..10 {
                expected[fields_at + i * 4 + least(4)] = 0x21 + i as u8;
            }
            let mut bytes = Vec::new();
            main_header().encode(class, order, &mut bytes);
            assert_eq!(bytes, expected);
            assert_eq!(
                MainHeader::decode(class, order, &bytes),
                Some(main_header())
            );
            assert_eq!(MainHeader::decode(class, order, &bytes[..size - 1]), None);
        }
    }
}

//! The main header, block 0 of a dump: `struct disk_dump_header`, 32-bit and 64-bit.
//!
//! Sources: makedumpfile `IMPLEMENTATION` and `diskdump_mod.h` for the fields; libkdumpfile
//! `src/kdumpfile/diskdump.c` for the gaps that C compilers leave.
//!
//! Readers: crash, drgn, gdb and makedumpfile with libkdumpfile; see docs/readers.md.
#![forbid(unsafe_code)]

use std::mem::{offset_of, size_of};

use zerocopy::byteorder::{ByteOrder as Order, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::abi::{ByteOrder, Class, Encoding, FieldOverflow, Narrow, Utsname, with_order};
use crate::kdump::constants::Le;
use crate::kdump::{HEADER_VERSION, SIGNATURE};

/// `struct disk_dump_header` with 32-bit words.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct MainHeader32<O: Order> {
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
struct MainHeader64<O: Order> {
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
struct MainFields<O: Order> {
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

/// The main header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MainHeader {
    /// The version, which decides which fields the sub header has.
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

    /// The length of the header in bytes.
    #[must_use]
    pub const fn size(class: Class) -> usize {
        match class {
            Class::Bits32 => size_of::<MainHeader32<Le>>(),
            Class::Bits64 => size_of::<MainHeader64<Le>>(),
        }
    }

    /// Appends the header's bytes to `out`.
    ///
    /// # Errors
    ///
    /// [`FieldOverflow`] if the time does not fit into a 32-bit header.
    pub fn encode(&self, encoding: Encoding, out: &mut Vec<u8>) -> Result<(), FieldOverflow> {
        let narrow = Narrow("disk_dump_header");
        with_order!(encoding.order, O => match encoding.class {
            Class::Bits32 => out.extend_from_slice(MainHeader32::<O> {
                signature: SIGNATURE,
                header_version: self.header_version.into(),
                utsname: self.utsname,
                gap: [0; 2],
                timestamp_sec: narrow.u32("timestamp.tv_sec", self.timestamp_sec)?.into(),
                timestamp_usec: narrow.u32("timestamp.tv_usec", self.timestamp_usec)?.into(),
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
        Ok(())
    }

    /// Decodes the header at the beginning of `bytes`, which has this encoding.
    /// `None` if the signature is another or the bytes are too few.
    /// [`find`](Self::find) finds the encoding out.
    #[must_use]
    pub fn decode(encoding: Encoding, bytes: &[u8]) -> Option<Self> {
        if bytes.get(..8)? != SIGNATURE {
            return None;
        }
        Some(with_order!(encoding.order, O => match encoding.class {
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

    /// Decodes the header at the beginning of `bytes` in the encoding in which it is
    /// [plausible](Self::is_plausible), as libkdumpfile does. `None` if it is not in any.
    #[must_use]
    pub fn find(bytes: &[u8]) -> Option<(Encoding, Self)> {
        let orders = [ByteOrder::Little, ByteOrder::Big];
        [Class::Bits32, Class::Bits64]
            .into_iter()
            .flat_map(|class| orders.map(|order| Encoding { class, order }))
            .find_map(|encoding| {
                let main = Self::decode(encoding, bytes)?;
                main.is_plausible().then_some((encoding, main))
            })
    }

    /// Whether the fields are those of a dump: a known version, a block size that is a power of two
    /// from 4096 to 65536, a sub header, and bitmaps that cover `max_mapnr`.
    #[must_use]
    pub fn is_plausible(&self) -> bool {
        let covered = u64::from(self.bitmap_blocks).saturating_mul(u64::from(self.block_size) * 8);
        (1..=HEADER_VERSION).contains(&self.header_version)
            && self.block_size.is_power_of_two()
            && (4096..=64 << 10).contains(&self.block_size)
            && (1..i32::MAX as u32).contains(&self.sub_hdr_size)
            && self.bitmap_blocks < i32::MAX as u32
            // Where max_mapnr is cut to 32 bits the sub header has the number.
            && (covered >= self.max_mapnr.into())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::abi::tests::encodings;
    use proptest::prelude::*;

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
    fn encoded_header_has_the_bytes_of_the_c_struct() {
        for (class, order, time_at, fields_at, size) in [
            (Class::Bits64, ByteOrder::Little, 408, 424, 464),
            (Class::Bits32, ByteOrder::Big, 404, 412, 452),
        ] {
            let encoding = Encoding { class, order };
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
            main_header().encode(encoding, &mut bytes).unwrap();
            assert_eq!(bytes, expected);
            assert_eq!(MainHeader::size(class), size);
            assert_eq!(MainHeader::decode(encoding, &bytes), Some(main_header()));
            assert_eq!(MainHeader::decode(encoding, &bytes[..size - 1]), None);
        }
    }

    #[test]
    fn time_past_32_bits_is_refused_by_a_32_bit_header() {
        let late = MainHeader {
            timestamp_sec: 1 << 32,
            ..main_header()
        };
        let encoding = |class| Encoding {
            class,
            order: ByteOrder::Little,
        };
        let mut bytes = Vec::new();
        let error = late
            .encode(encoding(Class::Bits32), &mut bytes)
            .unwrap_err();
        assert_eq!(error.field, "timestamp.tv_sec");
        assert!(bytes.is_empty());
        late.encode(encoding(Class::Bits64), &mut bytes).unwrap();
    }

    fn any_header() -> impl Strategy<Value = MainHeader> {
        let text = || prop::collection::vec(any::<u8>(), 0..70);
        (any::<[u32; 11]>(), any::<[u32; 2]>(), text(), text()).prop_map(
            |(n, time, release, machine)| MainHeader {
                header_version: n[0],
                utsname: Utsname {
                    release: Utsname::field(release),
                    machine: Utsname::field(machine),
                    ..Utsname::default()
                },
                timestamp_sec: time[0].into(),
                timestamp_usec: time[1].into(),
                status: n[1],
                block_size: n[2],
                sub_hdr_size: n[3],
                bitmap_blocks: n[4],
                max_mapnr: n[5],
                total_ram_blocks: n[6],
                device_blocks: n[7],
                written_blocks: n[8],
                current_cpu: n[9],
                nr_cpus: n[10],
            },
        )
    }

    proptest! {
        #[test]
        fn decoding_what_was_encoded_gives_the_header(
            header in any_header(),
            encoding in encodings(),
        ) {
            let mut bytes = Vec::new();
            header.encode(encoding, &mut bytes).unwrap();
            prop_assert_eq!(bytes.len(), MainHeader::size(encoding.class));
            prop_assert_eq!(MainHeader::decode(encoding, &bytes), Some(header));
        }

        #[test]
        fn plausible_header_is_found_in_its_encoding(encoding in encodings(), block in 12u32..=16) {
            let header = MainHeader {
                block_size: 1 << block,
                ..main_header()
            };
            let mut bytes = Vec::new();
            header.encode(encoding, &mut bytes).unwrap();
            prop_assert_eq!(MainHeader::find(&bytes), Some((encoding, header)));
        }
    }
}

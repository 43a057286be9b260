//! RISC-V: Sv32, Sv39, Sv48, Sv57.

use guestdump::guest::paging::{AddressSpace, Riscv};

use super::tables::Guest;

const TABLE: u64 = 1;
/// Valid, readable, writable, accessed, dirty.
const RW: u64 = 0xc7;
/// Valid, executable only.
const XO: u64 = 0x49;
/// Svpbmt: I/O memory.
const PBMT: u64 = 1 << 62;
const N: u64 = 1 << 63;

fn to(gpa: u64) -> u64 {
    gpa >> 12 << 10
}

fn sv(mode: u64, root: u64) -> AddressSpace {
    AddressSpace::Riscv(Riscv::Bits64 {
        satp: mode << 60 | 0xffff << 44 | root >> 12,
    })
}

/// Three levels at 0x3000, four at 0x2000, five at 0x1000.
fn guest() -> Guest {
    let mut guest = Guest::new(0x10000);
    guest.set(0x1000, 0, to(0x2000) | TABLE);
    guest.set(0x2000, 0, to(0x3000) | TABLE);
    guest.set(0x3000, 0, to(0x4000) | TABLE);
    guest.set(0x3000, 1, to(0x80_4000_0000) | PBMT | RW);
    guest.set(0x3000, 2, to(0x80_4000_1000) | RW); // not aligned to 1 GiB
    guest.set(0x3000, 3, to(0x80_4000_0000) | 0x5); // reserved: W without R
    guest.set(0x4000, 2, to(0x5000) | TABLE);
    guest.set(0x4000, 3, to(0x9020_0000) | XO);
    guest.set(0x5000, 7, to(0xf_ffff_ffff_f000) | RW);
    // 16 pages in one, Svnapot: the lowest bits of the frame say so.
    for i in 16..32 {
        guest.set(0x5000, i, to(0x9001_8000) | N | RW);
    }
    guest
}

/// What the tables from 0x3000 on map.
const MAPPED: [(u64, u64, u64); 4] = [
    (0x40_7000, 0xf_ffff_ffff_f000, 0x1000),
    (0x41_0000, 0x9001_0000, 0x10000),
    (0x60_0000, 0x9020_0000, 0x20_0000),
    (0x4000_0000, 0x80_4000_0000, 1 << 30),
];

#[test]
fn sv39_sv48_and_sv57_tables_are_walked() {
    let guest = guest();
    for (mode, root) in [(8, 0x3000), (9, 0x2000), (10, 0x1000)] {
        let space = sv(mode, root);
        assert_eq!(guest.mappings(&space), MAPPED, "{mode}");
        assert_eq!(guest.translate(&space, 0x41_5678), Some(0x9001_5678));
        assert_eq!(guest.translate(&space, 0x4012_3456), Some(0x80_4012_3456));
        assert_eq!(guest.translate(&space, 0x8000_0000), None);
        assert_eq!(guest.translate(&space, 0xc000_0000), None);
    }
}

#[test]
fn addresses_are_sign_extended() {
    for (mode, bits) in [(8, 39), (9, 48), (10, 57)] {
        let mut guest = Guest::new(0x10000);
        // A page of the largest size at the last virtual address.
        guest.set(0x1000, 511, to(0) | RW);
        let space = sv(mode, 0x1000);
        let size = 1u64 << (bits - 9);
        assert_eq!(guest.mappings(&space)[0].0, 0u64.wrapping_sub(size));
        assert_eq!(guest.translate(&space, u64::MAX), Some(size - 1));
        assert_eq!(guest.translate(&space, (1 << bits) - 1), None);
    }
}

#[test]
fn sv32_tables_are_walked() {
    let mut guest = Guest::new(0x4000);
    guest.set32(0x1000, 1023, to(0x2000) as u32 | 1);
    // Physical addresses have 34 bits.
    guest.set32(0x2000, 1023, to(0x3_ffff_f000) as u32 | RW as u32);
    guest.set32(0x1000, 0, to(0x1_0040_0000) as u32 | RW as u32);
    let space = AddressSpace::Riscv(Riscv::Bits32 {
        satp: 1 << 31 | 0x1ff << 22 | 1,
    });
    assert_eq!(
        guest.mappings(&space),
        [
            (0, 0x1_0040_0000, 0x40_0000),
            (0xffff_f000, 0x3_ffff_f000, 0x1000),
        ]
    );
    assert_eq!(guest.translate(&space, 0xffff_f123), Some(0x3_ffff_f123));
    assert_eq!(guest.translate(&space, 0x1_0000_0000), None);
}

#[test]
fn without_paging_nothing_is_mapped() {
    let guest = guest();
    assert_eq!(guest.mappings(&sv(0, 0x3000)), []);
    let off = AddressSpace::Riscv(Riscv::Bits32 { satp: 3 });
    assert_eq!(guest.mappings(&off), []);
}

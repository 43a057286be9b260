//! AArch64: every granule, blocks, 48-bit and 52-bit addresses.

use guestdump::ByteOrder;
use guestdump::guest::paging::{Aarch64, AddressSpace, TranslateError};

use super::tables::Guest;

const TABLE: u64 = 0b11;
const PAGE: u64 = 0b11;
const BLOCK: u64 = 0b01;
/// Access flag, shareability, UXN, PXN.
const ATTRIBUTES: u64 = 1 << 10 | 3 << 8 | 3 << 53;

const TG0: [(u64, u64); 3] = [(12, 0b00), (14, 0b10), (16, 0b01)];
const TG1: [(u64, u64); 3] = [(12, 0b10), (14, 0b01), (16, 0b11)];
const EPD0: u64 = 1 << 7;
const EPD1: u64 = 1 << 23;
const IPS_52: u64 = 6 << 32;
const DS: u64 = 1 << 59;

fn code(of: [(u64, u64); 3], page_shift: u64) -> u64 {
    of.iter().find(|(shift, _)| *shift == page_shift).unwrap().1
}

/// TCR_EL1 for kernel and processes alike.
fn tcr(page_shift: u64, address_bits: u64) -> u64 {
    let size = 64 - address_bits;
    size | size << 16 | code(TG0, page_shift) << 14 | code(TG1, page_shift) << 30
}

fn high(ttbr1: u64, tcr: u64) -> AddressSpace {
    AddressSpace::Aarch64(Aarch64 {
        ttbr0: 0xdead_0000,
        ttbr1,
        tcr: tcr | EPD0,
        order: ByteOrder::Little,
    })
}

#[test]
fn low_and_high_addresses_have_their_own_tables() {
    let mut guest = Guest::new(0x10000);
    // 39 bits: three levels.
    let high_tree = 0x1000;
    guest.set(high_tree, 511, 0x2000 | TABLE);
    guest.set(0x2000, 511, 0x3000 | TABLE);
    guest.set(0x3000, 511, 0x8000_1000 | ATTRIBUTES | PAGE);
    guest.set(0x3000, 510, 0x8000_2000 | BLOCK); // reserved in the last table
    // 48 bits: four levels, all with blocks where they may be.
    let low_tree = 0x4000;
    guest.set(low_tree, 0, 0x5000 | TABLE);
    guest.set(low_tree, 1, 0x6000 | BLOCK); // no blocks here
    guest.set(0x5000, 1, 0x1_4000_0000 | ATTRIBUTES | BLOCK);
    guest.set(0x5000, 2, 0x6000 | TABLE);
    guest.set(0x6000, 3, 0x8040_0000 | ATTRIBUTES | BLOCK);
    guest.set(0x6000, 4, 0x8040_0000); // invalid
    guest.set(0x6000, 5, 0x8040_0002); // invalid
    let tcr = 25 << 16 | 0b10 << 30 | 16;
    let both = AddressSpace::Aarch64(Aarch64 {
        ttbr0: low_tree | 5 << 48 | 1,
        ttbr1: high_tree | 7 << 48 | 1,
        tcr,
        order: ByteOrder::Little,
    });
    let low = [
        (0x4000_0000, 0x1_4000_0000, 1 << 30),
        (0x8060_0000, 0x8040_0000, 0x20_0000),
    ];
    let top = [(0xffff_ffff_ffff_f000, 0x8000_1000, 0x1000)];
    assert_eq!(guest.mappings(&both), [&low[..], &top[..]].concat());
    assert_eq!(
        guest.translate(&both, 0xffff_ffff_ffff_ffff),
        Some(0x8000_1fff)
    );
    assert_eq!(guest.translate(&both, 0x8061_2345), Some(0x8041_2345));
    assert_eq!(guest.translate(&both, 0xffff_ffff_ffff_e000), None);
    assert_eq!(guest.translate(&both, 1 << 48), None);
    assert_eq!(guest.translate(&both, 0xffff_ff00_0000_0000), None);
    for (off, left) in [(EPD0, &top[..]), (EPD1, &low[..])] {
        let one = AddressSpace::Aarch64(Aarch64 {
            ttbr0: low_tree,
            ttbr1: high_tree,
            tcr: tcr | off,
            order: ByteOrder::Little,
        });
        assert_eq!(guest.mappings(&one), left);
    }
}

#[test]
fn tables_for_pages_of_16_kib_are_walked() {
    let mut guest = Guest::new(0x40000);
    // 48 bits: the first table has two entries.
    guest.set(0x4000, 1, 0x8000 | TABLE);
    guest.set(0x8000, 2047, 0xc000 | TABLE);
    guest.set(0xc000, 2046, 0x6_0000_0000 | ATTRIBUTES | BLOCK);
    guest.set(0xc000, 2047, 0x1_0000 | TABLE);
    guest.set(0x1_0000, 2047, 0x8000_4000 | ATTRIBUTES | PAGE);
    guest.set(0x8000, 1, 0xc000 | BLOCK); // blocks of 64 GiB need 52 bits
    let space = high(0x4000, tcr(14, 48));
    assert_eq!(
        guest.mappings(&space),
        [
            (0xffff_ffff_fc00_0000, 0x6_0000_0000, 0x200_0000),
            (0xffff_ffff_ffff_c000, 0x8000_4000, 0x4000),
        ]
    );
    // 47 bits: without that table.
    assert_eq!(
        guest.translate(&high(0x8000, tcr(14, 47)), 0xffff_ffff_ffff_d678),
        Some(0x8000_5678)
    );
}

#[test]
fn tables_for_pages_of_64_kib_with_52_bit_addresses_are_walked() {
    let mut guest = Guest::new(0x40000);
    // Physical address bits 51 to 48 are in bits 15 to 12.
    guest.set(0x1_0000, 1023, 0x2_0000 | TABLE);
    guest.set(0x2_0000, 8191, 0x3_0000 | TABLE);
    guest.set(0x2_0000, 8190, 0x4000_0000 | 0xa << 12 | ATTRIBUTES | BLOCK);
    guest.set(
        0x3_0000,
        8190,
        0x1234_5677_0000 | 0xb << 12 | ATTRIBUTES | PAGE,
    );
    let space = high(0x1_0000, tcr(16, 52) | IPS_52);
    assert_eq!(
        guest.mappings(&space),
        [
            (0xffff_ffff_c000_0000, 0xa_0000_4000_0000, 0x2000_0000),
            (0xffff_ffff_fffe_0000, 0xb_1234_5677_0000, 0x10000),
        ]
    );
    // 48 bits: the first table is the end of that one, 512 bytes long.
    let part = high(0x1_0000 + (1024 - 64) * 8, tcr(16, 48));
    assert_eq!(guest.mappings(&part), guest.mappings(&space));
    // 42 bits: two levels.
    let two = high(0x2_0000, tcr(16, 42));
    assert_eq!(guest.mappings(&two), guest.mappings(&space));
    // Bits 51 to 48 of the first table's address are in bits 5 to 2 of TTBR.
    let far = high(0x1_0000 | 1 << 2, tcr(16, 52) | IPS_52);
    let error = far.translate(&|gpa, buf: &mut [u8]| guest.read(gpa, buf), u64::MAX);
    assert!(matches!(
        error,
        Err(TranslateError::Table {
            gpa: 0x1_0000_0001_1ff8,
            ..
        })
    ));
}

#[test]
fn tables_for_pages_of_4_kib_with_52_bit_addresses_are_walked() {
    let mut guest = Guest::new(0x10000);
    // Five levels, the first table has 16 entries. Physical address bits 51
    // and 50 are in bits 9 and 8.
    guest.set(0x1000, 15, 0x2000 | TABLE);
    guest.set(0x2000, 511, 0x3000 | TABLE);
    guest.set(0x2000, 0, 2 << 48 | 1 << 39 | 2 << 8 | 1 << 10 | BLOCK);
    guest.set(0x3000, 511, 0x4000 | TABLE);
    guest.set(0x4000, 511, 0x5000 | TABLE);
    guest.set(0x5000, 511, 1 << 48 | 0x7000 | 3 << 8 | 1 << 10 | PAGE);
    let space = high(0x1000, tcr(12, 52) | DS);
    assert_eq!(
        guest.mappings(&space),
        [
            (0xffff_0000_0000_0000, 0xa_0080_0000_0000, 1 << 39),
            (0xffff_ffff_ffff_f000, 0xd_0000_0000_7000, 0x1000),
        ]
    );
    // Without DS there are 48 bits at most.
    assert_eq!(guest.mappings(&high(0x1000, tcr(12, 52))), []);
}

#[test]
fn big_endian_tables_are_walked() {
    let mut guest = Guest::new(0x4000);
    guest.set(0x1000, 511, (0x2000 | TABLE).swap_bytes());
    guest.set(0x2000, 511, (0x3000 | TABLE).swap_bytes());
    guest.set(0x3000, 511, (0x8000_1000 | PAGE).swap_bytes());
    let space = AddressSpace::Aarch64(Aarch64 {
        ttbr0: 0,
        ttbr1: 0x1000,
        tcr: tcr(12, 39) | EPD0,
        order: ByteOrder::Big,
    });
    assert_eq!(
        guest.mappings(&space),
        [(0xffff_ffff_ffff_f000, 0x8000_1000, 0x1000)]
    );
    assert_eq!(
        guest.translate(&space, 0xffff_ffff_ffff_f008),
        Some(0x8000_1008)
    );
}

//! x86: every kind of page tables.

use guestdump::guest::paging::{AddressSpace, X86, X86Mode};

use super::tables::Guest;

const P: u64 = 1;
/// Present and large.
const PS: u64 = 0x81;
/// Execute disable, and a protection key.
const UPPER: u64 = 1 << 63 | 0xf << 59;

fn space(cr3: u64, mode: X86Mode) -> AddressSpace {
    AddressSpace::X86(X86 { cr3, mode })
}

#[test]
fn the_mode_is_in_the_control_registers() {
    const PG: u64 = 1 << 31;
    const PSE: u64 = 1 << 4;
    const PAE: u64 = 1 << 5;
    const LA57: u64 = 1 << 12;
    let mode = X86Mode::of_registers;
    assert_eq!(mode(0x6000_0010, PAE | LA57, true), None);
    assert_eq!(mode(PG, LA57, true), Some(X86Mode::TwoLevel { pse: false }));
    assert_eq!(mode(PG, PSE, false), Some(X86Mode::TwoLevel { pse: true }));
    assert_eq!(mode(PG, PSE | PAE, false), Some(X86Mode::Pae));
    assert_eq!(mode(PG, PAE, true), Some(X86Mode::FourLevel));
    assert_eq!(mode(PG, PAE | LA57, true), Some(X86Mode::FiveLevel));
}

#[test]
fn two_level_tables_are_walked() {
    let mut guest = Guest::new(0x4000);
    guest.set32(0x1000, 0, 0x2000 | 7);
    guest.set32(0x2000, 5, 0xabcd_e000 | 3);
    guest.set32(0x2000, 6, 0x1234_5002); // not present
    // 4 MiB: bits 39 to 32 of the address are in bits 20 to 13.
    guest.set32(0x1000, 768, 0x0080_0000 | 0x12 << 13 | 0x81);
    // Without PSE the same entry points to a table.
    let pse = space(0x1018, X86Mode::TwoLevel { pse: true });
    assert_eq!(
        guest.mappings(&pse),
        [
            (0x5000, 0xabcd_e000, 0x1000),
            (0xc000_0000, 0x12_0080_0000, 0x40_0000),
        ]
    );
    assert_eq!(guest.translate(&pse, 0x5abc), Some(0xabcd_eabc));
    assert_eq!(guest.translate(&pse, 0xc012_3456), Some(0x12_0092_3456));
    assert_eq!(guest.translate(&pse, 0x6000), None);
    assert_eq!(guest.translate(&pse, 0x1_0000_5000), None);

    guest.set32(0x1000, 768, 0x3000 | 0x81);
    guest.set32(0x3000, 1, 0x7000 | 1);
    let no_pse = space(0x1000, X86Mode::TwoLevel { pse: false });
    assert_eq!(guest.translate(&no_pse, 0xc000_1234), Some(0x7234));
}

#[test]
fn pae_tables_are_walked() {
    let mut guest = Guest::new(0x5000);
    // The first table has four entries and lies anywhere.
    guest.set(0x1fe0, 0, 0x2000 | P);
    guest.set(0x1fe0, 3, 0x3000 | P);
    guest.set(0x2000, 1, 0x4000 | P);
    guest.set(0x4000, 511, 0x8_0000_7000 | 1 << 63 | P);
    guest.set(0x3000, 511, 0x9_0020_0000 | 1 << 12 | PS);
    let space = space(0x1fe0, X86Mode::Pae);
    assert_eq!(
        guest.mappings(&space),
        [
            (0x3f_f000, 0x8_0000_7000, 0x1000),
            (0xffe0_0000, 0x9_0020_0000, 0x20_0000),
        ]
    );
    assert_eq!(guest.translate(&space, 0xffff_ffff), Some(0x9_003f_ffff));
    assert_eq!(guest.translate(&space, 0x4000_0000), None);
}

#[test]
fn four_level_tables_are_walked() {
    let mut guest = Guest::new(0x10000);
    guest.set(0x1000, 0, 0x2000 | UPPER | P);
    guest.set(0x2000, 0, 0x3000 | P);
    guest.set(0x2000, 1, 0x40_0000_0000 | 1 << 12 | UPPER | PS);
    guest.set(0x3000, 2, 0x4000 | P);
    guest.set(0x4000, 0, 0xf_ffff_ffff_f000 | UPPER | P);
    guest.set(0x4000, 1, 0x7000 | P);
    guest.set(0x4000, 2, 0x8000 | P);
    // The kernel: the upper half, with sign extension.
    guest.set(0x1000, 511, 0x5000 | P);
    guest.set(0x5000, 510, 0x6000 | P);
    guest.set(0x6000, 8, 0x20_0000 | PS);
    guest.set(0x6000, 9, 0x40_0000 | PS);
    // The bit for large pages means nothing in the first table.
    guest.set(0x1000, 256, 0x7000 | PS);
    guest.set(0x7000, 0, 0xc000_0000 | PS);
    // CR3 has a PCID.
    let space = space(0x1fff, X86Mode::FourLevel);
    assert_eq!(
        guest.mappings(&space),
        [
            (0x40_0000, 0xf_ffff_ffff_f000, 0x1000),
            (0x40_1000, 0x7000, 0x2000),
            (0x4000_0000, 0x40_0000_0000, 1 << 30),
            (0xffff_8000_0000_0000, 0xc000_0000, 1 << 30),
            (0xffff_ffff_8100_0000, 0x20_0000, 0x40_0000),
        ]
    );
    assert_eq!(guest.translate(&space, 0x40_2345), Some(0x8345));
    assert_eq!(guest.translate(&space, 0x7fff_ffff), Some(0x40_3fff_ffff));
    let kernel = 0xffff_ffff_8123_4567;
    assert_eq!(guest.translate(&space, kernel), Some(0x43_4567));
    // Not canonical.
    assert_eq!(guest.translate(&space, kernel ^ 1 << 63), None);
    assert_eq!(guest.translate(&space, 0x8000_0000_0000), None);
}

#[test]
fn five_level_tables_are_walked() {
    let mut guest = Guest::new(0x10000);
    for (root, vaddr) in [(1, 1 << 48), (511, 0xffff_0000_0000_0000)] {
        guest.set(0x1000, root, 0x2000 | P);
        let mut alone = Guest::new(0x10000);
        alone.ram.clone_from(&guest.ram);
        alone.set(0x2000, 3, 0x3000 | P);
        alone.set(0x3000, 4, 0x8000_0000 | PS);
        let space = space(0x1000, X86Mode::FiveLevel);
        let vaddr = vaddr + (3 << 39) + (4 << 30);
        assert!(
            alone
                .mappings(&space)
                .contains(&(vaddr, 0x8000_0000, 1 << 30))
        );
        assert_eq!(alone.translate(&space, vaddr + 5), Some(0x8000_0005));
    }
}

#[test]
fn without_paging_addresses_are_physical() {
    let guest = Guest::new(0x1000);
    let space = AddressSpace::Physical;
    assert_eq!(guest.translate(&space, 0x1_2345), Some(0x1_2345));
    assert_eq!(guest.mappings(&space), []);
    assert_eq!(guest.reads.get(), 0);
}

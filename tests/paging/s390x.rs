//! z/Architecture: region first, second, third, segment and page tables.

use guestdump::guest::paging::{AddressSpace, S390x, TranslateError};

use super::tables::Guest;

/// Table types of entries and elements.
const FIRST: u64 = 3 << 2;
const SECOND: u64 = 2 << 2;
const THIRD: u64 = 1 << 2;
const SEGMENT: u64 = 0;
/// All quarters of the next table.
const ALL: u64 = 3;
const INVALID: u64 = 1 << 5;
const LARGE: u64 = 1 << 10;
const PAGE_INVALID: u64 = 1 << 10;
const PAGE_ZERO: u64 = 1 << 11;

fn space(asce: u64) -> AddressSpace {
    AddressSpace::S390x(S390x { asce })
}

/// RAM whose tables' entries, of both kinds, are invalid: zeroes would be
/// valid segments and pages.
fn invalid(size: usize) -> Guest {
    let mut guest = Guest::new(size);
    for entry in guest.ram.chunks_exact_mut(8) {
        entry.copy_from_slice(&(INVALID | PAGE_INVALID).to_be_bytes());
    }
    guest
}

/// One table of each type, 16 KiB apart from one another; the page table
/// lies at 0x1_4800, behind half a page.
fn guest() -> Guest {
    let mut guest = invalid(0x2_0000);
    guest.set_be(0x4000, 0, 0x8000 | FIRST | ALL);
    guest.set_be(0x4000, 0x7ff, 0x8000 | FIRST | ALL);
    guest.set_be(0x8000, 0, 0xc000 | SECOND | ALL);
    guest.set_be(0xc000, 0, 0x1_0000 | THIRD | ALL);
    // 2 GiB, whose lower bits are ignored.
    guest.set_be(
        0xc000,
        2,
        0x80_8000_0000 | 0x7fff_f000 | THIRD | LARGE | 0x210,
    );
    guest.set_be(0x1_0000, 1, 0x1_4800 | SEGMENT | 1);
    // 1 MiB, protected, and with software's bits.
    guest.set_be(0x1_0000, 3, 0x9010_0000 | 0xf_e000 | LARGE | 0x203);
    guest.set_be(0x1_4800, 7, 0xf_ffff_ffff_f000 | 0x23d);
    guest.set_be(0x1_4800, 255, 0x9000_0000);
    guest
}

/// What the region third table maps.
const MAPPED: [(u64, u64, u64); 4] = [
    (0x10_7000, 0xf_ffff_ffff_f000, 0x1000),
    (0x1f_f000, 0x9000_0000, 0x1000),
    (0x30_0000, 0x9010_0000, 0x10_0000),
    (0x1_0000_0000, 0x80_8000_0000, 0x8000_0000),
];

#[test]
fn tables_of_every_type_are_walked() {
    let guest = guest();
    for (asce, bits) in [(0xc000 | THIRD, 42), (0x8000 | SECOND, 53)] {
        let space = space(asce | ALL);
        assert_eq!(guest.mappings(&space), MAPPED);
        assert_eq!(guest.translate(&space, 0x10_7abc), Some(0xf_ffff_ffff_fabc));
        assert_eq!(guest.translate(&space, 0x1f_efff), None);
        assert_eq!(guest.translate(&space, 0x1f_ffff), Some(0x9000_0fff));
        assert_eq!(guest.translate(&space, 0x31_2345), Some(0x9011_2345));
        assert_eq!(guest.translate(&space, 0x1_1234_5678), Some(0x80_9234_5678));
        assert_eq!(guest.translate(&space, 0x10_8000), None);
        // Beyond what the tables can have.
        assert_eq!(guest.translate(&space, 1 << bits | 0x10_7000), None);
    }
    // All 64 bits.
    let first = space(0x4000 | FIRST | ALL);
    let top = 0xffe0_0000_0000_0000;
    let again = MAPPED.map(|(vaddr, gpa, size)| (top | vaddr, gpa, size));
    assert_eq!(guest.mappings(&first), [MAPPED, again].concat());
    let last = guest.translate(&first, top | 0x1_7fff_ffff);
    assert_eq!(last, Some(0x80_ffff_ffff));
    // Without any region table.
    let segments = space(0x1_0000 | SEGMENT | ALL);
    assert_eq!(guest.mappings(&segments), MAPPED[..3]);
    assert_eq!(guest.translate(&segments, 0x8010_7000), None);
}

#[test]
fn invalid_entries_and_such_of_another_type_lead_nowhere() {
    for (table, index, entry) in [
        (0x4000, 0, 0x8000 | FIRST | ALL | INVALID),
        (0x4000, 0, 0x8000 | SECOND | ALL),
        (0x8000, 0, 0xc000 | SECOND | ALL | INVALID),
        (0x8000, 0, 0xc000 | THIRD | ALL),
        (0x8000, 0, 0xc000 | FIRST | ALL),
        (0xc000, 0, 0x1_0000 | THIRD | ALL | INVALID),
        (0xc000, 0, 0x1_0000 | SEGMENT | ALL),
        (0x1_0000, 1, 0x1_4800 | INVALID),
        (0x1_0000, 1, 0x1_4800 | THIRD | ALL),
        (0x1_4800, 7, 0x9000_0000 | PAGE_INVALID),
        (0x1_4800, 7, 0x9000_0000 | PAGE_ZERO),
    ] {
        let mut guest = guest();
        let first = space(0x4000 | FIRST | ALL);
        assert!(guest.translate(&first, 0x10_7000).is_some());
        guest.set_be(table, index, entry);
        let found = guest.translate(&first, 0x10_7000);
        assert_eq!(found, None, "{table:#x} {entry:#x}");
        let list = guest.mappings(&first);
        assert!(list.iter().all(|m| m.0 != 0x10_7000), "{list:x?}");
    }
    // Large pages must be valid too, and second region tables have none.
    let mut guest = guest();
    guest.set_be(0xc000, 2, 0x80_8000_0000 | THIRD | LARGE | INVALID);
    guest.set_be(0x1_0000, 3, 0x9010_0000 | LARGE | INVALID);
    guest.set_be(0x8000, 1, 0xf00_0000_0000 | SECOND | LARGE | ALL);
    let third = space(0xc000 | THIRD | ALL);
    assert_eq!(guest.mappings(&third), MAPPED[..2]);
    let second = space(0x8000 | SECOND | ALL);
    let read = |gpa, buf: &mut [u8]| guest.read(gpa, buf);
    assert!(matches!(
        second.translate(&read, 1 << 42),
        Err(TranslateError::Table {
            gpa: 0xf00_0000_0000,
            ..
        })
    ));
}

#[test]
fn only_the_quarters_that_there_are_count() {
    // An entry in each quarter of the segment table: 512 MiB apart.
    let mut guest = guest();
    for quarter in 0..4u64 {
        let segment = (0x4000_0000 + (quarter << 20)) | LARGE;
        guest.set_be(0x1_0000, 512 * quarter as usize, segment);
        guest.set_be(
            0x1_0000,
            512 * quarter as usize + 511,
            segment + 0x10_0000_0000,
        );
    }
    let vaddr = |quarter: u64| quarter << 29;
    let found = |guest: &Guest, space| {
        let there = (0..4).filter(|&quarter| {
            let first = guest.translate(&space, vaddr(quarter));
            let last = guest.translate(&space, vaddr(quarter) + (511 << 20));
            let expected = 0x4000_0000 + (quarter << 20);
            assert_eq!(first.is_some(), last.is_some());
            assert!(first.is_none_or(|gpa| gpa == expected));
            assert!(last.is_none_or(|gpa| gpa == expected + 0x10_0000_0000));
            let list = guest.mappings(&space);
            let listed = list.iter().any(|m| m.0 == vaddr(quarter));
            assert_eq!(listed, first.is_some(), "{quarter}");
            first.is_some()
        });
        there.collect::<Vec<_>>()
    };
    for (offset, length, quarters) in [
        (0, 3, vec![0, 1, 2, 3]),
        (0, 0, vec![0]),
        (1, 2, vec![1, 2]),
        (3, 3, vec![3]),
        (2, 1, vec![]),
    ] {
        guest.set_be(0xc000, 0, 0x1_0000 | THIRD | offset << 6 | length);
        assert_eq!(found(&guest, space(0xc000 | THIRD | ALL)), quarters);
        if offset == 0 {
            assert_eq!(found(&guest, space(0x1_0000 | SEGMENT | length)), quarters);
        }
    }
}

#[test]
fn quarters_that_there_are_not_need_not_be_ram() {
    // The table would begin 8 KiB in front of address 0, and end behind RAM.
    let mut guest = invalid(0x2_0000);
    guest.set_be(0x1_f000, 0, 0x9000_0000 | LARGE);
    let space = space(0x1_f000 | SEGMENT);
    let found = guest.mappings(&space);
    assert_eq!(found, [(0, 0x9000_0000, 0x10_0000)]);
    guest.set_be(0x4000, 0, 0x1_e000 | THIRD | 1 << 6 | 1);
    guest.set_be(0x1_f000, 0, 0x9000_0000 | LARGE);
    let third = AddressSpace::S390x(S390x {
        asce: 0x4000 | THIRD | ALL,
    });
    let found = guest.mappings(&third);
    assert_eq!(found, [(0x2000_0000, 0x9000_0000, 0x10_0000)]);
}

#[test]
fn addresses_up_to_the_last_are_followed() {
    let mut guest = guest();
    guest.set_be(0xc000, 5, 0xffff_ffff_ffff_f000 & !INVALID | THIRD | ALL);
    guest.set_be(0x1_0000, 9, 0xffff_ffff_fff0_0000 | LARGE);
    let space = space(0xc000 | THIRD | ALL);
    let read = |gpa, buf: &mut [u8]| guest.read(gpa, buf);
    assert!(space.translate(&read, 5 << 31 | 0x7ff0_0000).is_err());
    assert_eq!(guest.translate(&space, 0x9f_ffff), Some(u64::MAX));
}

#[test]
fn a_real_space_has_no_tables() {
    let guest = guest();
    let real = space(0xc000 | THIRD | ALL | 1 << 5);
    assert_eq!(guest.mappings(&real), []);
    assert_eq!(guest.translate(&real, 0x10_7000), None);
}

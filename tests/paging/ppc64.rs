//! 64-bit PowerPC: the kernel's radix tree, of 4 KiB and of 64 KiB pages.

use guestdump::guest::paging::{AddressSpace, Ppc64Radix};

use super::tables::Guest;

const VALID: u64 = 1 << 63;
const LEAF: u64 = 3 << 62;
/// Privileged, readable, writable, accessed, changed.
const RW: u64 = 0x18e;
/// Quadrant 3.
const KERNEL: u64 = 3 << 62;

fn radix(page_size: u64) -> AddressSpace {
    AddressSpace::Ppc64(Ppc64Radix {
        root: 0x1_0000,
        page_size,
    })
}

/// The root at 0x1_0000, 64 KiB long; one table of each level behind it. The
/// last one has 2 to the power of `last` entries.
fn guest(last: u64) -> Guest {
    let mut guest = Guest::new(0x3_0000);
    guest.set_be(0x1_0000, 0, 0x2_0000 | VALID | 9);
    guest.set_be(0x1_0000, 0x1fff, 0x2_0000 | VALID | 9);
    guest.set_be(0x2_0000, 0, 0x2_1000 | VALID | 9);
    // 1 GiB, and 2 MiB, whose lower bits are ignored.
    guest.set_be(0x2_0000, 3, 0x80_4000_0000 | 0x3fff_f000 | LEAF | RW);
    guest.set_be(0x2_1000, 1, 0x2_2100 | VALID | last);
    guest.set_be(0x2_1000, 2, 0x9020_0000 | 0x1f_f000 | LEAF | RW);
    // Cache-inhibited; software's bits.
    let flags = LEAF | 0x2000_0000_0000_0e38 | RW;
    guest.set_be(0x2_2100, 7, 0x000f_ffff_ffff_0000 | flags);
    // An address that no RAM has.
    guest.set_be(0x2_2100, 9, 0x01ff_ffff_ffff_0000 | flags);
    guest
}

#[test]
fn radix_tables_for_pages_of_both_sizes_are_walked() {
    for (size, last) in [(0x1000, 9), (0x1_0000, 5)] {
        let guest = guest(last);
        let space = radix(size);
        let below_root = [
            (0x20_0000 + 7 * size, 0x000f_ffff_ffff_0000, size),
            (0x40_0000, 0x9020_0000, 0x20_0000),
            (0xc000_0000, 0x80_4000_0000, 0x4000_0000),
        ];
        let at = |base| below_root.map(|(vaddr, gpa, size)| (base | vaddr, gpa, size));
        let high = KERNEL | 0x1fff << 39;
        assert_eq!(guest.mappings(&space), [at(KERNEL), at(high)].concat());
        let page = KERNEL | (0x20_0000 + 7 * size);
        assert_eq!(
            guest.translate(&space, page + 0x234),
            Some(0x000f_ffff_ffff_0234)
        );
        let far = guest.translate(&space, page + 2 * size);
        assert_eq!(far, Some(0x01ff_ffff_ffff_0000));
        assert_eq!(guest.translate(&space, high | 0x5f_ffff), Some(0x903f_ffff));
        assert_eq!(
            guest.translate(&space, KERNEL | 0xffff_ffff),
            Some(0x80_7fff_ffff)
        );
        assert_eq!(guest.translate(&space, page + size), None);
        assert_eq!(guest.translate(&space, KERNEL | 0x10_0000_0000), None);
        // Other quadrants, and bits between the quadrant and the tree.
        for vaddr in [
            0x40_0000,
            1 << 62 | 0x40_0000,
            2 << 62 | 0x40_0000,
            KERNEL | 1 << 52,
        ] {
            assert_eq!(guest.translate(&space, vaddr), None, "{vaddr:#x}");
        }
    }
    assert_eq!(guest(5).mappings(&radix(0x4000)), []);
}

#[test]
fn entries_of_another_kind_lead_nowhere() {
    for (table, index, entry) in [
        (0x1_0000, 0, 0x2_0000 | 9),
        // As the hash MMU's, without a size; of another size.
        (0x1_0000, 0, 0x2_0000 | VALID),
        (0x1_0000, 0, 0x2_0000 | VALID | 5),
        // No page is that large.
        (0x1_0000, 0, LEAF | RW),
        (0x2_0000, 0, 0x2_1000 | VALID | 13),
        (0x2_1000, 1, 0x2_2100 | VALID | 9),
        (0x2_1000, 1, 0x2_2100 | 5),
        (0x2_2100, 7, 0x9000_0000 | VALID | 5),
        (0x2_2100, 7, 0x9000_0000 | 1 << 62 | RW),
    ] {
        let mut guest = guest(5);
        let vaddr = KERNEL | 0x27_0000;
        assert!(guest.translate(&radix(0x1_0000), vaddr).is_some());
        guest.set_be(table, index, entry);
        let found = guest.translate(&radix(0x1_0000), vaddr);
        assert_eq!(found, None, "{table:#x} {entry:#x}");
        let list = guest.mappings(&radix(0x1_0000));
        assert!(list.iter().all(|m| m.0 != vaddr), "{list:x?}");
    }
}

#[test]
fn loops_and_tables_outside_ram_end_the_walk() {
    use guestdump::guest::paging::Budget;
    let mut guest = guest(9);
    (0..512).for_each(|index| guest.set_be(0x2_0000, index, 0x2_0000 | VALID | 9));
    guest.set_be(0x1_0000, 1, 0x0fff_ffff_ffff_ff00 | VALID | 9);
    let ram = [testkit::range(0, 0x3_0000)];
    let found = guest.walk(&[radix(0x1000)], &ram, Budget::default());
    assert!(found.is_partial());
    assert_eq!((found.unreadable_tables, found.list.len()), (1, 0));
    assert!(found.tables <= 66, "{}", found.tables);
}

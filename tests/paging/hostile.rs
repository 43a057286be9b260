//! Page tables that want to keep the dump busy for ever.

use guestdump::guest::paging::{
    Aarch64, AddressSpace, Budget, Mappings, Ppc64Radix, Riscv, S390x, TranslateError, X86,
    X86Mode, mappings,
};
use guestdump::memory::MemoryRange;
use guestdump::{ByteOrder, Fault, Progress};
use proptest::prelude::*;
use testkit::range;

use super::tables::{Guest, triples};

const P: u64 = 1;
const PS: u64 = 0x81;

fn four_levels(cr3: u64) -> AddressSpace {
    AddressSpace::X86(X86 {
        cr3,
        mode: X86Mode::FourLevel,
    })
}

fn fill(guest: &mut Guest, table: u64, entry: u64) {
    (0..512).for_each(|index| guest.set(table, index, entry));
}

/// Walks with RAM as long as the guest's; each table is one read.
fn walk(guest: &Guest, budget: Budget) -> Mappings {
    let ram = [range(0, guest.ram.len() as u64)];
    let found = guest.walk(&[four_levels(0x1000)], &ram, budget);
    assert_eq!(guest.reads.get(), found.tables + found.unreadable_tables);
    assert!(guest.bytes.get() <= budget.table_bytes);
    assert!(found.list.len() <= budget.mappings);
    found
}

#[test]
fn table_that_contains_only_itself_ends_within_the_budget() {
    let mut guest = Guest::new(0x4000);
    fill(&mut guest, 0x1000, 0x1000 | P);
    let found = walk(&guest, Budget::default());
    assert!(found.is_partial());
    assert!(found.tables <= 64, "{}", found.tables);
    assert!(found.list.len() <= 64 * 512);
    assert_eq!((found.cut_bytes, found.unreadable_tables), (0, 0));
}

#[test]
fn a_shared_table_at_every_level_does_not_hide_the_rest() {
    // The pages of zeroes behind KASAN's shadow memory look like this.
    let mut guest = Guest::new(0x10000);
    fill(&mut guest, 0x2000, 0x3000 | P);
    fill(&mut guest, 0x3000, 0x4000 | P);
    fill(&mut guest, 0x4000, 0x5000 | P);
    for index in 300..500 {
        guest.set(0x1000, index, 0x2000 | P);
    }
    guest.set(0x1000, 511, 0x6000 | P);
    guest.set(0x6000, 511, 0x7000 | P);
    guest.set(0x7000, 511, 0x8000 | P);
    guest.set(0x8000, 511, 0x9000 | P);
    guest.set(0x1000, 0, 0xa000 | P);
    guest.set(0xa000, 0, 0xb000 | P);
    guest.set(0xb000, 0, 0xc000 | P);
    guest.set(0xc000, 0, 0xd000 | P);
    let found = walk(&guest, Budget::default());
    assert!(found.tables <= 1 + 3 * 64 + 6, "{}", found.tables);
    assert!(found.is_partial());
    let list = triples(&found.list);
    assert_eq!(list[0], (0, 0xd000, 0x1000));
    assert_eq!(list[list.len() - 1], (!0xfff, 0x9000, 0x1000));
}

#[test]
fn a_budget_of_mappings_keeps_the_kernel() {
    let mut guest = Guest::new(0x10000);
    for (slot, tables) in [(0, 0x2000), (256, 0x6000)] {
        guest.set(0x1000, slot, tables | P);
        guest.set(tables, 0, (tables + 0x1000) | P);
        guest.set(tables + 0x1000, 0, (tables + 0x2000) | P);
        guest.set(tables + 0x1000, 1, (tables + 0x2000) | P);
        // 256 pages apart from one another.
        for index in (0..512).step_by(2) {
            guest.set(tables + 0x2000, index, 0x9000 | P);
        }
    }
    let budget = |mappings| Budget {
        mappings,
        ..Budget::default()
    };
    let all = walk(&guest, budget(1024));
    assert!(!all.is_partial());
    assert_eq!(all.list.len(), 1024);
    guest.reads.set(0);
    let some = walk(&guest, budget(600));
    assert!(some.is_partial());
    assert_eq!(some.list.len(), 600);
    // 256 - 88 pages of the table in work, and one table behind it.
    assert_eq!((some.cut_bytes, some.cut_tables), (168 << 12, 1));
    let kernel = some.list.iter().filter(|m| m.vaddr >> 63 == 1);
    assert_eq!(kernel.count(), 512);
}

#[test]
fn a_budget_of_tables_ends_the_walk() {
    // 255 tables, each of which points to all others.
    let mut guest = Guest::new(1 << 20);
    for table in 1..256u64 {
        for index in 0..512 {
            let to = 1 + (table * 31 + index as u64 * 7) % 255;
            guest.set(table << 12, index, to << 12 | P);
        }
    }
    let budget = Budget {
        mappings: 100_000,
        table_bytes: 100 << 12,
    };
    let found = walk(&guest, budget);
    assert_eq!(found.tables, 100);
    assert!(found.is_partial());
    assert!(found.cut_tables > 0);
}

#[test]
fn a_large_page_over_scattered_ram_is_within_the_budget() {
    let mut guest = Guest::new(0x4000);
    guest.set(0x1000, 0, 0x2000 | P);
    fill(&mut guest, 0x2000, PS);
    let ram: Vec<_> = (0..1000).map(|i| range(i << 13, 0x1000)).collect();
    let found = guest.walk(&[four_levels(0x1000)], &ram, Budget::default());
    assert_eq!(found.list.len(), 512 * 1000);
    assert!(!found.is_partial());
    let budget = Budget {
        mappings: 10_500,
        ..Budget::default()
    };
    let found = guest.walk(&[four_levels(0x1000)], &ram, budget);
    assert_eq!(found.list.len(), 10_500);
    assert!(found.cut_bytes >= 500 << 30, "{:#x}", found.cut_bytes);
    // Ranges that touch are one.
    let touching: Vec<_> = (0..1000).map(|i| range(i << 12, 0x1000)).collect();
    let found = guest.walk(&[four_levels(0x1000)], &touching, Budget::default());
    assert_eq!(found.list.len(), 512);
}

#[test]
fn tables_outside_ram_are_counted_and_the_rest_is_found() {
    let mut guest = Guest::new(0x8000);
    for (index, table) in [(0, 0xffff_f000), (1, 0x7fff_ffff_f000), (2, 0x2000)] {
        guest.set(0x1000, index, table | P);
    }
    guest.set(0x2000, 0, 0x3000 | P);
    guest.set(0x3000, 0, PS);
    guest.set(0x3000, 1, 0xf_0000_0000 | PS); // no RAM
    let found = walk(&guest, Budget::default());
    assert_eq!(found.unreadable_tables, 2);
    assert!(!found.is_partial());
    assert_eq!(triples(&found.list), [(2 << 39, 0, 0x8000)]);
    // The first table itself.
    let space = four_levels(0x10_0000);
    let found = guest.walk(&[space], &[range(0, 0x8000)], Budget::default());
    assert_eq!((found.unreadable_tables, found.list.len()), (1, 0));
    let error = space.translate(&|gpa, buf: &mut [u8]| guest.read(gpa, buf), 0);
    assert!(matches!(
        error,
        Err(TranslateError::Table { gpa: 0x10_0000, .. })
    ));
}

#[test]
fn what_cpus_share_is_walked_once() {
    let mut guest = Guest::new(0x20000);
    for cpu in 0..8u64 {
        let root = 0x1000 + (cpu << 12);
        guest.set(root, 511, 0x1_0000 | P);
        guest.set(root, cpu as usize, 0x1_0000 | P);
    }
    guest.set(0x1_0000, 0, 0x1_1000 | P);
    guest.set(0x1_1000, 0, PS);
    let spaces: Vec<_> = (0..8)
        .map(|cpu| four_levels(0x1000 + (cpu << 12)))
        .collect();
    // Other PCIDs, the same tables.
    let more: Vec<_> = (0..8)
        .map(|cpu| four_levels(0x1007 + (cpu << 12)))
        .collect();
    let ram = [range(0, 0x20000)];
    let found = guest.walk(&[spaces, more].concat(), &ram, Budget::default());
    // Eight roots; the kernel once, each CPU's own part once.
    assert_eq!(found.tables, 8 + 2 + 8 * 2);
    assert_eq!(found.list.len(), 9);
}

#[test]
fn mappings_that_overlap_at_one_distance_are_joined() {
    let mut guest = Guest::new(0x20000);
    for (root, first) in [(0x1000u64, 0), (0x2000, 3)] {
        let table = root + 0x2_0000 / 2;
        guest.set(root, 0, table | P);
        guest.set(table, 0, (table + 0x2000) | P);
        guest.set(table + 0x2000, 0, (table + 0x4000) | P);
        for index in first..first + 5 {
            guest.set(table + 0x4000, index, (index as u64) << 12 | P);
        }
    }
    let spaces = [four_levels(0x1000), four_levels(0x2000)];
    let found = guest.walk(&spaces, &[range(0, 0x20000)], Budget::default());
    assert_eq!(triples(&found.list), [(0, 0, 0x8000)]);
}

#[test]
fn a_walk_can_be_cancelled() {
    let mut guest = Guest::new(0x2000);
    fill(&mut guest, 0x1000, 0x1000 | P);
    let progress = Progress::new();
    let read = |gpa, buf: &mut [u8]| {
        if guest.reads.get() == 10 {
            progress.cancel();
        }
        guest.read(gpa, buf)
    };
    let ram = [range(0, 0x2000)];
    let spaces = [four_levels(0x1000)];
    let result = mappings(&spaces, &read, &ram, Budget::default(), &progress);
    assert!(matches!(result, Err(Fault::Cancelled)));
    assert_eq!(guest.reads.get(), 11);
}

/// Every kind of tables, with the first one at `root`.
fn any_space(root: u64) -> impl Strategy<Value = AddressSpace> {
    let x86 = [
        X86Mode::TwoLevel { pse: false },
        X86Mode::TwoLevel { pse: true },
        X86Mode::Pae,
        X86Mode::FourLevel,
        X86Mode::FiveLevel,
    ];
    let x86 = prop::sample::select(x86.to_vec())
        .prop_map(move |mode| AddressSpace::X86(X86 { cr3: root, mode }));
    let aarch64 = any::<u64>().prop_map(move |tcr| {
        AddressSpace::Aarch64(Aarch64 {
            ttbr0: root,
            ttbr1: root + 0x1000,
            tcr,
            order: ByteOrder::Little,
        })
    });
    let riscv = prop::sample::select(vec![8u64, 9, 10]).prop_map(move |mode| {
        AddressSpace::Riscv(Riscv::Bits64 {
            satp: mode << 60 | root >> 12,
        })
    });
    let sv32 = Just(AddressSpace::Riscv(Riscv::Bits32 {
        satp: 1 << 31 | (root >> 12) as u32,
    }));
    // Of every type and length.
    let s390x = (0u64..16).prop_map(move |bits| {
        let asce = root | bits;
        AddressSpace::S390x(S390x { asce })
    });
    let ppc64 = prop::sample::select(vec![1u64 << 12, 1 << 16])
        .prop_map(move |page_size| AddressSpace::Ppc64(Ppc64Radix { root, page_size }));
    prop_oneof![x86, aarch64, riscv, sv32, s390x, ppc64]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever the tables say, the walk ends within its budget, and finds
    /// what one address after the other gives.
    #[test]
    fn any_tables_end_within_the_budget_and_agree_with_translate(
        space in any_space(0x1_0000),
        entries in prop::collection::vec((0usize..0x4_0000 / 8, any::<u64>()), 0..2000),
        vaddr in any::<u64>(),
    ) {
        let big = matches!(space, AddressSpace::S390x(_) | AddressSpace::Ppc64(_));
        let mut guest = Guest::new(0x4_0000);
        for (index, entry) in entries {
            // Addresses mostly in RAM, in either byte order.
            let entry = entry & 0xf800_0000_0003_ffff;
            guest.set(0, index, if big { entry.swap_bytes() } else { entry });
        }
        let budget = Budget { mappings: 5000, table_bytes: 1 << 20 };
        let ram: Vec<MemoryRange> = vec![range(0, 0x2_0000), range(0x3_0000, 0x1_0000)];
        let found = guest.walk(&[space], &ram, budget);
        prop_assert!(found.list.len() <= budget.mappings);
        prop_assert!(guest.bytes.get() <= budget.table_bytes);
        let read = |gpa, buf: &mut [u8]| guest.read(gpa, buf);
        for mapping in &found.list {
            let last = mapping.size - 1;
            for inside in [0, last / 2, last] {
                let gpa = space.translate(&read, mapping.vaddr + inside).unwrap();
                prop_assert_eq!(gpa, mapping.gpa + inside);
                prop_assert!(ram.iter().any(|ram| ram.contains(gpa, 1)));
            }
        }
        let _ = space.translate(&read, vaddr);
    }
}

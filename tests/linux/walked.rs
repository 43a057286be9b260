//! `struct page`s that lie scattered in RAM, found through what the kernels of
//! s390x and 64-bit PowerPC have in place of a direct mapping of them.

use std::sync::atomic::Ordering;

use guestdump::guest::linux::{Kernel, KernelError};
use guestdump::{Machine, Workers};

use super::pages::{BUDDY, Generation, Kern, LRU, Model, PAGES, TABLE};

/// Where the pages of the 64 KiB of `struct page`s are moved to, and
/// afterwards the tables that lead to them.
const MOVED: u64 = 0x28_0000;
const TABLES: u64 = 0x20_0000;
/// Pages of 4 KiB that all `struct page`s need.
const COUNT: u64 = 16;

/// Guest-physical address of the page `index` of the `struct page`s.
fn scattered(index: u64) -> u64 {
    MOVED + index * 7 % COUNT * 0x3000
}

/// A kernel with an array of `struct page`s at the guest-virtual address
/// `vmemmap`, and some pages to leave out.
fn kernel(machine: Machine, vmemmap: u64) -> Kern {
    let mut kern = Kern::new(machine, Model::Flat, Generation::Destructor);
    for frame in [3, 64, 127, 128, 1023] {
        kern.put(frame, LRU, 0, -1, 0, 0);
    }
    kern.put(256, 0, 0, BUDDY, 8, 0);
    // Its second struct page is in the next page of the array.
    kern.put_large(700, 2, LRU, 0, false);
    let guest = &mut kern.guest;
    for index in 0..COUNT {
        let from = (PAGES + index * 0x1000) as usize;
        guest
            .ram
            .copy_within(from..from + 0x1000, scattered(index) as usize);
    }
    guest.ram[PAGES as usize..][..0x1_0000].fill(0xa5);
    guest.put_word(TABLE, vmemmap);
    kern
}

fn expected() -> Vec<u64> {
    let free = 256..512;
    let mut frames = vec![3, 64, 127, 128, 700, 701, 702, 703, 1023];
    frames.extend(free);
    frames.sort_unstable();
    frames
}

/// All is found, and the array reads as it is.
fn check(kern: &mut Kern, vmemmap: u64) {
    assert_eq!(kern.excluded(31).0, expected());
    let guest = &kern.guest;
    let workers = Workers::new();
    let kernel = Kernel::find(guest, &guest.info(), &workers).unwrap();
    let mut bytes = [0; 0x1800];
    kernel.read(vmemmap + 0xc00, &mut bytes).unwrap();
    let ram = |gpa: u64, len: usize| &guest.ram[gpa as usize..][..len];
    let parts = [
        ram(scattered(0) + 0xc00, 0x400),
        ram(scattered(1), 0x1000),
        ram(scattered(2), 0x400),
    ];
    assert_eq!(bytes[..], parts.concat());
    let gpa = kernel.translate(vmemmap + 0x5123).unwrap();
    assert_eq!(gpa, scattered(5) + 0x123);
    // Behind the array is nothing.
    assert!(
        kernel.translate(vmemmap + 0x1_0000).is_err()
            || kernel.read(vmemmap + 0x1_0000, &mut bytes).is_err()
    );
}

fn error(kern: &Kern) -> KernelError {
    kern.exclusion(31, 1).unwrap_err()
}

mod s390x {
    use super::*;

    const THIRD: u64 = 1 << 2 | 3;
    const LARGE: u64 = 1 << 10;
    const VMEMMAP: u64 = 0x80_0000_0000;
    const SEGMENTS: u64 = TABLES + 0x4000;
    const PAGE_TABLE: u64 = TABLES + 0x8000;

    /// RAM from `identity` on, the array at [`VMEMMAP`], and the image, which
    /// is all of RAM here, from `image` on.
    fn mapped(identity: u64, image: u64) -> Kern {
        let mut kern = kernel(Machine::S390x, VMEMMAP);
        let guest = &mut kern.guest;
        for index in 0..2048 {
            guest.put_word(TABLES + index * 8, 1 << 2 | 1 << 5);
            guest.put_word(SEGMENTS + index * 8, 1 << 5);
        }
        for index in 0..256 {
            guest.put_word(PAGE_TABLE + index * 8, 1 << 10);
        }
        for vaddr in [identity, image, VMEMMAP] {
            guest.put_word(TABLES + (vaddr >> 31) * 8, SEGMENTS | THIRD);
        }
        // The same segments serve all: 4 MiB of RAM, then the array.
        for segment in 0..4 {
            guest.put_word(SEGMENTS + segment * 8, segment << 20 | LARGE);
        }
        guest.put_word(SEGMENTS + 4 * 8, PAGE_TABLE);
        for index in 0..COUNT {
            guest.put_word(PAGE_TABLE + index * 8, scattered(index));
        }
        guest.put_word(TABLE, VMEMMAP + 0x40_0000);
        let symbols = [("contig_page_data", TABLE), ("swapper_pg_dir", TABLES)];
        guest.info = guest
            .info
            .replace("SYMBOL(contig_page_data)", "SYMBOL(old)");
        for (name, gpa) in symbols {
            guest.line(format_args!("SYMBOL({name})={:x}", image + gpa));
        }
        kern
    }

    #[test]
    fn the_array_is_found_through_the_kernels_tables() {
        check(&mut mapped(0, 0), VMEMMAP + 0x40_0000);
    }

    #[test]
    fn tables_are_read_once_for_many_pages() {
        let kern = mapped(0, 0);
        kern.exclusion(31, 1).unwrap();
        let reads = kern.guest.reads.load(Ordering::Relaxed);
        // The array's pages, three tables, and what leads to both.
        assert!(reads < COUNT + 16, "{reads}");
    }

    /// Since Linux 6.10.
    #[test]
    fn image_and_ram_at_separate_addresses_are_both_found() {
        let image = 0x3ff_8000_0000;
        let mut kern = mapped(0x1000_0000_0000 >> 4, image);
        kern.guest.line("IDENTITYBASE=10000000000");
        kern.guest
            .line(format_args!("KERNELOFFSET={image:x}\nKERNELOFFPHYS=0"));
        check(&mut kern, VMEMMAP + 0x40_0000);
    }

    #[test]
    fn tables_that_lie_are_an_error() {
        // The array's pages: not there, and not in RAM.
        for entry in [1 << 10, 0x7fff_ffff_f000] {
            let mut kern = mapped(0, 0);
            kern.guest.put_word(PAGE_TABLE + 8 * 5, entry);
            let error = error(&kern);
            let expected = VMEMMAP + 0x40_5000;
            let vaddr = match error {
                KernelError::Unmapped { vaddr, .. } | KernelError::Read { vaddr, .. } => vaddr,
                other => panic!("{other}"),
            };
            assert_eq!(vaddr, expected);
        }
        // A root that is none leaves nothing but the image.
        for entry in [0, u64::MAX, SEGMENTS | 3 << 2 | 3] {
            let mut kern = mapped(0, 0);
            kern.guest.put_word(TABLES, entry);
            let error = error(&kern);
            assert!(matches!(error, KernelError::Read { .. }), "{error}");
        }
    }
}

mod ppc64 {
    use super::*;

    const LINEAR: u64 = 0xc000_0000_0000_0000;
    const VMEMMAP: u64 = 0xc00c_0000_0000_0000;
    const VALID: u64 = 1 << 63;
    const LEAF: u64 = 3 << 62;

    const BOTH: [Machine; 2] = [Machine::Ppc64, Machine::Ppc64le];

    /// Entries are big-endian in either case.
    fn put_entry(kern: &mut Kern, table: u64, index: u64, entry: u64) {
        let at = (table + index * 8) as usize;
        kern.guest.ram[at..at + 8].copy_from_slice(&entry.to_be_bytes());
    }

    fn radix(machine: Machine) -> Kern {
        let mut kern = kernel(machine, VMEMMAP);
        let [linear, linear_2m, array, array_2m, pages] =
            std::array::from_fn(|table| TABLES + 0x1_0000 + 0x1000 * table as u64);
        kern.guest.ram[TABLES as usize..][..0x1_5000].fill(0);
        for (table, index, entry) in [
            (TABLES, 0, linear | VALID | 9),
            (linear, 0, linear_2m | VALID | 9),
            (linear_2m, 0, LEAF),
            (linear_2m, 1, 0x20_0000 | LEAF),
            (TABLES, 0x1800, array | VALID | 9),
            (array, 0, array_2m | VALID | 9),
            (array_2m, 0, pages | VALID | 9),
        ] {
            put_entry(&mut kern, table, index, entry);
        }
        for index in 0..COUNT {
            put_entry(&mut kern, pages, index, scattered(index) | LEAF);
        }
        kern.guest
            .line(format_args!("SYMBOL(swapper_pg_dir)={:x}", LINEAR + TABLES));
        kern
    }

    #[test]
    fn the_array_is_found_through_the_radix_tree() {
        for machine in BOTH {
            check(&mut radix(machine), VMEMMAP);
            let mut kern = radix(machine);
            kern.guest.line("NUMBER(RADIX_MMU)=1");
            check(&mut kern, VMEMMAP);
            // With the hash MMU it would be no tree.
            let mut kern = radix(machine);
            kern.guest.line("NUMBER(RADIX_MMU)=0");
            assert!(matches!(error(&kern), KernelError::Read { .. }));
        }
    }

    const LIST: u64 = TABLES;
    const SIZES: u64 = TABLES + 0x1000;
    const SIZE_KIND: u64 = TABLES + 0x2000;
    const NODES: u64 = TABLES + 0x3000;

    /// As with the hash MMU: the linear mapping, and a list of the array's
    /// pages, the last one first.
    fn hash(machine: Machine) -> Kern {
        let mut kern = kernel(machine, VMEMMAP);
        for line in [
            format!("SYMBOL(swapper_pg_dir)={:x}", LINEAR + TABLES + 0x8000),
            format!("SYMBOL(vmemmap_list)={:x}", LINEAR + LIST),
            format!("SYMBOL(mmu_vmemmap_psize)={:x}", LINEAR + SIZE_KIND),
            format!("SYMBOL(mmu_psize_defs)={:x}", LINEAR + SIZES),
            "SIZE(mmu_psize_def)=96\nOFFSET(mmu_psize_def.shift)=4".to_owned(),
            "SIZE(vmemmap_backing)=24\nOFFSET(vmemmap_backing.list)=0".to_owned(),
            "OFFSET(vmemmap_backing.phys)=8\nOFFSET(vmemmap_backing.virt_addr)=16".to_owned(),
        ] {
            kern.guest.line(line);
        }
        kern.guest.put(SIZE_KIND, 4, 5);
        kern.guest.put(SIZES + 5 * 96 + 4, 4, 12);
        let mut next = 0;
        for index in 0..COUNT {
            let node = NODES + index * 24;
            kern.guest.put_word(node, next);
            kern.guest.put_word(node + 8, scattered(index));
            kern.guest.put_word(node + 16, VMEMMAP + index * 0x1000);
            next = LINEAR + node;
        }
        kern.guest.put_word(LIST, next);
        kern
    }

    #[test]
    fn the_array_is_found_by_the_list_of_the_hash_mmu() {
        for machine in BOTH {
            check(&mut hash(machine), VMEMMAP);
            let mut kern = hash(machine);
            kern.guest.line("NUMBER(RADIX_MMU)=0");
            check(&mut kern, VMEMMAP);
        }
    }

    #[test]
    fn a_list_that_lies_is_an_error_of_the_pages_alone() {
        // Where, how long, what.
        let loops = LINEAR + NODES + 15 * 24;
        for (at, len, value) in [
            (NODES, 8, loops),
            (NODES + 3 * 24, 8, LINEAR + NODES + 3 * 24),
            (NODES, 8, LINEAR | 1 << 40),
            (NODES, 8, 8),
            (LIST, 8, u64::MAX),
            (LIST, 8, 0),
            (NODES + 8, 8, u64::MAX - 7),
            (NODES + 16, 8, u64::MAX - 7),
            (SIZE_KIND, 4, 16),
            (SIZE_KIND, 4, u64::from(u32::MAX)),
            (SIZES + 5 * 96 + 4, 4, 11),
            (SIZES + 5 * 96 + 4, 4, 35),
            (SIZES + 5 * 96 + 4, 4, 64),
        ] {
            let mut kern = hash(Machine::Ppc64le);
            kern.guest.put(at, len, value);
            let error = error(&kern);
            assert!(
                matches!(error, KernelError::Read { .. }),
                "{at:#x} {value:#x}: {error}"
            );
            let reads = kern.guest.reads.load(Ordering::Relaxed);
            assert!(reads < 4000, "{reads}");
        }
        // A page that is nowhere spoils nothing else.
        let mut kern = hash(Machine::Ppc64le);
        kern.guest.put_word(NODES + 8, 1 << 50);
        assert!(matches!(
            error(&kern),
            KernelError::Read { vaddr: VMEMMAP, .. }
        ));
    }
}

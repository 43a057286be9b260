//! Which pages a dump level leaves out, by `struct page`.

use std::sync::atomic::Ordering;

use guestdump::guest::linux::{DumpLevel, ExcludedPages, Exclusion, Kernel, KernelError};
use guestdump::{Machine, Workers};

use super::guest::Guest;

/// Guest-physical address of the variable `contig_page_data` or `mem_section`, and
/// of the `struct page`s.
pub(super) const TABLE: u64 = 0x1000;
const ROOT: u64 = 0x2000;
pub(super) const PAGES: u64 = 0x1_0000;
/// 1024 page frames, in four sections where there are any.
pub(super) const RAM: usize = 4 << 20;

pub(super) const LRU: u64 = 1 << 4;
const SLAB: u64 = 1 << 9;
const SWAPCACHE: u64 = 1 << 10;
pub(super) const PRIVATE: u64 = 1 << 13;
const HEAD: u64 = 1 << 16;
pub(super) const SWAPBACKED: u64 = 1 << 19;
pub(super) const HWPOISON: u64 = 1 << 22;
pub(super) const BUDDY: i32 = -129;
const OFFLINE: i32 = -257;

/// How the kernel finds its `struct page`s.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Model {
    Flat,
    Static,
    /// The root's address, or that of a pointer to it, is in VMCOREINFO.
    Extreme {
        pointer: bool,
    },
}

/// Which kernels tell a large page's order in that way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Generation {
    /// Before 6.6.
    Destructor,
    /// 6.6 to 6.8.
    Flag,
    /// Since 6.10; the tests' ones are of 7.1 or later.
    PageType,
}

pub(crate) struct Kern {
    pub(crate) guest: Guest,
    generation: Generation,
}

/// As `struct page` of 64-bit kernels; half of each with 32 bits.
#[derive(Clone, Copy)]
struct Offsets {
    size: u64,
    compound_head: u64,
    mapping: u64,
    private: u64,
    mapcount: u64,
}

impl Kern {
    pub(super) fn new(machine: Machine, model: Model, generation: Generation) -> Self {
        let guest = Guest::new(machine, RAM);
        let mut kern = Self { guest, generation };
        let o = kern.offsets();
        let guest = &mut kern.guest;
        // The newest ones call it otherwise.
        let compound = match generation {
            Generation::PageType => "compound_info",
            Generation::Destructor | Generation::Flag => "compound_head",
        };
        for line in [
            format!("SIZE(page)={}", o.size),
            "OFFSET(page.flags)=0".to_owned(),
            format!("OFFSET(page.mapping)={}", o.mapping),
            format!("OFFSET(page._mapcount)={}", o.mapcount),
            format!("OFFSET(page.private)={}", o.private),
            format!("OFFSET(page.{compound})={}", o.compound_head),
            "LENGTH(zone.free_area)=11".to_owned(),
            "NUMBER(PG_lru)=4".to_owned(),
            "NUMBER(PG_private)=13".to_owned(),
            "NUMBER(PG_swapcache)=10".to_owned(),
            "NUMBER(PG_swapbacked)=19".to_owned(),
            "NUMBER(PG_hwpoison)=22".to_owned(),
            "NUMBER(PG_head_mask)=65536".to_owned(),
            "NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-129".to_owned(),
            "NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)=-257".to_owned(),
            "NUMBER(PAGE_UNACCEPTED_MAPCOUNT_VALUE)=-300".to_owned(),
        ] {
            guest.line(line);
        }
        let of_generation = match generation {
            Generation::Destructor => [
                "NUMBER(PG_slab)=9",
                "OFFSET(page.compound_dtor)=16",
                "OFFSET(page.compound_order)=17\nNUMBER(HUGETLB_PAGE_DTOR)=2",
            ],
            Generation::Flag => ["NUMBER(PG_slab)=9", "NUMBER(PG_hugetlb)=8", ""],
            Generation::PageType => [
                "NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)=-500",
                "NUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)=-400",
                "",
            ],
        };
        of_generation.iter().for_each(|line| guest.line(line));
        kern.put_model(model);
        for frame in 0..1024 {
            kern.put(frame, 0, 0, -1, 0, 0);
        }
        kern
    }

    fn offsets(&self) -> Offsets {
        let w = self.guest.word_size();
        Offsets {
            size: 8 * w,
            compound_head: w,
            mapping: 3 * w,
            private: 5 * w,
            mapcount: 6 * w,
        }
    }

    fn put_model(&mut self, model: Model) {
        let size = self.offsets().size;
        let guest = &mut self.guest;
        let (table, root, pages) = (guest.vaddr(TABLE), guest.vaddr(ROOT), guest.vaddr(PAGES));
        if model == Model::Flat {
            let w = guest.word_size();
            for line in [
                format!("SYMBOL(contig_page_data)={table:x}"),
                "OFFSET(pglist_data.node_mem_map)=0".to_owned(),
                format!("OFFSET(pglist_data.node_start_pfn)={w}"),
                format!("OFFSET(pglist_data.node_spanned_pages)={}", 2 * w),
            ] {
                guest.line(line);
            }
            guest.put_word(TABLE, pages);
            guest.put_word(TABLE + w, 0);
            guest.put_word(TABLE + 2 * w, 1024);
            return;
        }
        // Sections of 1 MiB. The second root's table has no section that is
        // there, and the third section is not used.
        let w = guest.word_size();
        let bits = if model == Model::Static { 22 } else { 20 + 10 };
        let per_root = 4096 / (2 * w);
        let length = match model {
            Model::Static => 4,
            _ => 1024 / per_root,
        };
        for line in [
            format!("LENGTH(mem_section)={length}"),
            format!("SIZE(mem_section)={}", 2 * w),
            "OFFSET(mem_section.section_mem_map)=0".to_owned(),
            "NUMBER(SECTION_SIZE_BITS)=20".to_owned(),
            format!("NUMBER(MAX_PHYSMEM_BITS)={bits}"),
        ] {
            guest.line(line);
        }
        for section in 0..4u64 {
            // Each section's pages lie elsewhere.
            let first = pages + section * 0x8000;
            let coded = first.wrapping_sub(section * 256 * size) | 0b11_1111;
            let coded = if section == 2 { coded & !1 } else { coded };
            guest.put_word(TABLE + section * 2 * w, coded);
        }
        guest.put_word(ROOT, table);
        guest.put_word(ROOT - 8, root);
        let symbol = match model {
            Model::Static => table,
            Model::Extreme { pointer: false } => root,
            _ => guest.vaddr(ROOT - 8),
        };
        guest.line(format_args!("SYMBOL(mem_section)={symbol:x}"));
    }

    fn at(&self, frame: u64) -> u64 {
        let size = self.offsets().size;
        if self.guest.info.contains("mem_section") {
            PAGES + frame / 256 * 0x8000 + frame % 256 * size
        } else {
            PAGES + frame * size
        }
    }

    pub(super) fn put(
        &mut self,
        frame: u64,
        flags: u64,
        mapping: u64,
        mapcount: i32,
        private: u64,
        head: u64,
    ) {
        let (o, at) = (self.offsets(), self.at(frame));
        self.guest.put_word(at, flags);
        self.guest.put_word(at + o.mapping, mapping);
        self.guest
            .put(at + o.mapcount, 4, u64::from(mapcount as u32));
        self.guest.put_word(at + o.private, private);
        self.guest.put_word(at + o.compound_head, head);
    }

    /// A large page, each of whose tails has `tail_flags`.
    pub(super) fn put_large(
        &mut self,
        frame: u64,
        order: u32,
        flags: u64,
        mapping: u64,
        hugetlb: bool,
    ) {
        let mapcount = match (self.generation, hugetlb) {
            (Generation::PageType, true) => -400,
            _ => -1,
        };
        self.put(frame, flags | HEAD, mapping, mapcount, 0, 0);
        let head = self.guest.vaddr(self.at(frame)) | 1;
        for tail in 1..1 << order {
            self.put(frame + tail, LRU, 1, -1, 0, head);
        }
        let at = self.at(frame + 1);
        match self.generation {
            Generation::Destructor => {
                self.guest.put(at + 16, 1, if hugetlb { 2 } else { 1 });
                self.guest.put(at + 17, 1, order.into());
            }
            Generation::Flag => {
                let flag = u64::from(hugetlb) << 8;
                self.guest.put_word(at, u64::from(order) | flag);
            }
            Generation::PageType => self.guest.put_word(at, order.into()),
        }
    }

    fn put_slab(&mut self, frame: u64, flags: u64, mapping: u64) {
        let (flags, mapcount) = match self.generation {
            Generation::PageType => (flags, -500),
            _ => (flags | SLAB, -1),
        };
        self.put(frame, flags, mapping, mapcount, 0, 0);
    }

    /// Leaves zeroes of what says of a page only that the kernel has it.
    pub(crate) fn forget_plain(&mut self) {
        let size = self.offsets().size as usize;
        self.put(0, 0, 0, -1, 0, 0);
        let first = self.at(0) as usize;
        let plain = self.guest.ram[first..first + size].to_vec();
        for frame in 0..1024 {
            let at = self.at(frame) as usize;
            let page = &mut self.guest.ram[at..at + size];
            if page == plain {
                page.fill(0);
            }
        }
    }

    pub(super) fn exclusion(&self, level: u8, threads: usize) -> Result<Exclusion, KernelError> {
        let workers = Workers::new().threads(threads);
        let kernel = Kernel::find(&self.guest, &self.guest.info(), &workers).unwrap();
        kernel.exclusion(DumpLevel::new(level).unwrap())
    }

    /// Page frames that are left out, the same for each number of threads.
    pub(super) fn excluded(&self, level: u8) -> (Vec<u64>, ExcludedPages) {
        let one = self.exclusion(level, 1).unwrap();
        let three = self.exclusion(level, 3).unwrap();
        let frames = |exclusion: &Exclusion| -> Vec<u64> { exclusion.ranges().flatten().collect() };
        assert_eq!(frames(&one), frames(&three));
        assert_eq!(one.counts(), three.counts());
        assert_eq!(one.counts().total(), frames(&one).len() as u64);
        (frames(&one), one.counts())
    }
}

type Kind = (Machine, Model, Generation);

pub(crate) const KINDS: [Kind; 10] = [
    (Machine::S390x, Model::Flat, Generation::Flag),
    (
        Machine::S390x,
        Model::Extreme { pointer: false },
        Generation::Destructor,
    ),
    (Machine::Arm, Model::Flat, Generation::Flag),
    (Machine::Ppc64, Model::Flat, Generation::PageType),
    (Machine::Ppc64le, Model::Flat, Generation::Destructor),
    (Machine::Ppc64le, Model::Static, Generation::PageType),
    (
        Machine::X86_64,
        Model::Extreme { pointer: true },
        Generation::PageType,
    ),
    (
        Machine::Arm,
        Model::Extreme { pointer: false },
        Generation::PageType,
    ),
    (
        Machine::Ppc64,
        Model::Extreme { pointer: true },
        Generation::Destructor,
    ),
    (
        Machine::Ppc64le,
        Model::Extreme { pointer: false },
        Generation::Flag,
    ),
];

/// A kernel with pages of every kind.
pub(crate) fn eventful((machine, model, generation): Kind) -> Kern {
    let mut kern = Kern::new(machine, model, generation);
    let file = 0xc000_0000u64 & !1;
    kern.put(8, LRU, file, -1, 0, 0); // Cache.
    kern.put(9, LRU | PRIVATE, file, -1, 0, 0); // With buffers.
    kern.put(10, SWAPCACHE | SWAPBACKED, file, -1, 0, 0);
    kern.put(11, SWAPCACHE, file, -1, 0, 0); // Means something else.
    kern.put(12, LRU | SWAPBACKED, file | 1, 0, 0, 0); // Anonymous.
    kern.put_slab(13, LRU, file | 1); // What looks like mapping is not.
    kern.put(14, 0, 0, -1, 0, 0); // The kernel's own.
    kern.put(16, 0, 0, BUDDY, 3, 0); // Free, and what is in it is stale.
    kern.put(17, 0, file | 1, -1, 0, 0);
    kern.put(24, HWPOISON, 0, -1, 0, 0);
    kern.put(25, 0, 0, OFFLINE, 0, 0);
    kern.put(26, LRU | HWPOISON, file, -1, 0, 0); // Cache first.
    kern.put_large(32, 4, LRU, file, false); // A folio of cache.
    kern.put_large(64, 5, 0, 0, true); // Of hugetlbfs.
    kern.put_large(128, 7, LRU | SWAPBACKED, file | 1, false); // Transparent.
    kern.put(800, LRU, file, -1, 0, 0);
    kern
}

#[test]
fn each_bit_leaves_out_its_pages() {
    for (machine, model, generation) in KINDS {
        let kern = eventful((machine, model, generation));
        let always = [24, 25];
        let with = |frames: &[u64]| {
            let mut all = [frames, &always[..]].concat();
            all.sort_unstable();
            all.dedup();
            all
        };
        let run = |start: u64, count: u64| (start..start + count).collect::<Vec<_>>();
        let folio = run(32, 16);
        let cache = [&[8, 10, 26, 800][..], &folio].concat();
        let what = format!("{machine} {model:?} {generation:?}");
        let frames = |level| kern.excluded(level).0;
        assert_eq!(frames(0), with(&[26]), "{what}");
        assert_eq!(frames(2), with(&cache), "{what}");
        assert_eq!(frames(4), with(&[&cache[..], &[9]].concat()), "{what}");
        assert_eq!(
            frames(8),
            with(&[&[12, 17, 26][..], &run(64, 32), &run(128, 128)].concat()),
            "{what}"
        );
        assert_eq!(
            frames(16),
            with(&[&[26][..], &run(16, 8)].concat()),
            "{what}"
        );
        let (all, counts) = kern.excluded(31);
        assert_eq!(all.len(), 20 + 1 + 161 + 8 + 2, "{what}");
        let numbers = (counts.cache, counts.cache_private, counts.user, counts.free);
        assert_eq!(numbers, (20, 1, 161, 8), "{what}");
        assert_eq!((counts.hwpoison, counts.offline), (1, 1), "{what}");
        // Bit 4 is all cache, also without bit 2.
        assert_eq!(frames(6), frames(4), "{what}");
    }
}

#[test]
fn a_section_that_is_not_used_stays() {
    let mut kern = Kern::new(Machine::Ppc64le, Model::Static, Generation::Destructor);
    for frame in [500, 600, 767, 768] {
        kern.put(frame, LRU, 0, -1, 0, 0);
    }
    assert_eq!(kern.excluded(2).0, [500, 768]);
}

#[test]
fn a_broken_page_of_several_that_stay_goes_alone() {
    for kind in KINDS {
        let mut kern = Kern::new(kind.0, kind.1, kind.2);
        kern.put_large(300, 2, 0, 0, false);
        let head = kern.guest.vaddr(kern.at(300)) | 1;
        kern.put(302, HWPOISON, 0, -1, 0, head);
        let (frames, counts) = kern.excluded(31);
        assert_eq!((frames, counts.hwpoison), (vec![302], 1), "{kind:?}");
    }
}

#[test]
fn sections_that_are_all_not_used_are_not_understood() {
    let mut kern = Kern::new(Machine::Ppc64le, Model::Static, Generation::Destructor);
    for section in 0..4 {
        // Marked as present, and without an address yet.
        kern.guest.put_word(TABLE + section * 16, 1);
    }
    let error = kern.exclusion(31, 1).unwrap_err();
    let KernelError::Damaged { what, why, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(*what, "mem_section");
    assert_eq!(why, "no section of RAM is present");
}

#[test]
fn ram_that_the_only_node_does_not_span_stays() {
    for machine in [Machine::Arm, Machine::Ppc64, Machine::S390x] {
        let mut kern = Kern::new(machine, Model::Flat, Generation::Destructor);
        for frame in [99, 100, 299, 300] {
            kern.put(frame, LRU, 0, -1, 0, 0);
        }
        // Its array begins with the page frame 100.
        let w = kern.guest.word_size();
        let map = kern.guest.vaddr(kern.at(100));
        kern.guest.put_word(TABLE, map);
        kern.guest.put_word(TABLE + w, 100);
        kern.guest.put_word(TABLE + 2 * w, 200);
        assert_eq!(kern.excluded(2).0, [100, 299], "{machine}");
        kern.guest.put_word(TABLE + w, 5000);
        let error = kern.exclusion(2, 1).unwrap_err();
        assert!(
            matches!(
                error,
                KernelError::Damaged {
                    what: "contig_page_data",
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[test]
fn memory_that_was_never_accepted_is_free() {
    let mut kern = Kern::new(Machine::Ppc64le, Model::Flat, Generation::Flag);
    kern.guest.info = kern.guest.info.replace("free_area)=11", "free_area)=5");
    kern.put(512, 0, 0, -300, 0, 0);
    assert_eq!(kern.excluded(16).0, (512..528).collect::<Vec<_>>());
    assert!(kern.excluded(15).0.is_empty());
}

#[test]
fn orders_that_are_nonsense_leave_out_no_more_than_ram() {
    for (machine, model, generation) in KINDS {
        let mut kern = Kern::new(machine, model, generation);
        let what = format!("{machine} {model:?} {generation:?}");
        // A free block of an order that no kernel has.
        for (frame, order) in [(1, 11), (2, 63), (3, 64), (4, u64::MAX)] {
            kern.put(frame, 0, 0, BUDDY, order, 0);
        }
        assert!(kern.excluded(16).0.is_empty(), "{what}");
        // Large pages of orders that do not fit where they begin.
        kern.put_large(6, 2, LRU, 0, false);
        kern.put_large(16, 2, LRU, 0, false);
        let next = kern.at(17);
        match generation {
            Generation::Destructor => kern.guest.put(next + 17, 1, 200),
            _ => kern.guest.put_word(next, 200),
        }
        assert_eq!(kern.excluded(2).0, [6, 16], "{what}");
        // One that reaches beyond RAM.
        let mut kern = Kern::new(machine, model, generation);
        kern.put_large(0, 1, LRU, 0, false);
        let next = kern.at(1);
        match generation {
            Generation::Destructor => kern.guest.put(next + 17, 1, 30),
            _ => kern.guest.put_word(next, 30),
        }
        assert_eq!(kern.excluded(2).0.len(), 1024, "{what}");
    }
}

#[test]
fn struct_pages_are_read_once_in_large_pieces() {
    let kern = Kern::new(Machine::Ppc64le, Model::Flat, Generation::Destructor);
    kern.exclusion(31, 2).unwrap();
    let bytes = kern.guest.bytes.load(Ordering::Relaxed);
    assert!((64 * 1024..64 * 1024 + 100).contains(&bytes), "{bytes}");
}

#[test]
fn a_kernel_that_is_not_understood_is_an_error() {
    let refused = |from: &str, to: &str| {
        let mut kern = Kern::new(Machine::Ppc64le, Model::Static, Generation::Destructor);
        assert!(kern.guest.info.contains(from), "{from}");
        kern.guest.info = kern.guest.info.replace(from, to);
        kern.exclusion(31, 1).expect_err(from)
    };
    for line in [
        "SIZE(page)=64\n",
        "OFFSET(page.flags)=0\n",
        "OFFSET(page._mapcount)=48\n",
        "OFFSET(page.compound_head)=8\n",
        "OFFSET(page.compound_order)=17\n",
        "LENGTH(zone.free_area)=11\n",
        "NUMBER(PG_lru)=4\n",
        "NUMBER(PG_slab)=9\n",
        "NUMBER(PG_head_mask)=65536\n",
        "NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-129\n",
        "NUMBER(SECTION_SIZE_BITS)=20\n",
        "SIZE(mem_section)=16\n",
    ] {
        let error = refused(line, "");
        let (name, _) = line.split_once('=').unwrap();
        let KernelError::Missing { what, osrelease } = &error else {
            panic!("{line}: {error}");
        };
        assert_eq!((&what[..], &osrelease[..]), (name, "6.1.0-test"));
    }
    for (from, to) in [
        ("SIZE(page)=64", "SIZE(page)=0"),
        ("SIZE(page)=64", "SIZE(page)=100000000000"),
        ("page.mapping)=24", "page.mapping)=60"),
        ("page.flags)=0", "page.flags)=18446744073709551615"),
        ("PG_lru)=4", "PG_lru)=64"),
        ("PG_lru)=4", "PG_lru)=-1"),
        ("SECTION_SIZE_BITS)=20", "SECTION_SIZE_BITS)=19"),
        ("SECTION_SIZE_BITS)=20", "SECTION_SIZE_BITS)=63"),
        ("MAX_PHYSMEM_BITS)=22", "MAX_PHYSMEM_BITS)=-1"),
        ("SIZE(mem_section)=16", "SIZE(mem_section)=0"),
        ("LENGTH(mem_section)=4", "LENGTH(mem_section)=5"),
        ("zone.free_area)=11", "zone.free_area)=0"),
        ("zone.free_area)=11", "zone.free_area)=33"),
    ] {
        let error = refused(from, to);
        assert!(
            matches!(error, KernelError::Damaged { .. }),
            "{to}: {error}"
        );
    }
    // Pointers out of RAM.
    let mut kern = Kern::new(Machine::Ppc64le, Model::Flat, Generation::Destructor);
    let beyond = kern.guest.vaddr(1 << 40);
    kern.guest.put_word(TABLE, beyond);
    assert!(matches!(
        kern.exclusion(31, 2),
        Err(KernelError::Unmapped { .. } | KernelError::Read { .. })
    ));
}

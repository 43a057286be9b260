//! The guest's kernel: its structures in memory.
//!
//! Sources: Intel SDM volume 3, chapter 5, for page tables; Linux
//! `include/linux/mmzone.h` for `mem_section`.
#![forbid(unsafe_code)]

use zerocopy::IntoBytes;

use crate::abi::Utsname;
use crate::demo::layout::{
    BOOT_TABLES, CPUS, DATA, DATA_END, IDT, IMAGE_END, IMAGE_VADDR, INIT_TOP_PGT, INIT_UTS_NS,
    LEVEL2_KERNEL_PGT, LEVEL3_KERNEL_PGT, LINUX_BANNER, MEM_SECTION, NODE_ONLINE_MAP, PAGE,
    PAGE_OFFSET, RELEASE, SECTION_ENTRY, SECTION_SIZE_BITS, SECTIONS_PER_ROOT, STRUCT_PAGES, TEXT,
    TEXT_END, UTS_NAME_OFFSET, VERSION, VMCOREINFO_DATA, VMCOREINFO_NOTE, VMEMMAP, VMEMMAP_TABLES,
    per_cpu,
};
use crate::demo::page_kind::PageKind;
use crate::demo::{cpu, vmcoreinfo};
use crate::memory::{MIN_PAGE_SIZE, MemoryRange};

// Page table entries.
const PRESENT: u64 = 1;
const TABLE: u64 = PRESENT | 0x62;
const LARGE_PAGE: u64 = PRESENT | 0xe2;
const GLOBAL: u64 = 0x100;

/// `struct page`s in a page: they have 64 bytes each.
const STRUCT_PAGES_IN_PAGE: usize = 64;
/// A `struct page` of the kernel's own: no flags, `_mapcount` -1 for not
/// mapped to user space, `_refcount` 1.
const STRUCT_PAGE: [u64; 8] = [0, 0, 0, 0, 0, 0, 0x1_ffff_ffff, 0];
/// Present, with a `struct page` array, online, from boot.
const SECTION_FLAGS: u64 = 0xf;

pub(super) fn utsname() -> Utsname {
    Utsname {
        sysname: Utsname::field("Linux"),
        nodename: Utsname::field("demo"),
        release: Utsname::field(RELEASE),
        version: Utsname::field(VERSION),
        machine: Utsname::field("x86_64"),
        domainname: Utsname::field("(none)"),
    }
}

/// The kernel's memory.
pub(super) struct Kernel {
    ranges: Vec<MemoryRange>,
    /// From `DATA` to `DATA_END`.
    data: Vec<u8>,
    /// Guest-physical addresses behind the two kinds of boot tables.
    page_tables_end: u64,
    sections_end: u64,
}

impl Kernel {
    pub(super) fn new(ranges: Vec<MemoryRange>) -> Self {
        let ram_end = ranges.last().map_or(0, MemoryRange::end);
        let tables = ram_end.div_ceil(512 << 30);
        let roots = ram_end.div_ceil(SECTIONS_PER_ROOT << SECTION_SIZE_BITS);
        let page_tables_end = BOOT_TABLES + tables * MIN_PAGE_SIZE;
        let mut kernel = Self {
            ranges,
            data: vec![0; (DATA_END - DATA) as usize],
            page_tables_end,
            sections_end: page_tables_end + roots * MIN_PAGE_SIZE,
        };
        kernel.put_page_tables(tables);
        kernel.put_variables(roots);
        let info = vmcoreinfo::text();
        kernel.put(VMCOREINFO_NOTE, &vmcoreinfo::note(&info));
        kernel.put(VMCOREINFO_DATA, &info);
        kernel.put_words(IDT, cpu::interrupt_table());
        for cpu in 0..CPUS {
            kernel.put_words(per_cpu(cpu), cpu::per_cpu_data(cpu));
            kernel.put_words(cpu::stack_pointer(cpu), cpu::stack(cpu));
        }
        kernel
    }

    fn put_page_tables(&mut self, direct_map: u64) {
        let index = |vaddr: u64, level: u64| (vaddr >> (12 + 9 * level)) % 512 * 8;
        let top = |vaddr| INIT_TOP_PGT + index(vaddr, 3);
        let tables = (0..direct_map).map(|n| (BOOT_TABLES + n * MIN_PAGE_SIZE) | TABLE);
        self.put_words(top(PAGE_OFFSET), tables);
        self.put_words(top(IMAGE_VADDR), [LEVEL3_KERNEL_PGT | TABLE]);
        self.put_words(
            LEVEL3_KERNEL_PGT + index(IMAGE_VADDR, 2),
            [LEVEL2_KERNEL_PGT | TABLE],
        );
        let pages = (TEXT..IMAGE_END).step_by(2 << 20);
        self.put_words(
            LEVEL2_KERNEL_PGT + index(IMAGE_VADDR, 1),
            pages.map(|gpa| gpa | LARGE_PAGE | GLOBAL),
        );

        // One page stands for the whole array: all pages are the kernel's.
        // The level-3 table is used twice, for one array of up to 1 TiB.
        self.put_words(top(VMEMMAP), [VMEMMAP_TABLES | TABLE; 2]);
        for page in (VMEMMAP_TABLES..STRUCT_PAGES).step_by(PAGE) {
            self.put_words(page, [(page + MIN_PAGE_SIZE) | TABLE; 512]);
        }
        let struct_pages = [STRUCT_PAGE; STRUCT_PAGES_IN_PAGE];
        self.put_words(STRUCT_PAGES, struct_pages.into_iter().flatten());
    }

    fn put_variables(&mut self, section_roots: u64) {
        let banner = format!(
            "Linux version {RELEASE} (demo@guestdump) (a synthetic guest, no compiler) {VERSION}\n"
        );
        self.put(LINUX_BANNER, banner.as_bytes());
        self.put(INIT_UTS_NS + UTS_NAME_OFFSET, utsname().as_bytes());
        self.put_words(NODE_ONLINE_MAP, [1]);
        let first = PAGE_OFFSET + self.page_tables_end;
        let roots = (0..section_roots).map(|n| first + n * MIN_PAGE_SIZE);
        self.put_words(MEM_SECTION, roots);
    }

    fn put(&mut self, gpa: u64, bytes: &[u8]) {
        let at = (gpa - DATA) as usize;
        self.data[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn put_words(&mut self, gpa: u64, words: impl IntoIterator<Item = u64>) {
        for (word, at) in words.into_iter().zip((gpa..).step_by(8)) {
            self.put(at, &word.to_le_bytes());
        }
    }

    /// The guest-physical address behind all that the kernel has.
    pub(super) const fn end(&self) -> u64 {
        self.sections_end
    }

    /// What a page holds, if the kernel has a say in it.
    pub(super) fn kind(&self, page: u64) -> Option<PageKind> {
        if (TEXT..TEXT_END).contains(&page) {
            Some(PageKind::Table)
        } else if (BOOT_TABLES..self.end()).contains(&page) {
            Some(PageKind::Kernel)
        } else if self.data_page(page)?.iter().all(|b| *b == 0) {
            Some(PageKind::Zero)
        } else {
            Some(PageKind::Kernel)
        }
    }

    fn data_page(&self, page: u64) -> Option<&[u8]> {
        let at = page.checked_sub(DATA)? as usize;
        self.data.get(at..at + PAGE)
    }

    /// Fills `out`, at most a page, with the beginning of a page of the
    /// kind [`PageKind::Kernel`].
    pub(super) fn fill(&self, page: u64, out: &mut [u8]) {
        if let Some(data) = self.data_page(page) {
            out.copy_from_slice(&data[..out.len()]);
            return;
        }
        let (first, word): (u64, fn(&Self, u64) -> u64) = if page < self.page_tables_end {
            (BOOT_TABLES, Self::direct_map_entry)
        } else {
            (self.page_tables_end, Self::section_word)
        };
        let words = ((page - first) / 8..).map(|index| word(self, index).to_le_bytes());
        for (out, word) in out.chunks_mut(8).zip(words) {
            out.copy_from_slice(&word[..out.len()]);
        }
    }

    /// A page table entry of the direct map, which has 1 GiB pages.
    fn direct_map_entry(&self, index: u64) -> u64 {
        if self.has_ram(index << 30, 1 << 30) {
            index << 30 | LARGE_PAGE | GLOBAL
        } else {
            0
        }
    }

    /// A word of the `struct mem_section`s, whose first one says where the
    /// section's `struct page`s are: the address less the section's first
    /// page frame number times their size, which is the same for all.
    fn section_word(&self, index: u64) -> u64 {
        let words = SECTION_ENTRY / 8;
        let section = index / words;
        let is_first = index.is_multiple_of(words);
        if is_first && self.has_ram(section << SECTION_SIZE_BITS, 1 << SECTION_SIZE_BITS) {
            VMEMMAP | SECTION_FLAGS
        } else {
            0
        }
    }

    fn has_ram(&self, start: u64, size: u64) -> bool {
        self.ranges
            .iter()
            .any(|r| r.start() < start + size && start < r.end())
    }
}

//! The guest's kernel: what lies where, and its structures in memory.
//!
//! Sources: Linux `Documentation/arch/x86/x86_64/mm.rst` for the virtual
//! memory map; Intel SDM volume 3, chapter 5, for page tables; Linux
//! `include/linux/mmzone.h` for `mem_section`.
#![forbid(unsafe_code)]

use zerocopy::IntoBytes;

use crate::abi::Utsname;
use crate::demo::{MIN_PAGE_SIZE, PAGE, PageKind, cpu, vmcoreinfo};
use crate::memory::MemoryRange;

/// Virtual address of all RAM: the direct map.
pub(super) const PAGE_OFFSET: u64 = 0xffff_8880_0000_0000;
/// Virtual address of the `struct page` array.
const VMEMMAP: u64 = 0xffff_ea00_0000_0000;
/// `__START_KERNEL_map`.
const START_KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;
/// How far KASLR has moved the kernel's virtual addresses, in bytes.
pub(super) const KERNEL_OFFSET: u64 = 0x1a00_0000;
/// Virtual address of the kernel's image: the usual one, moved by KASLR.
const IMAGE_VADDR: u64 = START_KERNEL_MAP + 0x100_0000 + KERNEL_OFFSET;
/// Physical less virtual address of the image, counted from
/// [`START_KERNEL_MAP`]. KASLR makes it negative as often as positive.
pub(super) const PHYS_BASE: i64 = (START_KERNEL_MAP + TEXT).wrapping_sub(IMAGE_VADDR) as i64;

pub(super) const CPUS: usize = 2;
/// Memory in `mem_section` comes in sections of so many bytes, as a power
/// of 2.
pub(super) const SECTION_SIZE_BITS: u64 = 27;
/// Physical addresses are below this power of 2.
pub(super) const MAX_PHYSMEM_BITS: u64 = 46;
/// `sizeof(struct mem_section)`.
pub(super) const SECTION_ENTRY: u64 = 16;
/// `struct mem_section`s in a page, which `mem_section` points to.
const SECTIONS_PER_ROOT: u64 = MIN_PAGE_SIZE / SECTION_ENTRY;
/// Pointers in `mem_section`.
pub(super) const SECTION_ROOTS: u64 =
    1 << (MAX_PHYSMEM_BITS - SECTION_SIZE_BITS - SECTIONS_PER_ROOT.ilog2() as u64);

// Guest-physical addresses. The image is mapped from `TEXT` to `IMAGE_END`.
const TEXT: u64 = 0x20_0000;
const TEXT_END: u64 = DATA;
const DATA: u64 = 0x40_0000;
pub(super) const INIT_TOP_PGT: u64 = DATA;
const LEVEL3_KERNEL_PGT: u64 = DATA + 0x1000;
const LEVEL2_KERNEL_PGT: u64 = DATA + 0x2000;
const LINUX_BANNER: u64 = DATA + 0x3000;
pub(super) const INIT_UTS_NS: u64 = DATA + 0x4880;
pub(super) const NODE_ONLINE_MAP: u64 = DATA + 0x4c00;
pub(super) const MEM_SECTION: u64 = DATA + 0x5000;
/// Page tables of levels 3, 2 and 1 of the `struct page` array, and the one
/// page to which they map all of it.
const VMEMMAP_TABLES: u64 = MEM_SECTION + SECTION_ROOTS * 8;
const STRUCT_PAGES: u64 = VMEMMAP_TABLES + 3 * 0x1000;
const VMCOREINFO_DATA: u64 = STRUCT_PAGES + 0x1000;
pub(super) const VMCOREINFO_NOTE: u64 = VMCOREINFO_DATA + 0x1000;
pub(super) const IDT: u64 = VMCOREINFO_NOTE + 0x2000;
const PER_CPU: u64 = IDT + 0x1000;
const STACKS: u64 = PER_CPU + CPUS as u64 * 0x1000;
const STACK_SIZE: u64 = 0x4000;
const DATA_END: u64 = STACKS + CPUS as u64 * STACK_SIZE;
const IMAGE_END: u64 = 0x60_0000;
/// What the kernel allocated as it booted: level-3 page tables of the direct
/// map, then pages of `struct mem_section`. How many depends on the guest's
/// size.
const BOOT_TABLES: u64 = IMAGE_END;

// Page table entries.
const PRESENT: u64 = 1;
const TABLE: u64 = PRESENT | 0x62;
const LARGE_PAGE: u64 = PRESENT | 0xe2;
const GLOBAL: u64 = 0x100;

/// Offset of `name` in `init_uts_ns`, in bytes. Newer kernels have it at 0;
/// here it is where it was before 5.11, so that nobody can forget to add it.
pub(super) const UTS_NAME_OFFSET: u64 = 4;
/// `struct page`s in a page: they have 64 bytes each.
const STRUCT_PAGES_IN_PAGE: usize = 64;
/// A `struct page` of the kernel's own: no flags, `_mapcount` -1 for not
/// mapped to user space, `_refcount` 1.
const STRUCT_PAGE: [u64; 8] = [0, 0, 0, 0, 0, 0, 0x1_ffff_ffff, 0];
/// Present, with a `struct page` array, online, from boot.
const SECTION_FLAGS: u64 = 0xf;

pub(super) const RELEASE: &str = "6.1.0-guestdump-demo";
const VERSION: &str = "#1 SMP PREEMPT_DYNAMIC Demo (2026-11-21)";

/// Virtual address of the image's byte at the guest-physical address `gpa`.
pub(super) const fn image_vaddr(gpa: u64) -> u64 {
    gpa - TEXT + IMAGE_VADDR
}

/// Virtual address of the code `offset` bytes behind `_stext`.
pub(super) const fn code(offset: u64) -> u64 {
    IMAGE_VADDR + offset
}

/// Guest-physical address of a CPU's own data, a page.
pub(super) const fn per_cpu(cpu: usize) -> u64 {
    PER_CPU + cpu as u64 * MIN_PAGE_SIZE
}

/// Guest-physical address behind a CPU's stack.
pub(super) const fn stack_top(cpu: usize) -> u64 {
    STACKS + (cpu as u64 + 1) * STACK_SIZE
}

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

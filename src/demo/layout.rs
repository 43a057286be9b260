//! The guest's memory: what lies where, and the numbers that describe it.
//!
//! Source: Linux `Documentation/arch/x86/x86_64/mm.rst` for the virtual
//! memory map.
#![forbid(unsafe_code)]

use crate::memory::MIN_PAGE_SIZE;

/// Bytes of a page.
pub(super) const PAGE: usize = MIN_PAGE_SIZE as usize;

/// Virtual address of all RAM: the direct map.
pub(super) const PAGE_OFFSET: u64 = 0xffff_8880_0000_0000;
/// Virtual address of the `struct page` array.
pub(super) const VMEMMAP: u64 = 0xffff_ea00_0000_0000;
/// `__START_KERNEL_map`.
pub(super) const START_KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;
/// How far KASLR has moved the kernel's virtual addresses, in bytes.
pub(super) const KERNEL_OFFSET: u64 = 0x1a00_0000;
/// Virtual address of the kernel's image: the usual one, moved by KASLR.
pub(super) const IMAGE_VADDR: u64 = START_KERNEL_MAP + 0x100_0000 + KERNEL_OFFSET;
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
pub(super) const SECTIONS_PER_ROOT: u64 = MIN_PAGE_SIZE / SECTION_ENTRY;
/// Pointers in `mem_section`.
pub(super) const SECTION_ROOTS: u64 =
    1 << (MAX_PHYSMEM_BITS - SECTION_SIZE_BITS - SECTIONS_PER_ROOT.ilog2() as u64);

// Guest-physical addresses. The image is mapped from `TEXT` to `IMAGE_END`.
pub(super) const TEXT: u64 = 0x20_0000;
pub(super) const TEXT_END: u64 = DATA;
pub(super) const DATA: u64 = 0x40_0000;
pub(super) const INIT_TOP_PGT: u64 = DATA;
pub(super) const LEVEL3_KERNEL_PGT: u64 = DATA + 0x1000;
pub(super) const LEVEL2_KERNEL_PGT: u64 = DATA + 0x2000;
pub(super) const LINUX_BANNER: u64 = DATA + 0x3000;
pub(super) const INIT_UTS_NS: u64 = DATA + 0x4880;
pub(super) const NODE_ONLINE_MAP: u64 = DATA + 0x4c00;
pub(super) const MEM_SECTION: u64 = DATA + 0x5000;
/// Page tables of levels 3, 2 and 1 of the `struct page` array, and the one
/// page to which they map all of it.
pub(super) const VMEMMAP_TABLES: u64 = MEM_SECTION + SECTION_ROOTS * 8;
pub(super) const STRUCT_PAGES: u64 = VMEMMAP_TABLES + 3 * 0x1000;
pub(super) const VMCOREINFO_DATA: u64 = STRUCT_PAGES + 0x1000;
pub(super) const VMCOREINFO_NOTE: u64 = VMCOREINFO_DATA + 0x1000;
pub(super) const IDT: u64 = VMCOREINFO_NOTE + 0x2000;
pub(super) const PER_CPU: u64 = IDT + 0x1000;
pub(super) const STACKS: u64 = PER_CPU + CPUS as u64 * 0x1000;
pub(super) const STACK_SIZE: u64 = 0x4000;
pub(super) const DATA_END: u64 = STACKS + CPUS as u64 * STACK_SIZE;
pub(super) const IMAGE_END: u64 = 0x60_0000;
/// Memory that the kernel allocated as it booted: level-3 page tables of the direct
/// map, then pages of `struct mem_section`. How many depends on the guest's
/// size.
pub(super) const BOOT_TABLES: u64 = IMAGE_END;

/// Offset of `name` in `init_uts_ns`, in bytes. Newer kernels have it at 0;
/// here it is where it was before 5.11, so that nobody can forget to add it.
pub(super) const UTS_NAME_OFFSET: u64 = 4;
pub(super) const RELEASE: &str = "6.1.0-guestdump-demo";
pub(super) const VERSION: &str = "#1 SMP PREEMPT_DYNAMIC Demo (2026-11-21)";

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

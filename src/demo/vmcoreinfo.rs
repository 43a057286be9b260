//! The kernel's VMCOREINFO: text, ELF note, and the entry for QEMU's
//! vmcoreinfo device.
//!
//! Sources: Linux `Documentation/admin-guide/kdump/vmcoreinfo.rst`; QEMU
//! `docs/specs/vmcoreinfo.rst`.
#![forbid(unsafe_code)]

use crate::abi::ByteOrder;
use crate::demo::layout::{
    INIT_TOP_PGT, INIT_UTS_NS, KERNEL_OFFSET, MAX_PHYSMEM_BITS, MEM_SECTION, NODE_ONLINE_MAP,
    PAGE_OFFSET, PHYS_BASE, RELEASE, SECTION_ENTRY, SECTION_ROOTS, SECTION_SIZE_BITS,
    UTS_NAME_OFFSET, VMCOREINFO_NOTE, code, image_vaddr,
};
use crate::elf::note::{self, Note};
use crate::memory::MIN_PAGE_SIZE;

/// Size of the note's buffer in bytes: two note headers, the padded name,
/// and a page of text.
pub(super) const NOTE_SIZE: usize = 12 + 12 + MIN_PAGE_SIZE as usize + 12;

/// What does not depend on the guest: sizes, offsets and flags of a 6.1
/// kernel. Structures that are not in memory are left out, those of zones
/// and of the log for example.
const CONSTANTS: &str = "\
SIZE(page)=64
SIZE(list_head)=16
SIZE(nodemask_t)=128
OFFSET(page.flags)=0
OFFSET(page._refcount)=52
OFFSET(page.mapping)=24
OFFSET(page.lru)=8
OFFSET(page._mapcount)=48
OFFSET(page.private)=40
OFFSET(page.compound_dtor)=16
OFFSET(page.compound_order)=17
OFFSET(page.compound_head)=8
OFFSET(list_head.next)=0
OFFSET(list_head.prev)=8
NUMBER(PG_lru)=4
NUMBER(PG_private)=13
NUMBER(PG_swapcache)=10
NUMBER(PG_swapbacked)=19
NUMBER(PG_slab)=9
NUMBER(PG_hwpoison)=23
NUMBER(PG_head_mask)=65536
NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-129
NUMBER(HUGETLB_PAGE_DTOR)=2
NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)=-257
";

/// The text.
pub(super) fn text() -> Vec<u8> {
    let init_uts_ns = image_vaddr(INIT_UTS_NS);
    let node_online_map = image_vaddr(NODE_ONLINE_MAP);
    let page_table = image_vaddr(INIT_TOP_PGT);
    let stext = code(0);
    // The array that the variable points to, not the variable.
    let mem_section = PAGE_OFFSET + MEM_SECTION;
    format!(
        "OSRELEASE={RELEASE}
BUILD-ID=677565737464756d702064656d6f206b65726e65
PAGESIZE={MIN_PAGE_SIZE}
SYMBOL(init_uts_ns)={init_uts_ns:x}
OFFSET(uts_namespace.name)={UTS_NAME_OFFSET}
SYMBOL(node_online_map)={node_online_map:x}
SYMBOL(swapper_pg_dir)={page_table:x}
SYMBOL(_stext)={stext:x}
SYMBOL(mem_section)={mem_section:x}
LENGTH(mem_section)={SECTION_ROOTS}
SIZE(mem_section)={SECTION_ENTRY}
OFFSET(mem_section.section_mem_map)=0
NUMBER(SECTION_SIZE_BITS)={SECTION_SIZE_BITS}
NUMBER(MAX_PHYSMEM_BITS)={MAX_PHYSMEM_BITS}
{CONSTANTS}\
NUMBER(phys_base)={PHYS_BASE}
SYMBOL(init_top_pgt)={page_table:x}
NUMBER(pgtable_l5_enabled)=0
KERNELOFFSET={KERNEL_OFFSET:x}
NUMBER(KERNEL_IMAGE_SIZE)=1073741824
NUMBER(sme_mask)=0
"
    )
    .into_bytes()
}

/// The note with `text`, in its buffer.
pub(super) fn note(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(NOTE_SIZE);
    Note {
        name: note::VMCOREINFO,
        kind: 0,
        desc: text,
    }
    .encode(ByteOrder::Little, &mut bytes)
    .expect("a text of some hundred bytes");
    bytes.resize(NOTE_SIZE, 0);
    bytes
}

/// `struct FWCfgVMCoreInfo`: formats that the host supports, format of the
/// note (1 is ELF), its size and address; little-endian.
pub(super) fn fw_cfg_entry() -> [u8; 16] {
    const FORMAT_ELF: u16 = 1;
    let mut entry = [0; 16];
    entry[..2].copy_from_slice(&FORMAT_ELF.to_le_bytes());
    entry[2..4].copy_from_slice(&FORMAT_ELF.to_le_bytes());
    entry[4..8].copy_from_slice(&(NOTE_SIZE as u32).to_le_bytes());
    entry[8..].copy_from_slice(&VMCOREINFO_NOTE.to_le_bytes());
    entry
}

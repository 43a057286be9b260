//! Where a 64-bit PowerPC kernel with the hash MMU has its `struct page`s.
//!
//! The hash table is the hypervisor's, and not in guest memory. But the kernel
//! keeps a list of the pages that it has mapped for them, and names it in
//! VMCOREINFO. Source: Linux `arch/powerpc/mm/init_64.c`
//! (`vmemmap_list_populate`), `arch/powerpc/kexec/vmcore_info.c`,
//! `arch/powerpc/include/asm/book3s/64/mmu.h` (`struct mmu_psize_def`).
//! All else that the kernel log and page exclusion need is in the linear
//! mapping; what `vmalloc` maps is not found.

use super::error::KernelError;
use super::reader::KernelReader;
use super::vmemmap::Vmemmap;
use crate::memory::MemoryRange;

/// 2 to the power of this bytes are in the smallest and the largest page that
/// the hash MMU has: 4 KiB, 16 GiB.
const PAGE_SHIFTS: std::ops::RangeInclusive<u64> = 12..=34;
/// `MMU_PAGE_COUNT` of Linux `arch/powerpc/include/asm/mmu.h`; it was less.
const PAGE_KINDS: u64 = 16;

/// Bytes of RAM whose `struct page`s fill the smallest page: 64 of 4 KiB each.
const RAM_OF_EACH: u64 = 256 << 10;
/// Pages that are not filled, since parts of a section are no RAM; generous.
const PARTLY_USED: u64 = 1024;

/// The pages of the kernel's list; none if VMCOREINFO names no list.
///
/// # Errors
///
/// [`KernelError`] if the list makes no sense.
pub(super) fn read(kernel: &KernelReader<'_>) -> Result<Vmemmap, KernelError> {
    let info = kernel.vmcoreinfo();
    let Some(head) = info.symbol("vmemmap_list") else {
        return Ok(Vmemmap::default());
    };
    let damaged = |vaddr, why| KernelError::Damaged {
        what: "vmemmap_list",
        vaddr,
        why,
    };
    let kind = kernel.number_at(kernel.symbol("mmu_vmemmap_psize")?, 4)?;
    let definition = kernel.size("mmu_psize_def")?;
    let shift = kernel.offset("mmu_psize_def.shift")?;
    let definitions = kernel.symbol("mmu_psize_defs")?;
    if kind >= PAGE_KINDS {
        return Err(damaged(head, format!("its pages are of kind {kind}")));
    }
    let shift = definitions
        .wrapping_add(kind.wrapping_mul(definition))
        .wrapping_add(shift);
    let shift = kernel.number_at(shift, 4)?;
    if !PAGE_SHIFTS.contains(&shift) {
        let why = format!("its pages have 2^{shift} bytes");
        return Err(damaged(head, why));
    }
    let size = 1 << shift;
    let next = kernel.offset("vmemmap_backing.list")?;
    let physical = kernel.offset("vmemmap_backing.phys")?;
    let virtual_ = kernel.offset("vmemmap_backing.virt_addr")?;
    let most = kernel.ram_size() / RAM_OF_EACH + PARTLY_USED;
    let mut pages = Vec::new();
    let mut at = kernel.word_at(head)?;
    while at != 0 {
        if pages.len() as u64 == most {
            let why = format!("it has more than {most} pages, which all RAM does not need");
            return Err(damaged(at, why));
        }
        let gpa = kernel.word_at(at.wrapping_add(physical))?;
        let vaddr = kernel.word_at(at.wrapping_add(virtual_))?;
        if MemoryRange::new(gpa, size).is_err() || vaddr.checked_add(size).is_none() {
            let why = format!("a page at {vaddr:#x} that lies at {gpa:#x}");
            return Err(damaged(at, why));
        }
        pages.push((vaddr, gpa));
        at = kernel.word_at(at.wrapping_add(next))?;
    }
    pages.sort_unstable();
    Ok(Vmemmap { pages, size })
}

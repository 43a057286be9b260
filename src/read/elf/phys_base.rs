//! Where an x86_64 kernel is, by the PT_LOAD of its image.
#![forbid(unsafe_code)]

use crate::arch::x86_64::phys_base_of;
use crate::elf::{PT_LOAD, ProgramHeader};
use crate::vmcoreinfo::Vmcoreinfo;

/// Returns the kernel's `phys_base` by the PT_LOAD that contains `init_uts_ns` at its guest-virtual
/// address: `/proc/vmcore` has one for the kernel's text and data (kexec-tools
/// `kexec/crashdump-elf.c`).
pub(super) fn phys_base(headers: &[ProgramHeader], info: &Vmcoreinfo) -> Option<u64> {
    let vaddr = info.symbol("init_uts_ns")?;
    let contains = |header: &&ProgramHeader| {
        let offset = vaddr.checked_sub(header.vaddr);
        header.kind == PT_LOAD && offset.is_some_and(|offset| offset < header.memsz)
    };
    let image = headers.iter().find(contains)?;
    phys_base_of(image.vaddr, image.paddr)
}

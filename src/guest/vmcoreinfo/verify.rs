//! Whether the kernel that VMCOREINFO describes is in guest memory.
//!
//! VMCOREINFO of another boot of the same kernel differs only by KASLR, so a
//! release alone proves nothing. Two facts are compared: `init_uts_ns` lies at
//! the guest-physical address that VMCOREINFO leads to, and the kernel's page
//! tables map its virtual address to that place.
#![forbid(unsafe_code)]

use crate::abi::Utsname;
use crate::arch::Machine;
use crate::guest::paging::kernel_address_space;
use crate::guest::reader::{Guest, read_utsname};
use crate::vmcoreinfo::Vmcoreinfo;

/// Returns whether guest memory contains the kernel that `info` describes.
///
/// The page tables are compared where VMCOREINFO leads to them. Memory that is
/// missing or cannot be read proves nothing, so the answer is no.
pub(crate) fn is_in_memory(guest: Guest<'_>, info: &Vmcoreinfo) -> bool {
    let Some(uts) = read_utsname(guest, info) else {
        return false;
    };
    // The kernel's name for itself tells ppc64 from ppc64le, whose addresses are
    // the same. A name that this crate does not know, as i586, tells nothing.
    let named: Option<Machine> = Utsname::text(&uts.machine).parse().ok();
    Utsname::text(&uts.release) == info.osrelease()
        && named.is_none_or(|named| named == guest.machine)
        && page_tables_agree(guest, info)
}

/// Returns whether the kernel's page tables map `init_uts_ns` to where VMCOREINFO says that it is.
/// It is true if VMCOREINFO does not lead to page tables.
fn page_tables_agree(guest: Guest<'_>, info: &Vmcoreinfo) -> bool {
    let read = |gpa: u64, buf: &mut [u8]| guest.read(gpa, buf);
    let machine = guest.machine;
    let ram_start = guest.ranges.first().map_or(0, |range| range.start());
    let Some(space) = kernel_address_space(machine, info, ram_start, &read) else {
        return true;
    };
    let place = info.symbol("init_uts_ns").and_then(|vaddr| {
        let gpa = machine.kernel_image_in_ram(vaddr, info, ram_start)?;
        Some((vaddr, gpa))
    });
    place.is_some_and(|(vaddr, gpa)| space.translate(&read, vaddr).ok() == Some(gpa))
}

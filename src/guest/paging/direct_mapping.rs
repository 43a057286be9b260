//! Where a kernel maps guest-physical memory linearly.

use super::arm::Found;
use super::guest::of_kernel;
use super::physical::ReadPhysical;
use super::recent::RecentPages;
use crate::arch::{DirectMapping, Machine, arm};
use crate::memory::{MIN_PAGE_SIZE, MemoryRange};
use crate::vmcoreinfo::Vmcoreinfo;

/// Returns where the kernel maps physical memory, for an ELF dump's program
/// headers. It is `None` where no reader needs to know it from there, and where
/// it is not known. `ranges` are the guest's RAM.
pub(crate) fn direct_mapping(
    machine: Machine,
    info: &Vmcoreinfo,
    ranges: &[MemoryRange],
    read: &ReadPhysical<'_>,
) -> Option<DirectMapping> {
    match machine {
        Machine::Arm => of_arm(info, ranges, read),
        _ => machine.direct_mapping(info),
    }
}

/// The mapping of a 32-bit Arm kernel begins at the beginning of RAM. Its page
/// tables tell where it ends; a kernel command line can set that (`vmalloc=`).
fn of_arm(
    info: &Vmcoreinfo,
    ranges: &[MemoryRange],
    read: &ReadPhysical<'_>,
) -> Option<DirectMapping> {
    let start = ranges.first()?.start();
    let Some(found) = Found::by(info, start) else {
        return arm::default_mapping(info, start);
    };
    let tables = RecentPages::new(read);
    let read = |gpa: u64, buf: &mut [u8]| tables.read(gpa, buf);
    let space = of_kernel(Machine::Arm, info, start, &read)?;
    let mut end = start;
    // Addresses of 32 bits end the mapping at the latest.
    let limit = start.saturating_add((1 << 32) - found.page_offset.min(1 << 32));
    for range in ranges {
        let mut gpa = range.start();
        while gpa < range.end().min(limit) {
            let vaddr = found.page_offset + (gpa - start);
            match space.extent(&read, vaddr) {
                Ok((at, size)) => {
                    let is_linear = at == gpa;
                    gpa = gpa.saturating_add(size);
                    if is_linear {
                        end = gpa.min(range.end());
                    }
                }
                // Memory that the kernel does not map (`no-map` in a device tree) is a hole.
                Err(_) => gpa += MIN_PAGE_SIZE,
            }
        }
    }
    (end > start).then_some(DirectMapping {
        vaddr: found.page_offset,
        start,
        end,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MIB: u64 = 1 << 20;
    const RAM: u64 = 0x4000_0000;

    /// Sections of 1 MiB that map `mapped` MiB from `PAGE_OFFSET` on; the last
    /// one elsewhere if `moved`.
    fn found(text: &str, mapped: u64, moved: bool) -> Option<DirectMapping> {
        found_with_hole(text, mapped, moved, u64::MAX)
    }

    /// The same, without a mapping of the MiB `hole`.
    fn found_with_hole(text: &str, mapped: u64, moved: bool, hole: u64) -> Option<DirectMapping> {
        let info = Vmcoreinfo::parse(format!("OSRELEASE=6.1\n{text}").as_bytes()).unwrap();
        let read = |gpa: u64, buf: &mut [u8]| {
            for (at, bytes) in (gpa..).step_by(4).zip(buf.chunks_mut(4)) {
                let index = at.wrapping_sub(RAM + 0x4000) / 4;
                let section = index.wrapping_sub(0xc00);
                let mut entry = 0;
                if index < 4096 && section < mapped && section != hole {
                    let elsewhere = u64::from(moved && section + 1 == mapped);
                    entry = (RAM + (section + elsewhere) * MIB) | 2;
                }
                bytes.copy_from_slice(&(entry as u32).to_le_bytes()[..bytes.len()]);
            }
            Ok(())
        };
        let range = |start, size| MemoryRange::new(start, size).unwrap();
        let ranges = [range(RAM, 100 * MIB), range(RAM + 200 * MIB, 900 * MIB)];
        direct_mapping(Machine::Arm, &info, &ranges, &read)
    }

    #[test]
    fn the_linear_map_of_arm_ends_where_its_page_tables_say() {
        let text = "SYMBOL(_stext)=c0100000\nSYMBOL(swapper_pg_dir)=c0004000\n";
        let ends = |mib| {
            Some(DirectMapping {
                vaddr: 0xc000_0000,
                start: RAM,
                end: RAM + mib * MIB,
            })
        };
        assert_eq!(found(text, 760, false), ends(760));
        assert_eq!(found(text, 760, true), ends(759));
        // The hole between the ranges may be mapped or not.
        assert_eq!(found(text, 150, false), ends(100));
        assert_eq!(found(text, 50, false), ends(50));
        // Tables that do not have themselves where they are.
        assert_eq!(found(text, 0, false), None);
        let other = "SYMBOL(_stext)=c0100000\nSYMBOL(swapper_pg_dir)=80004000\n";
        assert_eq!(found(other, 760, false), None);
    }

    #[test]
    fn the_linear_map_of_arm_goes_on_after_a_hole() {
        let text = "SYMBOL(_stext)=c0100000\nSYMBOL(swapper_pg_dir)=c0004000\n";
        for hole in [20, 99, 300] {
            let found = found_with_hole(text, 760, false, hole).unwrap();
            assert_eq!(found.end, RAM + 760 * MIB, "{hole}");
        }
    }

    #[test]
    fn without_the_tables_address_the_kernels_default_holds() {
        let found = found("SYMBOL(_stext)=c0100000\n", 0, false).unwrap();
        let expected = (0xc000_0000, RAM, RAM + 760 * MIB);
        assert_eq!((found.vaddr, found.start, found.end), expected);
        assert_eq!(self::found("", 760, false), None);
    }
}

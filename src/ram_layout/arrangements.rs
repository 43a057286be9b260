//! The arrangements in which QEMU's machines place one block of RAM in
//! guest-physical memory, and those of images of guest-physical memory.
//!
//! Sources in QEMU:
//!
//! - PCs split RAM below the PCI hole and continue it at 4 GiB: `pc_init1` in
//!   `hw/i386/pc_piix.c`, `pc_q35_init` in `hw/i386/pc_q35.c`; `hw/i386/pc.h`
//!   for machines without `gigabyte-align`; `microvm_memory_init` in
//!   `hw/i386/microvm.c`.
//! - Arm and RISC-V: `VIRT_MEM` in `hw/arm/virt.c`, `VIRT_DRAM` in
//!   `hw/riscv/virt.c`.
//! - s390x and ppc64 begin RAM at 0: `hw/s390x/s390-virtio-ccw.c`,
//!   `hw/ppc/spapr.c`.
//! - LoongArch: `VIRT_LOWMEM_SIZE` and `VIRT_HIGHMEM_BASE` in
//!   `include/hw/loongarch/virt.h`. The latter was 0x90000000 at first and is
//!   0x80000000 now.
//!
//! Other VMMs continue a PC's RAM at 4 GiB as well, from another split:
//! Firecracker, crosvm and kvmtool leave 768 MiB (`MEM_32BIT_GAP_SIZE`,
//! `KVM_32BIT_GAP_SIZE`), Xen 256 MiB (`HVM_BELOW_4G_RAM_END` in
//! `xen/include/public/hvm/e820.h`), Hyper-V 128 MiB.

use crate::arch::Machine;
use crate::memory::{MIN_PAGE_SIZE, MemoryRange};
use crate::ram_layout::RamPiece;

const GIB: u64 = 1 << 30;
/// Addresses at which a PC's RAM below 4 GiB may end: `max-ram-below-4g=1G`, q35,
/// q35 with less RAM, `pc`, Firecracker, old `pc` machines, Xen, Hyper-V.
const PC_SPLITS: [u64; 8] = [
    GIB,
    2 * GIB,
    0xb000_0000,
    3 * GIB,
    0xd000_0000,
    0xe000_0000,
    0xf000_0000,
    MAX_PC_SPLIT,
];
const MAX_PC_SPLIT: u64 = 0xf800_0000;
/// Below this size no machine of QEMU splits a PC's RAM unless it is told to: q35 does from here on
/// (`pc_q35_init` in `hw/i386/pc_q35.c`), `pc` later.
pub(super) const UNSPLIT: u64 = 0xb000_0000;
/// Where the RAM of a LoongArch guest may continue after the first 256 MiB.
const LOONGARCH_HIGH: [u64; 2] = [0x8000_0000, 0x9000_0000];
/// A PC's window of video memory, which hides the RAM at the same addresses.
const VGA_WINDOW: (u64, u64) = (0xa_0000, 0xc_0000);

/// Returns the arrangements that QEMU's machines of an architecture may give a
/// block of `size` bytes (whole pages).
pub(crate) fn layouts(machine: Machine, size: u64) -> Vec<Vec<RamPiece>> {
    let place = |places: &[Place]| pieces(size, places);
    match machine {
        Machine::X86_64 | Machine::I386 => PC_SPLITS
            .iter()
            .filter(|split| size > **split)
            .map(|split| place(&pc(*split)))
            .chain((size <= MAX_PC_SPLIT).then(|| place(&pc(4 * GIB))))
            .collect(),
        Machine::Aarch64 | Machine::Aarch64Be | Machine::Arm => vec![place(&[(0, GIB, u64::MAX)])],
        Machine::Riscv64 | Machine::Riscv32 => vec![place(&[(0, 2 * GIB, u64::MAX)])],
        Machine::Loongarch64 if size > GIB / 4 => LOONGARCH_HIGH
            .iter()
            .map(|high| place(&[(0, 0, GIB / 4), (GIB / 4, *high, u64::MAX)]))
            .collect(),
        Machine::Loongarch64 => vec![place(&[(0, 0, u64::MAX)])],
        Machine::S390x | Machine::Ppc64 | Machine::Ppc64le => vec![place(&[(0, 0, u64::MAX)])],
    }
}

/// Returns where a machine's RAM of `size` bytes lies if nothing in it tells, as an address that is
/// usual for the machine. `None` if there are several, or `size` is not whole pages.
///
/// A PC's RAM of up to 2.75 GiB lies from address 0 on. QEMU splits more RAM in several ways.
#[must_use]
pub fn usual(machine: Machine, size: u64) -> Option<Vec<RamPiece>> {
    if !size.is_multiple_of(MIN_PAGE_SIZE) {
        return None;
    }
    if matches!(machine, Machine::X86_64 | Machine::I386) {
        return (size < UNSPLIT).then(|| contiguous(0, size));
    }
    let mut all = layouts(machine, size);
    let first = all.pop();
    first.filter(|pieces| all.is_empty() && !pieces.is_empty())
}

/// Returns the arrangements of RAM in an image of `size` bytes (whole pages) whose file offsets are
/// guest-physical addresses, as `pmemsave` and LiME's format `padded` write it.
///
/// The image of a PC contains its PCI hole. Where several arrangements fit, the one with the largest
/// hole comes first and is right: the others count a part of the hole as RAM.
pub(crate) fn image_layouts(machine: Machine, size: u64) -> Vec<Vec<RamPiece>> {
    match machine {
        Machine::X86_64 | Machine::I386 => PC_SPLITS
            .iter()
            .filter(|split| size > **split)
            .map(|split| {
                let [low, middle, _] = pc(*split);
                pieces(size, &[low, middle, (4 * GIB, 4 * GIB, u64::MAX)])
            })
            .collect(),
        _ => {
            let qemus = layouts(machine, size);
            let base = qemus.first().and_then(|qemus| qemus.first());
            let base = base.map_or(0, |piece| piece.range.start());
            match base {
                0 => Vec::new(),
                base => vec![pieces(size, &[(base, base, u64::MAX)])],
            }
        }
    }
}

/// Returns one contiguous arrangement of `size` bytes from the guest-physical address `base` on.
pub(crate) fn contiguous(base: u64, size: u64) -> Vec<RamPiece> {
    pieces(size, &[(0, base, u64::MAX)])
}

/// Offset in the block, guest-physical address and greatest size of a piece.
type Place = (u64, u64, u64);

/// Returns the places of a PC's RAM.
fn pc(split: u64) -> [Place; 3] {
    let (hole_start, hole_end) = VGA_WINDOW;
    [
        (0, 0, hole_start),
        (hole_end, hole_end, split - hole_end),
        (split, 4 * GIB, u64::MAX),
    ]
}

/// Returns the pieces at `places` that a block of `size` bytes contains.
fn pieces(size: u64, places: &[Place]) -> Vec<RamPiece> {
    places
        .iter()
        .filter_map(|(offset, gpa, max)| {
            let size = size.checked_sub(*offset)?.min(*max);
            let range = MemoryRange::new(*gpa, size).ok()?;
            Some(RamPiece {
                range,
                offset: *offset,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ends(size: u64) -> Vec<Vec<(u64, u64)>> {
        let ranges = |layout: &Vec<RamPiece>| {
            let each = layout.iter().map(|piece| piece.range);
            each.map(|range| (range.start(), range.end())).collect()
        };
        layouts(Machine::X86_64, size).iter().map(ranges).collect()
    }

    #[test]
    fn a_small_pc_has_one_arrangement() {
        let low = (0, 0xa_0000);
        assert_eq!(ends(64 << 20), [[low, (0xc_0000, 64 << 20)]]);
        assert_eq!(ends(GIB), [[low, (0xc_0000, GIB)]]);
    }

    #[test]
    fn a_large_pc_is_split_below_the_pci_hole() {
        let low = (0, 0xa_0000);
        let of = |split: u64| {
            let high = (4 * GIB, 4 * GIB + 5 * GIB - split);
            vec![low, (0xc_0000, split), high]
        };
        assert_eq!(ends(5 * GIB), PC_SPLITS.map(of));
        // Firecracker's split.
        let last = |layout: &Vec<(u64, u64)>| layout[2];
        let firecracker = (4 * GIB, 4 * GIB + 5 * GIB - 0xd000_0000);
        assert!(
            ends(5 * GIB)
                .iter()
                .map(last)
                .any(|high| high == firecracker)
        );
        // Between the splits it may be one piece, too.
        assert_eq!(ends(5 * GIB / 2).len(), 3);
        assert_eq!(ends(5 * GIB / 2)[2], [low, (0xc_0000, 5 * GIB / 2)]);
    }

    #[test]
    fn usual_ram_lies_in_one_way_only() {
        let start = |machine, size| usual(machine, size).map(|pieces| pieces[0].range.start());
        assert_eq!(start(Machine::X86_64, GIB), Some(0));
        assert_eq!(start(Machine::X86_64, 5 * GIB), None);
        assert_eq!(start(Machine::X86_64, 5000), None);
        assert_eq!(start(Machine::Aarch64, 5 * GIB), Some(GIB));
        assert_eq!(start(Machine::Riscv64, 5 * GIB), Some(2 * GIB));
        assert_eq!(start(Machine::S390x, 5 * GIB), Some(0));
        assert_eq!(start(Machine::Loongarch64, GIB / 4), Some(0));
        assert_eq!(start(Machine::Loongarch64, GIB), None);
    }

    #[test]
    fn a_large_loongarch_guest_has_two_arrangements() {
        let starts = |size| {
            let all = layouts(Machine::Loongarch64, size);
            let last = all
                .iter()
                .map(|layout| layout.last().unwrap().range.start());
            last.collect::<Vec<_>>()
        };
        assert_eq!(starts(GIB / 4), [0]);
        assert_eq!(starts(GIB), LOONGARCH_HIGH);
    }

    #[test]
    fn pieces_follow_one_another_in_the_block() {
        for layout in layouts(Machine::X86_64, 5 * GIB) {
            let high = layout[2];
            assert_eq!(high.offset, layout[1].range.end());
            assert_eq!(high.offset + high.range.size(), 5 * GIB);
        }
    }

    #[test]
    fn offsets_in_an_image_are_addresses() {
        for machine in Machine::ALL {
            for layout in image_layouts(*machine, 5 * GIB) {
                assert!(
                    layout
                        .iter()
                        .all(|piece| piece.offset == piece.range.start())
                );
                assert_eq!(layout.last().unwrap().range.end(), 5 * GIB);
            }
        }
        assert_eq!(
            image_layouts(Machine::X86_64, 4 * GIB).len(),
            PC_SPLITS.len()
        );
        assert_eq!(image_layouts(Machine::X86_64, GIB), [[]; 0]);
        assert_eq!(image_layouts(Machine::S390x, GIB), [[]; 0]);
        assert_eq!(image_layouts(Machine::Aarch64, GIB), [[]]);
    }
}

//! The arrangements in which QEMU's machines place one block of RAM in
//! guest-physical memory.
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
//!   `include/hw/loongarch/virt.h`.

use crate::arch::Machine;
use crate::memory::MemoryRange;
use crate::process_core::RamBlock;

const GIB: u64 = 1 << 30;
/// Addresses at which a PC's RAM below 4 GiB may end: `max-ram-below-4g=1G`, q35,
/// q35 with less RAM, `pc`, old `pc` machines.
const PC_SPLITS: [u64; 5] = [GIB, 2 * GIB, 0xb000_0000, 3 * GIB, MAX_PC_SPLIT];
const MAX_PC_SPLIT: u64 = 0xe000_0000;
/// A PC's window of video memory, which hides the RAM at the same addresses.
const VGA_WINDOW: (u64, u64) = (0xa_0000, 0xc_0000);

/// Returns the arrangements that QEMU's machines of an architecture may give a
/// block of `size` bytes (whole pages) at the host-virtual address `hva`.
pub(super) fn layouts(machine: Machine, hva: u64, size: u64) -> Vec<Vec<RamBlock>> {
    let place = |pieces: &[(u64, u64, u64)]| blocks(hva, size, pieces);
    match machine {
        Machine::X86_64 | Machine::I386 => PC_SPLITS
            .iter()
            .filter(|split| size > **split)
            .map(|split| place(&pc(*split)))
            .chain((size <= MAX_PC_SPLIT).then(|| place(&pc(4 * GIB))))
            .collect(),
        Machine::Aarch64 | Machine::Aarch64Be | Machine::Arm => vec![place(&[(0, GIB, u64::MAX)])],
        Machine::Riscv64 | Machine::Riscv32 => vec![place(&[(0, 2 * GIB, u64::MAX)])],
        Machine::Loongarch64 => vec![place(&[(0, 0, GIB / 4), (GIB / 4, 2 * GIB, u64::MAX)])],
        Machine::S390x | Machine::Ppc64 | Machine::Ppc64le => vec![place(&[(0, 0, u64::MAX)])],
    }
}

/// Returns offset in the block, guest-physical address and greatest size of each
/// piece of a PC's RAM.
fn pc(split: u64) -> [(u64, u64, u64); 3] {
    let (hole_start, hole_end) = VGA_WINDOW;
    [
        (0, 0, hole_start),
        (hole_end, hole_end, split - hole_end),
        (split, 4 * GIB, u64::MAX),
    ]
}

/// Returns the `pieces` that a block of `size` bytes contains.
fn blocks(hva: u64, size: u64, pieces: &[(u64, u64, u64)]) -> Vec<RamBlock> {
    pieces
        .iter()
        .filter_map(|(offset, gpa, max)| {
            let size = size.checked_sub(*offset)?.min(*max);
            let range = MemoryRange::new(*gpa, size).ok()?;
            Some(RamBlock {
                range,
                hva: hva + offset,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ends(size: u64) -> Vec<Vec<(u64, u64)>> {
        layouts(Machine::X86_64, 0x7000_0000_0000, size)
            .iter()
            .map(|layout| {
                layout
                    .iter()
                    .map(|block| (block.range.start(), block.range.end()))
                    .collect()
            })
            .collect()
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
        // Between the splits it may be one piece, too.
        assert_eq!(ends(5 * GIB / 2).len(), 3);
        assert_eq!(ends(5 * GIB / 2)[2], [low, (0xc_0000, 5 * GIB / 2)]);
    }

    #[test]
    fn pieces_follow_one_another_in_the_block() {
        for layout in layouts(Machine::X86_64, 0x1000, 5 * GIB) {
            let high = layout[2];
            assert_eq!(high.hva, 0x1000 + layout[1].range.end());
            assert_eq!(high.hva - 0x1000 + high.range.size(), 5 * GIB);
        }
    }
}

//! Page tables of 32-bit Arm, as Linux's kernel uses them.
//!
//! Sources: Arm Architecture Reference Manual for Armv7-A (DDI 0406), chapter
//! B3: short descriptors and long ones (LPAE); Linux
//! `arch/arm/include/asm/pgtable-2level-hwdef.h` and
//! `pgtable-3level-hwdef.h`; `CONFIG(ARM_LPAE)` in VMCOREINFO:
//! `arch/arm/kernel/vmcore_info.c`.

use super::tree::{Entry, Level, Table, Tree, UpperBits};
use crate::abi::ByteOrder;
use crate::arch::arm::PAGE_OFFSETS;
use crate::vmcoreinfo::Vmcoreinfo;

/// The kernel's page tables of a 32-bit Arm CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arm {
    /// Guest-physical address of the first table.
    pub root: u64,
    /// Whether descriptors have 8 bytes (LPAE), or 4.
    pub lpae: bool,
}

/// The format of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Descriptors {
    Short,
    Long,
}

/// The place of the kernel's page tables, and of the memory that it maps
/// linearly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) tables: Arm,
    /// Guest-virtual address of the first table.
    pub(super) swapper: u64,
    /// Guest-virtual address at which RAM begins (`PAGE_OFFSET`).
    pub(super) page_offset: u64,
}

/// Shifts of the indexes into a table of sections and of pages.
const SECTION: u32 = 20;
const PAGE: u32 = 12;
/// Bit 18 of a section: it is one of 16 entries for 16 MiB.
const SUPERSECTION: u64 = 1 << 18;
/// The address in a long descriptor.
const ADDRESS: u64 = 0xff_ffff_f000;

impl Found {
    /// Finds the tables by VMCOREINFO, if RAM begins at `ram_start`.
    ///
    /// The tables lie before the kernel's image in the first megabytes of the
    /// linear mapping (`arch/arm/kernel/head.S`).
    pub(super) fn by(info: &Vmcoreinfo, ram_start: u64) -> Option<Self> {
        let swapper = info.symbol("swapper_pg_dir")?;
        let page_offset = PAGE_OFFSETS.into_iter().find(|offset| *offset <= swapper)?;
        Some(Self {
            tables: Arm {
                root: (swapper - page_offset).checked_add(ram_start)?,
                lpae: info.value("CONFIG_ARM_LPAE") == Some(b"y"),
            },
            swapper,
            page_offset,
        })
    }
}

impl Arm {
    pub(super) fn tree(&self) -> Tree<Descriptors> {
        let (levels, entry_size, format) = if self.lpae {
            (Level::of_tree(32, PAGE, 9), 8, Descriptors::Long)
        } else {
            let levels = [(SECTION, 12), (PAGE, 8)];
            let levels = levels.map(|(shift, bits)| Level { shift, bits });
            (levels.to_vec(), 4, Descriptors::Short)
        };
        Tree {
            root: Table::whole(self.root),
            levels,
            entry_size,
            order: ByteOrder::Little,
            upper_bits: UpperBits::Zeroes,
            format,
        }
    }
}

impl Descriptors {
    /// The meaning of an entry of a table whose index begins at bit `shift`,
    /// for `vaddr`.
    pub(super) fn decode(self, entry: u64, shift: u32, vaddr: u64) -> Entry {
        match self {
            Self::Short => short(entry, shift, vaddr),
            Self::Long => long(entry, shift),
        }
    }
}

fn short(entry: u64, shift: u32, vaddr: u64) -> Entry {
    if shift == PAGE {
        return match entry & 3 {
            0 => Entry::Absent,
            // 64 KiB, in 16 entries.
            1 => Entry::Page(entry & 0xffff_0000 | vaddr & 0xf000),
            _ => Entry::Page(entry & 0xffff_f000),
        };
    }
    match entry & 3 {
        0 => Entry::Absent,
        1 => Entry::Table(Table::whole(entry & 0xffff_fc00)),
        _ if entry & SUPERSECTION == 0 => Entry::Page(entry & 0xfff0_0000),
        // Bits 35 to 32 and 39 to 36 of the address are in bits 23 to 20 and
        // 8 to 5.
        _ => {
            let upper = (entry >> 20 & 0xf) << 32 | (entry >> 5 & 0xf) << 36;
            Entry::Page(upper | entry & 0xff00_0000 | vaddr & 0x00f0_0000)
        }
    }
}

fn long(entry: u64, shift: u32) -> Entry {
    match (entry & 3, shift) {
        (0 | 2, _) | (1, PAGE) => Entry::Absent,
        (1, _) => Entry::Page(entry & ADDRESS & u64::MAX << shift),
        (_, PAGE) => Entry::Page(entry & ADDRESS),
        _ => Entry::Table(Table::whole(entry & ADDRESS)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::AddressSpace;
    use super::*;

    /// Translates by tables, which are addresses and entries.
    fn translate(tables: Arm, entries: &[(u64, u64)], vaddr: u64) -> Option<u64> {
        let read = |gpa: u64, buf: &mut [u8]| {
            let found = entries.iter().find(|(at, _)| *at == gpa);
            let entry = found.map_or(0, |(_, entry)| *entry).to_le_bytes();
            buf.copy_from_slice(&entry[..buf.len()]);
            Ok(())
        };
        AddressSpace::Arm(tables).translate(&read, vaddr).ok()
    }

    #[test]
    fn short_descriptors() {
        let tables = Arm {
            root: 0x4000_4000,
            lpae: false,
        };
        let entries = [
            (0x4000_4000 + 0xc00 * 4, 0x4000_0c0e),
            (0x4000_4000 + 0xc01 * 4, 0x4010_0c0f),
            (0x4000_4000 + 0xf12 * 4, 0x12a4_0042 | SUPERSECTION),
            (0x4000_4000 + 0xf00 * 4, 0x4000_9001),
            (0x4000_9000, 0x4123_402f),
            (0x4000_9004, 0x4124_0001 | 0xe),
            (0x4000_9008, 0x4125_5fff),
            (0x4000_900c, 0x4126_0000),
        ];
        let of = |vaddr| translate(tables, &entries, vaddr);
        assert_eq!(of(0xc001_2345), Some(0x4001_2345));
        assert_eq!(of(0xc01f_ffff), Some(0x401f_ffff));
        assert_eq!(of(0xf123_4567), Some(0x2a_1223_4567));
        assert_eq!(of(0xf000_0123), Some(0x4123_4123));
        assert_eq!(of(0xf000_2001), Some(0x4125_5001));
        assert_eq!(of(0xf000_3000), None);
        assert_eq!(of(0xc020_0000), None);
        assert_eq!(of(0x1_c001_2345), None);
        let large = [entries[3], (0x4000_9000 + 0x15 * 4, 0x4124_0001)];
        assert_eq!(translate(tables, &large, 0xf001_5678), Some(0x4124_5678));
    }

    #[test]
    fn long_descriptors() {
        let tables = Arm {
            root: 0x8000_3000,
            lpae: true,
        };
        let entries = [
            (0x8000_3018, 0x8000_4003),
            (0x8000_4000, 0x60_0000_8000_0701),
            (0x8000_4008, 0x8000_5003),
            (0x8000_5000, 0x40_0000_1234_5703 | 0x12_0000_0000),
            (0x8000_5008, 0x8123_4701),
            (0x8000_3010, 0xc000_0701),
        ];
        let of = |vaddr| translate(tables, &entries, vaddr);
        assert_eq!(of(0xc01f_1234), Some(0x801f_1234));
        assert_eq!(of(0xc020_0567), Some(0x12_1234_5567));
        assert_eq!(of(0xc020_1000), None);
        assert_eq!(of(0xc040_0000), None);
        assert_eq!(of(0x9234_5678), Some(0xd234_5678));
    }
}

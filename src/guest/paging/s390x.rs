//! Page tables of z/Architecture: dynamic address translation (DAT).
//!
//! Defined in z/Architecture Principles of Operation (SA22-7832), chapter 3,
//! "Dynamic Address Translation". Source of the bits: Linux
//! `arch/s390/include/asm/pgtable.h`; of what lengths, offsets and types are
//! checked: QEMU `target/s390x/mmu_helper.c`; of which tables Linux makes:
//! `setup_vmem` in its `arch/s390/boot/vmem.c`.
//!
//! The addresses that come out are real ones; the two pages of each CPU that
//! its prefix register exchanges are not exchanged.

use super::physical::ReadPhysical;
use super::tree::{Entry, Level, Table, Tree, UpperBits};
use crate::abi::ByteOrder;

/// The page tables of a z/Architecture CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct S390x {
    /// The address-space-control element, as a control register has it. With
    /// real-space control, which means no tables, nothing is mapped.
    pub asce: u64,
}

/// Bits 0 to 51 of the element and of region-table entries.
const ORIGIN: u64 = !0xfff;
/// Real-space control, bit 58.
const ASCE_REAL_SPACE: u64 = 1 << 5;
/// Designation type, and table type (TT) of a region or segment entry: bits
/// 60 and 61. 3, 2, 1: region first, second, third table; 0: segment table.
const TYPE_SHIFT: u32 = 2;
/// Table length (TL), bits 62 and 63: the last quarter that there is.
const LENGTH: u64 = 3;
/// Table offset (TF) of a region entry, bits 56 and 57: the first one.
const OFFSET_SHIFT: u32 = 6;
/// I of a region or segment entry, bit 58.
const INVALID: u64 = 1 << 5;
/// Format control (FC), bit 53: a region-third entry maps 2 GiB, a segment
/// entry 1 MiB.
const LARGE: u64 = 1 << 10;
/// Bits 0 to 52 of a segment entry.
const PAGE_TABLE_ORIGIN: u64 = !0x7ff;
/// I of a page entry, bit 53, and bit 52, which must be 0.
const PAGE_INVALID: u64 = 1 << 10;
const PAGE_ZERO: u64 = 1 << 11;

/// Where the index into a table of each type begins; 11 bits each. Below is
/// the page table's, of 8 bits.
const SHIFTS: [u32; 4] = [20, 31, 42, 53];
const PAGE_SHIFT: u32 = 12;

/// The table type of an entry or the designation type of an element.
const fn type_of(entry: u64) -> u64 {
    entry >> TYPE_SHIFT & 3
}

impl S390x {
    /// The Linux kernel's own, whose first table is at `root`. VMCOREINFO
    /// does not have the element; but all entries of the first table, those
    /// that map nothing too, have its type.
    pub(super) fn of_kernel(root: u64, read: &ReadPhysical<'_>) -> Option<Self> {
        let mut entry = [0; 8];
        read(root, &mut entry).ok()?;
        let kind = type_of(ByteOrder::Big.read(&entry)?);
        // Linux has no kernel with less than region third tables.
        (kind != 0 && root & !ORIGIN == 0).then_some(Self {
            asce: root | kind << TYPE_SHIFT | LENGTH,
        })
    }

    pub(super) fn tree(&self) -> Option<Tree<()>> {
        if self.asce & ASCE_REAL_SPACE != 0 {
            return None;
        }
        let kind = type_of(self.asce) as usize;
        let upper = SHIFTS[..=kind].iter().rev();
        let mut levels: Vec<_> = upper.map(|&shift| Level { shift, bits: 11 }).collect();
        levels.push(Level {
            shift: PAGE_SHIFT,
            bits: 8,
        });
        Some(Tree {
            root: Table {
                gpa: self.asce & ORIGIN,
                quarters: (0, (self.asce & LENGTH) as u8),
            },
            levels,
            entry_size: 8,
            order: ByteOrder::Big,
            upper_bits: UpperBits::Zeroes,
            format: (),
        })
    }
}

/// The meaning of an entry of a table whose index begins at bit `shift`.
pub(super) fn decode(entry: u64, shift: u32) -> Entry {
    if shift == PAGE_SHIFT {
        return match entry & (PAGE_INVALID | PAGE_ZERO) {
            0 => Entry::Page(entry & ORIGIN),
            _ => Entry::Absent,
        };
    }
    let kind = type_of(entry) as usize;
    if entry & INVALID != 0 || SHIFTS[kind] != shift {
        return Entry::Absent;
    }
    let large = entry & LARGE != 0;
    match kind {
        0 | 1 if large => Entry::Page(entry & u64::MAX << shift),
        0 => Entry::Table(Table::whole(entry & PAGE_TABLE_ORIGIN)),
        _ => Entry::Table(Table {
            gpa: entry & ORIGIN,
            quarters: (
                (entry >> OFFSET_SHIFT & LENGTH) as u8,
                (entry & LENGTH) as u8,
            ),
        }),
    }
}

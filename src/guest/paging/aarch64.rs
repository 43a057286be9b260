//! Page tables of AArch64: stage 1 of EL1 and EL0.
//!
//! Source: Arm Architecture Reference Manual for A-profile (DDI 0487),
//! chapter D8, "The AArch64 Virtual Memory System Architecture", sections on
//! the VMSAv8-64 descriptor formats; TCR_EL1, TTBR0_EL1 and TTBR1_EL1 in
//! D24. What Linux says about its tables: `arch/arm64/kernel/vmcore_info.c`;
//! where it puts them in a kernel for 52-bit addresses on a CPU without:
//! `offset_ttbr1` in `arch/arm64/include/asm/assembler.h`.

use super::tree::{Entry, Level, Table, Tree, UpperBits};
use crate::abi::ByteOrder;
use crate::vmcoreinfo::Vmcoreinfo;

/// The page tables of an AArch64 CPU at EL1 and EL0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aarch64 {
    /// TTBR0_EL1: of low addresses.
    pub ttbr0: u64,
    /// TTBR1_EL1: of high addresses.
    pub ttbr1: u64,
    /// TCR_EL1.
    pub tcr: u64,
    /// Byte order of the tables: `SCTLR_EL1.EE`.
    pub order: ByteOrder,
}

/// What decides how descriptors are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Descriptors {
    /// The page size is 2 to the power of this: 12, 14 or 16.
    page_shift: u32,
    /// `TCR_EL1.DS`, with pages of 4 or 16 KiB: 52-bit addresses (LPA2).
    lpa2: bool,
}

/// `TCR_EL1.T0SZ` and `T1SZ` are 6 bits from here on.
const T0SZ_SHIFT: u32 = 0;
const T1SZ_SHIFT: u32 = 16;
/// `TCR_EL1.EPD0` and `EPD1`: no walks by this register.
const EPD0: u64 = 1 << 7;
const EPD1: u64 = 1 << 23;
/// `TCR_EL1.TG0` and `TG1` are 2 bits from here on.
const TG0_SHIFT: u32 = 14;
const TG1_SHIFT: u32 = 30;
/// `TCR_EL1.IPS` is 3 bits from here on; 6 stands for 52-bit addresses.
const IPS_SHIFT: u32 = 32;
const IPS_52_BITS: u64 = 6;
/// `TCR_EL1.DS`.
const DS: u64 = 1 << 59;

impl Aarch64 {
    /// The Linux kernel's own page tables, which VMCOREINFO names. Those of
    /// processes are not known from there.
    pub(super) fn of_kernel(info: &Vmcoreinfo, order: ByteOrder) -> Option<Self> {
        let swapper = info.symbol("swapper_pg_dir")?;
        let root = swapper.wrapping_sub(info.number("kimage_voffset")? as u64);
        let configured = u64::try_from(info.number("VA_BITS")?).ok()?;
        let page_size = info.page_size()?;
        let granule = match page_size {
            4096 => 0b10,
            16384 => 0b01,
            65536 => 0b11,
            _ => return None,
        };
        let t1sz = match info.number("TCR_EL1_T1SZ") {
            // Tables for 52-bit addresses, whatever the CPU can do: the
            // kernel then gives TTBR1 an address inside the first table.
            _ if page_size == 65536 => 64u64.checked_sub(configured)?,
            Some(t1sz) => t1sz as u64 & 0x3f,
            None => 64u64.checked_sub(configured)?,
        };
        // Linux uses as many physical address bits as virtual ones with
        // these pages.
        let lpa2 = if t1sz == 12 && page_size != 65536 {
            DS
        } else {
            0
        };
        Some(Self {
            ttbr0: 0,
            ttbr1: root,
            tcr: t1sz << T1SZ_SHIFT | granule << TG1_SHIFT | lpa2 | EPD0,
            order,
        })
    }

    /// The kernel's tree first.
    pub(super) fn trees(&self) -> Vec<Tree<Descriptors>> {
        let granule = |shift| self.tcr >> shift & 3;
        // TG0 and TG1 number the sizes differently.
        let high_page_shift = match granule(TG1_SHIFT) {
            0b01 => Some(14),
            0b10 => Some(12),
            0b11 => Some(16),
            _ => None,
        };
        let low_page_shift = match granule(TG0_SHIFT) {
            0b00 => Some(12),
            0b01 => Some(16),
            0b10 => Some(14),
            _ => None,
        };
        let tree = |ttbr, page_shift, disabled, size_shift, upper_bits| {
            if self.tcr & disabled != 0 {
                return None;
            }
            self.tree(ttbr, page_shift?, size_shift, upper_bits)
        };
        let high = tree(
            self.ttbr1,
            high_page_shift,
            EPD1,
            T1SZ_SHIFT,
            UpperBits::Ones,
        );
        let low = tree(
            self.ttbr0,
            low_page_shift,
            EPD0,
            T0SZ_SHIFT,
            UpperBits::Zeroes,
        );
        high.into_iter().chain(low).collect()
    }

    fn tree(
        &self,
        ttbr: u64,
        page_shift: u32,
        size_shift: u32,
        upper_bits: UpperBits,
    ) -> Option<Tree<Descriptors>> {
        let address_bits = 64 - (self.tcr >> size_shift & 0x3f) as u32;
        let lpa2 = self.tcr & DS != 0 && page_shift != 16;
        let most = if lpa2 || page_shift == 16 { 52 } else { 48 };
        if address_bits <= page_shift || address_bits > most {
            return None;
        }
        // With 52-bit physical addresses bits 5 to 2 are bits 51 to 48.
        let wide = lpa2 || self.tcr >> IPS_SHIFT & 7 == IPS_52_BITS;
        let root = if wide {
            ttbr & 0x0000_ffff_ffff_ffc0 | (ttbr >> 2 & 0xf) << 48
        } else {
            ttbr & 0x0000_ffff_ffff_fffe
        };
        Some(Tree {
            root: Table::whole(root),
            levels: Level::of_tree(address_bits, page_shift, page_shift - 3),
            entry_size: 8,
            order: self.order,
            upper_bits,
            format: Descriptors { page_shift, lpa2 },
        })
    }
}

impl Descriptors {
    /// The meaning of a descriptor in a table whose index begins at bit
    /// `shift`.
    pub(super) fn decode(self, descriptor: u64, shift: u32) -> Entry {
        let address = self.address(descriptor);
        let last = shift == self.page_shift;
        match descriptor & 3 {
            0b11 if last => Entry::Page(address),
            0b11 => Entry::Table(Table::whole(address)),
            0b01 if !last && shift <= self.largest_block() => {
                Entry::Page(address & (u64::MAX << shift))
            }
            _ => Entry::Absent,
        }
    }

    /// The largest block is 2 to the power of this bytes.
    fn largest_block(self) -> u32 {
        match (self.page_shift, self.lpa2) {
            (12, false) => 30,
            (12, true) => 39,
            (14, false) => 25,
            (14, true) => 36,
            _ => 42,
        }
    }

    fn address(self, descriptor: u64) -> u64 {
        let low = descriptor & 0x0000_ffff_ffff_ffff & (u64::MAX << self.page_shift);
        if self.page_shift == 16 {
            // Bits 51 to 48 in bits 15 to 12, which are 0 on a CPU without
            // 52-bit physical addresses.
            low | (descriptor >> 12 & 0xf) << 48
        } else if self.lpa2 {
            low | descriptor & (3 << 48) | (descriptor >> 8 & 3) << 50
        } else {
            low
        }
    }
}

//! `PROCESSOR_START_BLOCK`: what a 64-bit Windows puts into the first MiB to start its processors.
//!
//! Sources: MemProcFS `vmm/vmmwininit.c` (`VmmWinInit_DTB_FindValidate_X64_LowStub`), for the bytes by which
//! the block is found; hfiref0x/KDU `Source/Hamakaze/ntos/halamd64.h` for the fields.

use std::mem::{offset_of, size_of};

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::guest::paging::X86Mode;

/// `JMP` with 16 bits of distance.
const JUMP: u8 = 0xe9;
/// The third byte: the jump's distance is less than 0x700.
const DISTANCE_HIGH: u8 = 6;
/// `CompletionFlag` of a block whose processor has started.
const COMPLETE: u32 = 1;
/// `CR4.LA57`.
const CR4_LA57: u64 = 1 << 12;

/// The used fields of `PROCESSOR_START_BLOCK`.
#[derive(Debug, Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct StartBlock {
    jump: [u8; 3],
    padding: u8,
    completion_flag: U32,
    /// Descriptor tables, GDT, `TiledCr3`, and two far targets.
    reserved1: [u8; 0x68],
    lm_target: U64,
    self_map: U64,
    msr_pat: U64,
    msr_efer: U64,
    cr0: U64,
    cr2: U64,
    cr3: U64,
    cr4: U64,
}

const _: () = assert!(offset_of!(StartBlock, lm_target) == 0x70);
const _: () = assert!(offset_of!(StartBlock, cr3) == 0xa0);
const _: () = assert!(size_of::<StartBlock>() == 0xb0);

/// Facts about the kernel in the block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LowStub {
    /// Guest-virtual address at which a processor enters the kernel.
    pub(crate) entry: u64,
    pub(crate) cr3: u64,
    cr4: u64,
}

impl LowStub {
    /// Decodes the block at the beginning of a page. `None` if it has not the block's marks.
    pub(crate) fn decode(page: &[u8]) -> Option<Self> {
        let (block, _) = StartBlock::read_from_prefix(page).ok()?;
        let [jump, _, high] = block.jump;
        let starts = jump == JUMP
            && high == DISTANCE_HIGH
            && block.padding == 0
            && block.completion_flag.get() == COMPLETE;
        let (entry, cr3) = (block.lm_target.get(), block.cr3.get());
        let is_entry = entry & 0xffff_f800_0000_0003 == 0xffff_f800_0000_0000;
        let is_cr3 = cr3 & 0xffff_ff00_0000_0fff == 0 && cr3 != 0;
        (starts && is_entry && is_cr3).then(|| Self {
            entry,
            cr3,
            cr4: block.cr4.get(),
        })
    }

    /// Returns the kind of page tables to which CR3 leads.
    pub(crate) const fn mode(&self) -> X86Mode {
        if self.cr4 & CR4_LA57 == 0 {
            X86Mode::FourLevel
        } else {
            X86Mode::FiveLevel
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_block_has_its_marks() {
        let mut page = vec![0; 4096];
        page[..8].copy_from_slice(&0x0000_0001_0006_4de9u64.to_le_bytes());
        page[0x70..0x78].copy_from_slice(&0xffff_f802_4f50_1230u64.to_le_bytes());
        page[0xa0..0xa8].copy_from_slice(&0x1a_d000u64.to_le_bytes());
        let stub = LowStub::decode(&page).unwrap();
        assert_eq!(stub.entry, 0xffff_f802_4f50_1230);
        assert_eq!((stub.cr3, stub.mode()), (0x1a_d000, X86Mode::FourLevel));
        let mut wide = page.clone();
        wide[0xa9] = 0x10;
        assert_eq!(LowStub::decode(&wide).unwrap().mode(), X86Mode::FiveLevel);
        for at in [0, 2, 3, 4, 0x70, 0x77, 0xa0, 0xa5] {
            let mut other = page.clone();
            other[at] ^= 1;
            assert_eq!(LowStub::decode(&other), None, "{at:#x}");
        }
        assert_eq!(LowStub::decode(&page[..0xaf]), None);
    }
}

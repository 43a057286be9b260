//! The file offsets of the parts of a dump that is about to be written.
//!
//! Source: makedumpfile `IMPLEMENTATION`, "The file structure". The notes directly follow the sub
//! header, as in makedumpfile's own dumps.
#![forbid(unsafe_code)]

use crate::abi::Abi;
use crate::kdump::{HEADER_BLOCKS, PageDescriptor, SubHeader};

/// File offsets and sizes, in bytes unless they say blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Bytes in a block and in a page.
    pub block_size: u64,
    /// The offset of the sub header.
    pub sub_header: u64,
    /// The offset of the notes.
    pub notes: u64,
    /// Blocks of sub header and notes.
    pub sub_hdr_blocks: u64,
    /// The offset of the first bitmap, which the second one follows.
    pub bitmaps: u64,
    /// The length of one bitmap, a multiple of the block size.
    pub bitmap_size: u64,
    /// The offset of the page descriptors.
    pub descriptors: u64,
    /// The offset of the pages' data.
    pub data: u64,
}

impl Layout {
    /// The layout of a dump with `notes_len` bytes of notes and whatever else follows the sub
    /// header, bitmaps for
    /// `max_mapnr` page frames, and `pages` pages; `None` if it does not fit
    /// into 63-bit file offsets and the headers' 32-bit counts of blocks.
    #[must_use]
    pub fn new(
        abi: Abi,
        block_size: u64,
        notes_len: u64,
        max_mapnr: u64,
        pages: u64,
    ) -> Option<Self> {
        let sub_header = HEADER_BLOCKS.checked_mul(block_size)?;
        let sub_size = SubHeader::size(abi) as u64;
        let sub_hdr_blocks = sub_size.checked_add(notes_len)?.div_ceil(block_size);
        let bitmap_blocks = max_mapnr.div_ceil(8).div_ceil(block_size);
        let bitmap_size = bitmap_blocks.checked_mul(block_size)?;
        let bitmaps = sub_header.checked_add(sub_hdr_blocks.checked_mul(block_size)?)?;
        let descriptors = bitmaps.checked_add(bitmap_size.checked_mul(2)?)?;
        let data = pages
            .checked_mul(PageDescriptor::SIZE as u64)?
            .checked_add(descriptors)?;
        // Even if no page shrinks.
        let end = pages
            .checked_add(1)?
            .checked_mul(block_size)?
            .checked_add(data)?;
        i64::try_from(end).ok()?;
        i32::try_from(sub_hdr_blocks).ok()?;
        i32::try_from(bitmap_blocks.checked_mul(2)?).ok()?;
        Some(Self {
            block_size,
            sub_header,
            notes: sub_header + sub_size,
            sub_hdr_blocks,
            bitmaps,
            bitmap_size,
            descriptors,
            data,
        })
    }

    /// Blocks of both bitmaps together.
    #[must_use]
    pub const fn bitmap_blocks(&self) -> u64 {
        2 * self.bitmap_size / self.block_size
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::abi::{ByteOrder, Class, Encoding};

    const LE64: Abi = Abi::aligned(Encoding {
        class: Class::Bits64,
        order: ByteOrder::Little,
    });

    #[test]
    fn layout_of_one_gibibyte_is_makedumpfiles() {
        // The test guest of FIELD-NOTES: 1 GiB, notes at 4200.
        let layout = Layout::new(LE64, 4096, 3648, 0x40000, 10).unwrap();
        assert_eq!(
            layout,
            Layout {
                block_size: 4096,
                sub_header: 4096,
                notes: 4200,
                sub_hdr_blocks: 1,
                bitmaps: 8192,
                bitmap_size: 8 * 4096,
                descriptors: 8192 + 16 * 4096,
                data: 8192 + 16 * 4096 + 240,
            }
        );
        assert_eq!(layout.bitmap_blocks(), 16);
        let more_notes = Layout::new(LE64, 4096, 4096 - 103, 1, 1).unwrap();
        assert_eq!(more_notes.sub_hdr_blocks, 2);
    }

    #[test]
    fn layout_past_63_bit_offsets_or_31_bit_counts_is_refused() {
        let new = |notes, max_mapnr, pages| Layout::new(LE64, 4096, notes, max_mapnr, pages);
        assert_eq!(new(0, u64::MAX, 1), None);
        assert_eq!(new(0, 1, u64::MAX / 4096), None);
        assert_eq!(new(u64::MAX, 1, 1), None);
        // 2^52 page frames are all of a 64-bit address space.
        assert_eq!(new(0, 1 << 52, 1), None);
        assert!(new(0, 1 << 40, 1).is_some());
    }
}

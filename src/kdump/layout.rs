//! What lies where in a kdump-compressed dump.
//!
//! Source: makedumpfile `IMPLEMENTATION`, "The file structure". The notes
//! lie directly behind the sub header, as makedumpfile has them.
#![forbid(unsafe_code)]

use crate::kdump::{HEADER_BLOCKS, HeaderLayout, PageDescriptor};

/// File offsets and sizes, in bytes unless they say blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Bytes in a block and in a page.
    pub block_size: u64,
    /// Where the sub header lies.
    pub sub_header: u64,
    /// Where the notes lie.
    pub notes: u64,
    /// Blocks of sub header and notes.
    pub sub_hdr_blocks: u64,
    /// Where the first bitmap lies; the second one lies behind it.
    pub bitmaps: u64,
    /// Length of one bitmap, whole blocks.
    pub bitmap_size: u64,
    /// Where the page descriptors lie.
    pub descriptors: u64,
    /// Where the pages' data begins.
    pub data: u64,
}

impl Layout {
    /// The layout of a dump with `notes_len` bytes of notes, bitmaps for
    /// `max_mapnr` page frames, and `pages` pages; `None` if it does not fit
    /// into 63-bit file offsets and the headers' 32-bit counts of blocks.
    #[must_use]
    pub fn new(
        header: HeaderLayout,
        block_size: u64,
        notes_len: u64,
        max_mapnr: u64,
        pages: u64,
    ) -> Option<Self> {
        let sub_header = HEADER_BLOCKS.checked_mul(block_size)?;
        let sub_size = header.sub_size() as u64;
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

    #[test]
    fn as_makedumpfile_lays_it_out() {
        // The test guest of FIELD-NOTES: 1 GiB, notes at 4200.
        let layout = Layout::new(HeaderLayout::Bits64, 4096, 3648, 0x40000, 10).unwrap();
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
        let more_notes = Layout::new(HeaderLayout::Bits64, 4096, 4096 - 103, 1, 1).unwrap();
        assert_eq!(more_notes.sub_hdr_blocks, 2);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let new = |notes, max_mapnr, pages| {
            Layout::new(HeaderLayout::Bits64, 4096, notes, max_mapnr, pages)
        };
        assert_eq!(new(0, u64::MAX, 1), None);
        assert_eq!(new(0, 1, u64::MAX / 4096), None);
        assert_eq!(new(u64::MAX, 1, 1), None);
        // 2^52 page frames are all of a 64-bit address space.
        assert_eq!(new(0, 1 << 52, 1), None);
        assert!(new(0, 1 << 40, 1).is_some());
    }
}

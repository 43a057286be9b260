//! Both headers of a dump, and the offsets that they give.
//!
//! Sources: makedumpfile `IMPLEMENTATION`, "The file structure"; libkdumpfile
//! `src/kdumpfile/diskdump.c` for dumps with one bitmap.
#![forbid(unsafe_code)]

use std::ops::Range;

use crate::abi::Abi;
use crate::kdump::{
    DUMP_DH_COMPRESSED_INCOMPLETE, HEADER_BLOCKS, MainHeader, SIGNATURE, SubHeader,
};

/// Why bytes have no headers of a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The bytes begin with another signature than that of a dump.
    #[error("there is no kdump header")]
    Signature,
    /// No word size and byte order makes the main header plausible.
    #[error("the kdump header is not plausible in any byte order")]
    Implausible,
    /// The bytes end before the sub header does.
    #[error("the sub header is cut short")]
    CutShort,
    /// The bitmaps are too short for the page frames that they should cover.
    #[error("the bitmaps do not cover {0} page frames")]
    Bitmaps(u64),
}

/// Both headers of a dump, of any ABI.
///
/// Offsets are in bytes of the dump's raw form. No offset is checked against the dump's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DumpHeaders {
    /// The guest's ABI, which decides the layout of the headers.
    pub abi: Abi,
    /// The main header.
    pub main: MainHeader,
    /// The sub header. Fields newer than the header's version are 0.
    pub sub: SubHeader,
}

impl DumpHeaders {
    /// Decodes the headers of the dump that begins with `bytes`, and finds out its ABI.
    ///
    /// The first 65,536 + [`SubHeader::MAX_SIZE`] bytes of a dump are enough.
    ///
    /// # Errors
    ///
    /// Any [`HeaderError`] but [`HeaderError::Bitmaps`].
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        if !bytes.starts_with(&SIGNATURE) {
            return Err(HeaderError::Signature);
        }
        let (encoding, main) = MainHeader::find(bytes).ok_or(HeaderError::Implausible)?;
        let sub = bytes.get(main.block_size as usize..);
        let (abi, sub) = sub
            .and_then(|bytes| SubHeader::find(encoding, &main, bytes))
            .ok_or(HeaderError::CutShort)?;
        Ok(Self { abi, main, sub })
    }

    /// Whether the dump has all pages that it should have.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.main.status & DUMP_DH_COMPRESSED_INCOMPLETE == 0
    }

    /// The number of page frames that each bitmap covers.
    #[must_use]
    pub fn max_mapnr(&self) -> u64 {
        match self.sub.max_mapnr_64 {
            0 => self.main.max_mapnr.into(),
            n => n,
        }
    }

    /// The offsets of the notes; empty if the dump has none. `None` past 64 bits.
    #[must_use]
    pub fn notes(&self) -> Option<Range<u64>> {
        range(self.sub.offset_note, self.sub.size_note)
    }

    /// The offsets of VMCOREINFO's text; empty if the dump has none. `None` past 64 bits.
    #[must_use]
    pub fn vmcoreinfo(&self) -> Option<Range<u64>> {
        range(self.sub.offset_vmcoreinfo, self.sub.size_vmcoreinfo)
    }

    /// The offsets of the two bitmaps: the page frames that are RAM, and those that are in the dump.
    /// The two are the same in a dump with one bitmap.
    ///
    /// # Errors
    ///
    /// [`HeaderError::Bitmaps`] if they do not cover [`max_mapnr`](Self::max_mapnr) page frames.
    pub fn bitmaps(&self) -> Result<[Range<u64>; 2], HeaderError> {
        let max_mapnr = self.max_mapnr();
        let block = u64::from(self.main.block_size);
        let blocks = u64::from(self.main.bitmap_blocks);
        let start = (HEADER_BLOCKS + u64::from(self.main.sub_hdr_size)).checked_mul(block);
        // The header may be anything: an end past 64 bits is no bitmap.
        let place = |blocks: u64| {
            let (start, size) = (start?, blocks.checked_mul(block)?);
            let covers = size.checked_mul(8).is_none_or(|bits| max_mapnr <= bits);
            let end = start.checked_add(size).filter(|_| covers)?;
            Some((start..end, size))
        };
        if let Some((first, half)) = place(blocks / 2)
            && let Some(end) = first.end.checked_add(half)
        {
            return Ok([first.clone(), first.end..end]);
        }
        let (only, _) = place(blocks).ok_or(HeaderError::Bitmaps(max_mapnr))?;
        Ok([only.clone(), only])
    }

    /// The offset of the first page descriptor.
    #[must_use]
    pub fn descriptors(&self) -> u64 {
        let blocks =
            HEADER_BLOCKS + u64::from(self.main.sub_hdr_size) + u64::from(self.main.bitmap_blocks);
        blocks.saturating_mul(self.main.block_size.into())
    }

    /// The bits of the second bitmap whose pages have a descriptor in this file: all of them,
    /// or those of one share of a split dump.
    #[must_use]
    pub const fn share(&self) -> Range<u64> {
        match (self.sub.split, self.main.header_version) {
            (0, _) => 0..u64::MAX,
            (_, ..6) => self.sub.start_pfn..self.sub.end_pfn,
            _ => self.sub.start_pfn_64..self.sub.end_pfn_64,
        }
    }
}

fn range(offset: u64, size: u64) -> Option<Range<u64>> {
    Some(offset..offset.checked_add(size)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::abi::tests::abis;
    use crate::abi::{ByteOrder, Class, Encoding};
    use crate::testing::{kdump_headers, main_header};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn abi_is_found_by_the_place_of_vmcoreinfo(abi in abis()) {
            let main = main_header("vax");
            let sub = SubHeader {
                offset_vmcoreinfo: 4096 + 200,
                size_vmcoreinfo: 100,
                max_mapnr_64: 100,
                ..SubHeader::default()
            };
            let bytes = kdump_headers(abi, &main, &sub);
            let found = DumpHeaders::decode(&bytes).unwrap();
            prop_assert_eq!(found.abi.encoding(), abi.encoding());
            if abi.class == Class::Bits32 {
                prop_assert_eq!(found.abi, abi);
            }
            prop_assert_eq!((found.main, found.sub), (main, sub));
            let cut = DumpHeaders::decode(&bytes[..bytes.len() - 1]);
            prop_assert_eq!(cut, Err(HeaderError::CutShort));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let mut dump = SIGNATURE.to_vec();
            dump.extend(bytes);
            if let Ok(headers) = DumpHeaders::decode(&dump) {
                let _ = headers.bitmaps();
            }
        }
    }

    #[test]
    fn bitmaps_are_halves_or_one_for_both() {
        let abi = Abi::aligned(Encoding {
            class: Class::Bits64,
            order: ByteOrder::Little,
        });
        let mut headers = DumpHeaders {
            abi,
            main: main_header("x86_64"),
            sub: SubHeader::default(),
        };
        assert_eq!(
            headers.bitmaps(),
            Ok([8192..8192 + 4096, 8192 + 4096..4 * 4096])
        );
        headers.sub.max_mapnr_64 = 4096 * 8 + 1;
        assert_eq!(headers.bitmaps(), Ok([8192..4 * 4096, 8192..4 * 4096]));
        headers.sub.max_mapnr_64 = 2 * 4096 * 8 + 1;
        assert_eq!(headers.bitmaps(), Err(HeaderError::Bitmaps(65537)));
        assert_eq!(headers.descriptors(), 4 * 4096);
    }

    #[test]
    fn other_bytes_are_refused() {
        assert_eq!(
            DumpHeaders::decode(b"makedumpfile"),
            Err(HeaderError::Signature)
        );
        let mut zeroes = SIGNATURE.to_vec();
        zeroes.resize(8192, 0);
        assert_eq!(DumpHeaders::decode(&zeroes), Err(HeaderError::Implausible));
    }
}

//! The section `.guestdump.excluded`: which pages of an ELF dump are excluded, and the dump level.
//!
//! An excluded page is a hole of the file, so that readers which expect p_filesz to be p_memsz open
//! the dump. By this section a page that is excluded differs from one that is zero, as it does by the
//! bitmaps of kdump. Readers that do not know the section skip it.
//!
//! The header is followed by a bitmap: a bit for each page of the PT_LOADs' memory, in the order of
//! guest-physical addresses, the lowest bit of a byte first. A bit is 1 if the page is excluded.
//!
//! Source: this crate; no other program writes the section.
#![forbid(unsafe_code)]

use std::mem::{offset_of, size_of};

use zerocopy::byteorder::{ByteOrder as Order, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::abi::{ByteOrder, with_order};
use crate::elf::constants::Le;

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Raw<O: Order> {
    version: U32<O>,
    page_size: U32<O>,
    dump_level: U32<O>,
    reserved: U32<O>,
    pages: U64<O>,
}

const _: () = assert!(offset_of!(Raw<Le>, dump_level) == 8);
const _: () = assert!(offset_of!(Raw<Le>, pages) == 16);
const _: () = assert!(size_of::<Raw<Le>>() == ExcludedHeader::SIZE);

/// The header of the section with excluded pages. The bitmap follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExcludedHeader {
    /// The version of the layout: [`VERSION`](Self::VERSION).
    pub version: u32,
    /// Bytes in a page.
    pub page_size: u32,
    /// makedumpfile's dump level, by which pages were excluded; 0 if another reason excluded them.
    pub dump_level: u32,
    /// Pages in the PT_LOADs, and bits in the bitmap.
    pub pages: u64,
}

impl ExcludedHeader {
    /// The section's name.
    pub const SECTION: &str = ".guestdump.excluded";
    /// The length of the header in bytes.
    pub const SIZE: usize = 24;
    /// The version of the layout that this crate writes.
    pub const VERSION: u32 = 1;

    /// Returns the length of the bitmap in bytes.
    #[must_use]
    pub const fn bitmap_size(&self) -> u64 {
        self.pages.div_ceil(8)
    }

    /// Returns the header's bytes.
    #[must_use]
    pub fn to_bytes(&self, order: ByteOrder) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        with_order!(order, O => bytes.copy_from_slice(Raw::<O> {
            version: self.version.into(),
            page_size: self.page_size.into(),
            dump_level: self.dump_level.into(),
            reserved: 0.into(),
            pages: self.pages.into(),
        }.as_bytes()));
        bytes
    }

    /// Decodes the header at the beginning of `bytes`; `None` if they are too short.
    #[must_use]
    pub fn decode(order: ByteOrder, bytes: &[u8]) -> Option<Self> {
        with_order!(order, O => {
            let (raw, _) = Raw::<O>::ref_from_prefix(bytes).ok()?;
            Some(Self {
                version: raw.version.into(),
                page_size: raw.page_size.into(),
                dump_level: raw.dump_level.into(),
                pages: raw.pages.into(),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_header_decodes_to_what_was_encoded(
            version: u32, page_size: u32, dump_level: u32, pages: u64, big: bool,
        ) {
            let header = ExcludedHeader { version, page_size, dump_level, pages };
            let order = if big { ByteOrder::Big } else { ByteOrder::Little };
            let bytes = header.to_bytes(order);
            prop_assert_eq!(ExcludedHeader::decode(order, &bytes), Some(header));
            prop_assert_eq!(ExcludedHeader::decode(order, &bytes[1..]), None);
        }
    }
}

//! `struct page_desc`: one for each page in the dump.
#![forbid(unsafe_code)]

use std::mem::{offset_of, size_of};

use zerocopy::byteorder::{ByteOrder as Order, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::abi::{ByteOrder, with_order};
use crate::kdump::constants::Le;

/// `struct page_desc`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawPageDescriptor<O: Order> {
    offset: U64<O>,
    size: U32<O>,
    flags: U32<O>,
    page_flags: U64<O>,
}

const _: () = assert!(offset_of!(RawPageDescriptor<Le>, size) == 8);
const _: () = assert!(offset_of!(RawPageDescriptor<Le>, flags) == 12);
const _: () = assert!(offset_of!(RawPageDescriptor<Le>, page_flags) == 16);
const _: () = assert!(size_of::<RawPageDescriptor<Le>>() == PageDescriptor::SIZE);

/// What a page descriptor says. There is one for each bit that is set in the
/// second bitmap, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PageDescriptor {
    /// File offset of the page's data; 0 if it is missing (incomplete dump).
    pub offset: u64,
    /// Length of the data in bytes.
    pub size: u32,
    /// The codec's flag; 0 for a page stored as it is.
    pub flags: u32,
    /// Not used; 0.
    pub page_flags: u64,
}

impl PageDescriptor {
    /// Size of a descriptor in bytes, for every architecture.
    pub const SIZE: usize = 24;

    /// Appends the descriptor's bytes to `out`.
    pub fn encode(&self, order: ByteOrder, out: &mut Vec<u8>) {
        with_order!(order, O => out.extend_from_slice(RawPageDescriptor::<O> {
            offset: self.offset.into(),
            size: self.size.into(),
            flags: self.flags.into(),
            page_flags: self.page_flags.into(),
        }.as_bytes()));
    }

    /// Decodes the descriptor at the beginning of `bytes`; `None` if they
    /// are too few.
    #[must_use]
    pub fn decode(order: ByteOrder, bytes: &[u8]) -> Option<Self> {
        Some(with_order!(order, O => {
            let (d, _) = RawPageDescriptor::<O>::read_from_prefix(bytes).ok()?;
            Self {
                offset: d.offset.get(),
                size: d.size.get(),
                flags: d.flags.get(),
                page_flags: d.page_flags.get(),
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::kdump::DUMP_DH_COMPRESSED_ZSTD;

    #[test]
    fn page_descriptor_bytes() {
        let desc = PageDescriptor {
            offset: 0x0102,
            size: 0x0304,
            flags: DUMP_DH_COMPRESSED_ZSTD,
            page_flags: 0,
        };
        let mut bytes = Vec::new();
        desc.encode(ByteOrder::Little, &mut bytes);
        #[rustfmt::skip]
        assert_eq!(bytes, [
            2, 1, 0, 0, 0, 0, 0, 0, 4, 3, 0, 0, 0x20, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0,
        ]);
        assert_eq!(
            PageDescriptor::decode(ByteOrder::Little, &bytes),
            Some(desc)
        );
    }
}

//! Page descriptors, one for each page in the dump: `struct page_desc`.
//!
//! Source: makedumpfile `IMPLEMENTATION` and `diskdump_mod.h`.
//!
//! Readers: crash, drgn, gdb and makedumpfile with libkdumpfile; see docs/readers.md.
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

/// A page descriptor. The dump has one for each bit that is set in the second bitmap, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PageDescriptor {
    /// File offset of the page's data; 0 if it is missing (incomplete dump).
    pub offset: u64,
    /// Length of the data in bytes.
    pub size: u32,
    /// The codec's flag; 0 for a page that is not compressed.
    pub flags: u32,
    /// Unused; 0.
    pub page_flags: u64,
}

impl PageDescriptor {
    /// The length of a descriptor in bytes, the same for every architecture.
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

    /// The descriptors that lie one after the other in `bytes`, up to the last whole one.
    pub fn iter(order: ByteOrder, bytes: &[u8]) -> impl ExactSizeIterator<Item = Self> + Clone {
        let (descriptors, _) = bytes.as_chunks::<{ Self::SIZE }>();
        descriptors.iter().map(move |bytes| {
            with_order!(order, O => {
                let raw: RawPageDescriptor<O> = zerocopy::transmute!(*bytes);
                Self::from_raw(&raw)
            })
        })
    }

    fn from_raw<O: Order>(d: &RawPageDescriptor<O>) -> Self {
        Self {
            offset: d.offset.get(),
            size: d.size.get(),
            flags: d.flags.get(),
            page_flags: d.page_flags.get(),
        }
    }

    /// Decodes the descriptor at the beginning of `bytes`; `None` if they are too few.
    #[must_use]
    pub fn decode(order: ByteOrder, bytes: &[u8]) -> Option<Self> {
        Some(with_order!(order, O => {
            let (d, _) = RawPageDescriptor::<O>::read_from_prefix(bytes).ok()?;
            Self::from_raw(&d)
        }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::abi::tests::orders;
    use crate::kdump::DUMP_DH_COMPRESSED_ZSTD;
    use proptest::prelude::*;

    #[test]
    fn encoded_descriptor_has_the_bytes_of_the_c_struct() {
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
    proptest! {
        #[test]
        fn decoding_what_was_encoded_gives_the_descriptors(
            fields in prop::collection::vec(any::<(u64, u32, u32, u64)>(), 0..9),
            cut in 0usize..PageDescriptor::SIZE,
            order in orders(),
        ) {
            let descriptors: Vec<_> = fields
                .iter()
                .map(|&(offset, size, flags, page_flags)| PageDescriptor {
                    offset,
                    size,
                    flags,
                    page_flags,
                })
                .collect();
            let mut bytes = Vec::new();
            for descriptor in &descriptors {
                let at = bytes.len();
                descriptor.encode(order, &mut bytes);
                prop_assert_eq!(bytes.len() - at, PageDescriptor::SIZE);
                prop_assert_eq!(PageDescriptor::decode(order, &bytes[at..]), Some(*descriptor));
            }
            // Bytes of half a descriptor at the end are ignored.
            bytes.resize(bytes.len() + cut, 0xff);
            let decoded: Vec<_> = PageDescriptor::iter(order, &bytes).collect();
            prop_assert_eq!(decoded, descriptors);
        }
    }
}

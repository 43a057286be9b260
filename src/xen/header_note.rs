//! The note with the numbers of vCPUs and pages, and the note with the format's version.
#![forbid(unsafe_code)]

use std::mem::size_of;

use zerocopy::byteorder::{ByteOrder as Order, LittleEndian, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::abi::{ByteOrder, with_order};
use crate::xen::XC_CORE_MAGIC;

/// `struct xen_dumpcore_elfnote_header_desc`.
#[derive(Clone, Copy, FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct HeaderDesc<O: Order> {
    xch_magic: U64<O>,
    xch_nr_vcpus: U64<O>,
    xch_nr_pages: U64<O>,
    xch_page_size: U64<O>,
}

const _: () = assert!(size_of::<HeaderDesc<LittleEndian>>() == 32);

/// The header note of a dump-core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DumpCoreHeader {
    /// `xch_magic`: [`XC_CORE_MAGIC`] or
    /// [`XC_CORE_MAGIC_HVM`](crate::xen::XC_CORE_MAGIC_HVM).
    pub magic: u64,
    /// `xch_nr_vcpus`: the number of vCPUs.
    pub nr_vcpus: u64,
    /// `xch_nr_pages`: the number of pages, invalid ones included.
    pub nr_pages: u64,
    /// `xch_page_size`: bytes of a page.
    pub page_size: u64,
}

impl DumpCoreHeader {
    /// Decodes the descriptor of the header note; `None` if it is too short.
    #[must_use]
    pub fn decode(order: ByteOrder, desc: &[u8]) -> Option<Self> {
        Some(with_order!(order, O => {
            let (h, _) = HeaderDesc::<O>::read_from_prefix(desc).ok()?;
            Self {
                magic: h.xch_magic.get(),
                nr_vcpus: h.xch_nr_vcpus.get(),
                nr_pages: h.xch_nr_pages.get(),
                page_size: h.xch_page_size.get(),
            }
        }))
    }

    /// Whether the guest is paravirtualized. Its page tables contain machine frame numbers.
    #[must_use]
    pub const fn is_paravirtualized(&self) -> bool {
        self.magic == XC_CORE_MAGIC
    }
}

/// Decodes the descriptor of the note with the format's version: the major and the minor number.
/// `None` if it is too short.
#[must_use]
pub fn format_version(order: ByteOrder, desc: &[u8]) -> Option<(u32, u32)> {
    let version = with_order!(order, O => U64::<O>::read_from_prefix(desc).ok()?.0.get());
    Some(((version >> 32) as u32, version as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_of_both_byte_orders() {
        let fields = [XC_CORE_MAGIC, 2, 3, 4096];
        let little: Vec<u8> = fields
            .iter()
            .flat_map(|field| field.to_le_bytes())
            .collect();
        let big: Vec<u8> = fields
            .iter()
            .flat_map(|field| field.to_be_bytes())
            .collect();
        let expected = DumpCoreHeader {
            magic: XC_CORE_MAGIC,
            nr_vcpus: 2,
            nr_pages: 3,
            page_size: 4096,
        };
        assert!(expected.is_paravirtualized());
        for (order, bytes) in [(ByteOrder::Little, little), (ByteOrder::Big, big)] {
            assert_eq!(DumpCoreHeader::decode(order, &bytes), Some(expected));
            assert_eq!(DumpCoreHeader::decode(order, &bytes[..31]), None);
        }
        let version = [1, 0, 0, 0, 2, 0, 0, 0];
        assert_eq!(format_version(ByteOrder::Little, &version), Some((2, 1)));
        assert_eq!(format_version(ByteOrder::Little, &version[1..]), None);
    }
}

//! Section headers.
#![forbid(unsafe_code)]

use std::mem::{offset_of, size_of};

use zerocopy::byteorder::{ByteOrder as Order, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::abi::{Class, Encoding, with_order};
use crate::elf::constants::Le;

/// `Elf32_Shdr`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(missing_docs)] // The names are those of elf(5).
pub struct Shdr32<O: Order> {
    pub sh_name: U32<O>,
    pub sh_type: U32<O>,
    pub sh_flags: U32<O>,
    pub sh_addr: U32<O>,

    pub sh_offset: U32<O>,
    pub sh_size: U32<O>,
    pub sh_link: U32<O>,
    /// In section header 0: the number of program headers, if `e_phnum` is
    /// [`PN_XNUM`](crate::elf::PN_XNUM).
    pub sh_info: U32<O>,

    pub sh_addralign: U32<O>,
    pub sh_entsize: U32<O>,
}

/// `Elf64_Shdr`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(missing_docs)] // The names are those of elf(5).
pub struct Shdr64<O: Order> {
    pub sh_name: U32<O>,
    pub sh_type: U32<O>,
    pub sh_flags: U64<O>,

    pub sh_addr: U64<O>,
    pub sh_offset: U64<O>,

    pub sh_size: U64<O>,
    pub sh_link: U32<O>,
    /// In section header 0: the number of program headers, if `e_phnum` is
    /// [`PN_XNUM`](crate::elf::PN_XNUM).
    pub sh_info: U32<O>,

    pub sh_addralign: U64<O>,
    pub sh_entsize: U64<O>,
}

const _: () = assert!(size_of::<Shdr32<Le>>() == 10 * 4);
const _: () = assert!(offset_of!(Shdr32<Le>, sh_flags) == 8);
const _: () = assert!(offset_of!(Shdr32<Le>, sh_offset) == 16);
const _: () = assert!(offset_of!(Shdr32<Le>, sh_size) == 20);
const _: () = assert!(offset_of!(Shdr32<Le>, sh_info) == 28);
const _: () = assert!(size_of::<Shdr64<Le>>() == 4 * 4 + 6 * 8);
const _: () = assert!(offset_of!(Shdr64<Le>, sh_flags) == 8);
const _: () = assert!(offset_of!(Shdr64<Le>, sh_offset) == 24);
const _: () = assert!(offset_of!(Shdr64<Le>, sh_size) == 32);
const _: () = assert!(offset_of!(Shdr64<Le>, sh_info) == 44);

/// What a section header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SectionHeader {
    /// `sh_name`: offset of the name in the section with the names.
    pub name: u32,
    /// `sh_type`.
    pub kind: u32,
    /// `sh_flags`.
    pub flags: u64,
    /// File offset of the contents.
    pub offset: u64,
    /// Bytes of the contents.
    pub size: u64,
    /// `sh_info`: in section header 0 the number of program headers, if
    /// `e_phnum` is [`PN_XNUM`](crate::elf::PN_XNUM).
    pub info: u32,
}

impl SectionHeader {
    /// Appends the header's bytes to `out`. Values that a 32-bit header
    /// cannot hold are the caller's mistake; they are cut.
    pub fn encode(&self, encoding: Encoding, out: &mut Vec<u8>) {
        with_order!(encoding.order, O => match encoding.class {
            Class::Bits32 => out.extend_from_slice(Shdr32::<O> {
                sh_name: self.name.into(),
                sh_type: self.kind.into(),
                sh_flags: (self.flags as u32).into(),
                sh_offset: (self.offset as u32).into(),
                sh_size: (self.size as u32).into(),
                sh_info: self.info.into(),
                ..Shdr32::new_zeroed()
            }.as_bytes()),
            Class::Bits64 => out.extend_from_slice(Shdr64::<O> {
                sh_name: self.name.into(),
                sh_type: self.kind.into(),
                sh_flags: self.flags.into(),
                sh_offset: self.offset.into(),
                sh_size: self.size.into(),
                sh_info: self.info.into(),
                ..Shdr64::new_zeroed()
            }.as_bytes()),
        });
    }

    /// Decodes the header at the beginning of `bytes`; `None` if they are
    /// too few.
    #[must_use]
    pub fn decode(encoding: Encoding, bytes: &[u8]) -> Option<Self> {
        Some(with_order!(encoding.order, O => match encoding.class {
            Class::Bits32 => {
                let (h, _) = Shdr32::<O>::read_from_prefix(bytes).ok()?;
                Self {
                    name: h.sh_name.get(),
                    kind: h.sh_type.get(),
                    flags: h.sh_flags.get().into(),
                    offset: h.sh_offset.get().into(),
                    size: h.sh_size.get().into(),
                    info: h.sh_info.get(),
                }
            }
            Class::Bits64 => {
                let (h, _) = Shdr64::<O>::read_from_prefix(bytes).ok()?;
                Self {
                    name: h.sh_name.get(),
                    kind: h.sh_type.get(),
                    flags: h.sh_flags.get(),
                    offset: h.sh_offset.get(),
                    size: h.sh_size.get(),
                    info: h.sh_info.get(),
                }
            }
        }))
    }
}

/// Appends section header 0, which holds the number of program headers when
/// `e_phnum` is [`PN_XNUM`](crate::elf::PN_XNUM), and nothing else.
pub fn encode_section_zero(encoding: Encoding, phnum: u32, out: &mut Vec<u8>) {
    SectionHeader {
        info: phnum,
        ..SectionHeader::default()
    }
    .encode(encoding, out);
}

/// The number of program headers in section header 0; `None` if `bytes` are
/// too few.
#[must_use]
pub fn decode_section_zero(encoding: Encoding, bytes: &[u8]) -> Option<u32> {
    SectionHeader::decode(encoding, bytes).map(|header| header.info)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::abi::ByteOrder;
    use crate::elf::SHT_PROGBITS;
    use crate::elf::constants::tests::{BE32, LE64};

    #[test]
    fn section_zero_bytes() {
        for (encoding, size, at) in [(LE64, 64, 44), (BE32, 40, 28)] {
            let mut bytes = Vec::new();
            encode_section_zero(encoding, 0x0001_0203, &mut bytes);
            assert_eq!(bytes.len(), size);
            let mut info = [0, 1, 2, 3];
            if encoding.order == ByteOrder::Little {
                info.reverse();
            }
            assert_eq!(bytes[at..at + 4], info);
            assert_eq!(bytes.iter().filter(|b| **b != 0).count(), 3);
            assert_eq!(decode_section_zero(encoding, &bytes), Some(0x0001_0203));
        }
    }

    #[test]
    fn section_header_bytes() {
        let header = SectionHeader {
            name: 0x11,
            kind: SHT_PROGBITS,
            flags: 0x77,
            offset: 0x2233,
            size: 0x4455,
            info: 0x66,
        };
        let mut bytes = Vec::new();
        header.encode(LE64, &mut bytes);
        let mut expected = [0; 64];
        (expected[0], expected[4], expected[44]) = (0x11, 1, 0x66);
        expected[8] = 0x77;
        expected[24..26].copy_from_slice(&[0x33, 0x22]);
        expected[32..34].copy_from_slice(&[0x55, 0x44]);
        assert_eq!(bytes, expected);
        assert_eq!(SectionHeader::decode(LE64, &bytes), Some(header));
        bytes.clear();
        header.encode(BE32, &mut bytes);
        let mut expected = [0; 40];
        (expected[3], expected[7], expected[31]) = (0x11, 1, 0x66);
        expected[11] = 0x77;
        expected[18..20].copy_from_slice(&[0x22, 0x33]);
        expected[22..24].copy_from_slice(&[0x44, 0x55]);
        assert_eq!(bytes, expected);
        assert_eq!(SectionHeader::decode(BE32, &bytes), Some(header));
        assert_eq!(SectionHeader::decode(BE32, &bytes[..39]), None);
    }
}

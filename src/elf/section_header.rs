//! Section headers: `Elf32_Shdr` and `Elf64_Shdr`.
//!
//! Source: elf(5) and the System V ABI, chapter 4.
//!
//! Readers: crash, gdb, makedumpfile, readelf; see docs/readers.md.
#![forbid(unsafe_code)]

use std::mem::{offset_of, size_of};

use zerocopy::byteorder::{ByteOrder as Order, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::abi::{Class, Encoding, FieldOverflow, Narrow, with_order};
use crate::elf::constants::Le;

/// `Elf32_Shdr`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Shdr32<O: Order> {
    sh_name: U32<O>,
    sh_type: U32<O>,
    sh_flags: U32<O>,
    sh_addr: U32<O>,
    sh_offset: U32<O>,
    sh_size: U32<O>,
    sh_link: U32<O>,
    sh_info: U32<O>,
    sh_addralign: U32<O>,
    sh_entsize: U32<O>,
}

/// `Elf64_Shdr`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Shdr64<O: Order> {
    sh_name: U32<O>,
    sh_type: U32<O>,
    sh_flags: U64<O>,
    sh_addr: U64<O>,
    sh_offset: U64<O>,
    sh_size: U64<O>,
    sh_link: U32<O>,
    sh_info: U32<O>,
    sh_addralign: U64<O>,
    sh_entsize: U64<O>,
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

/// A section header. The fields that core files do not use are 0: address, link, alignment and size of
/// entries.
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
    /// Section header 0 of a file with `phnum` program headers, where `e_phnum` is
    /// [`PN_XNUM`](crate::elf::PN_XNUM); 0 where it is not.
    #[must_use]
    pub fn zero(phnum: u32) -> Self {
        Self {
            info: phnum,
            ..Self::default()
        }
    }

    /// The length of a header in bytes.
    #[must_use]
    pub const fn size(class: Class) -> usize {
        match class {
            Class::Bits32 => size_of::<Shdr32<Le>>(),
            Class::Bits64 => size_of::<Shdr64<Le>>(),
        }
    }

    /// Appends the header's bytes to `out`.
    ///
    /// # Errors
    ///
    /// [`FieldOverflow`] if flags, offset or size do not fit into a 32-bit header.
    pub fn encode(&self, encoding: Encoding, out: &mut Vec<u8>) -> Result<(), FieldOverflow> {
        let narrow = Narrow("Elf32_Shdr");
        with_order!(encoding.order, O => match encoding.class {
            Class::Bits32 => out.extend_from_slice(Shdr32::<O> {
                sh_name: self.name.into(),
                sh_type: self.kind.into(),
                sh_flags: narrow.u32("sh_flags", self.flags)?.into(),
                sh_offset: narrow.u32("sh_offset", self.offset)?.into(),
                sh_size: narrow.u32("sh_size", self.size)?.into(),
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
        Ok(())
    }

    /// Decodes the header at the beginning of `bytes`; `None` if they are too few.
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::abi::ByteOrder;
    use crate::abi::tests::encodings;
    use crate::elf::SHT_PROGBITS;
    use crate::elf::constants::tests::{BE32, LE64};
    use proptest::prelude::*;

    #[test]
    fn section_zero_has_the_number_of_program_headers_alone() {
        for (encoding, size, at) in [(LE64, 64, 44), (BE32, 40, 28)] {
            let mut bytes = Vec::new();
            let header = SectionHeader::zero(0x0001_0203);
            header.encode(encoding, &mut bytes).unwrap();
            assert_eq!(bytes.len(), size);
            let mut info = [0, 1, 2, 3];
            if encoding.order == ByteOrder::Little {
                info.reverse();
            }
            assert_eq!(bytes[at..at + 4], info);
            assert_eq!(bytes.iter().filter(|b| **b != 0).count(), 3);
            assert_eq!(SectionHeader::decode(encoding, &bytes), Some(header));
        }
    }

    #[test]
    fn encoded_header_has_the_bytes_of_the_c_struct() {
        let header = SectionHeader {
            name: 0x11,
            kind: SHT_PROGBITS,
            flags: 0x77,
            offset: 0x2233,
            size: 0x4455,
            info: 0x66,
        };
        let mut bytes = Vec::new();
        header.encode(LE64, &mut bytes).unwrap();
        let mut expected = [0; 64];
        (expected[0], expected[4], expected[44]) = (0x11, 1, 0x66);
        expected[8] = 0x77;
        expected[24..26].copy_from_slice(&[0x33, 0x22]);
        expected[32..34].copy_from_slice(&[0x55, 0x44]);
        assert_eq!(bytes, expected);
        assert_eq!(SectionHeader::decode(LE64, &bytes), Some(header));
        bytes.clear();
        header.encode(BE32, &mut bytes).unwrap();
        let mut expected = [0; 40];
        (expected[3], expected[7], expected[31]) = (0x11, 1, 0x66);
        expected[11] = 0x77;
        expected[18..20].copy_from_slice(&[0x22, 0x33]);
        expected[22..24].copy_from_slice(&[0x44, 0x55]);
        assert_eq!(bytes, expected);
        assert_eq!(SectionHeader::decode(BE32, &bytes), Some(header));
        assert_eq!(SectionHeader::decode(BE32, &bytes[..39]), None);
    }

    #[test]
    fn value_past_32_bits_is_refused_by_a_32_bit_header() {
        let zero = SectionHeader::default();
        let high = 1 << 32;
        let headers = [
            (
                "sh_flags",
                SectionHeader {
                    flags: high,
                    ..zero
                },
            ),
            (
                "sh_offset",
                SectionHeader {
                    offset: high,
                    ..zero
                },
            ),
            ("sh_size", SectionHeader { size: high, ..zero }),
        ];
        for (field, header) in headers {
            let mut bytes = Vec::new();
            let error = header.encode(BE32, &mut bytes).unwrap_err();
            assert_eq!((error.field, error.value), (field, high));
            assert!(bytes.is_empty());
            header.encode(LE64, &mut bytes).unwrap();
            assert_eq!(SectionHeader::decode(LE64, &bytes), Some(header));
        }
    }

    proptest! {
        #[test]
        fn decoding_what_was_encoded_gives_the_header(
            encoding in encodings(),
            words in any::<[u32; 6]>(),
        ) {
            let header = SectionHeader {
                name: words[0],
                kind: words[1],
                flags: words[2].into(),
                offset: words[3].into(),
                size: words[4].into(),
                info: words[5],
            };
            let mut bytes = Vec::new();
            header.encode(encoding, &mut bytes).unwrap();
            prop_assert_eq!(bytes.len(), SectionHeader::size(encoding.class));
            prop_assert_eq!(SectionHeader::decode(encoding, &bytes), Some(header));
        }
    }
}

//! The program headers of an ELF file in memory.
//!
//! Source: elf(5), `e_phoff`, `e_phentsize` and `PN_XNUM`. `e_ehsize` is ignored, because it is wrong in
//! QEMU's dumps.
#![forbid(unsafe_code)]

use crate::elf::{FileHeader, ProgramHeader, SectionHeader};

/// Why bytes have no program headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ElfError {
    /// The bytes do not begin with an ELF header.
    #[error("there is no ELF header")]
    NotElf,
    /// `e_phnum` is [`PN_XNUM`](crate::elf::PN_XNUM), but section header 0 is missing.
    #[error("e_phnum is PN_XNUM, but there is no section header 0")]
    NoSectionZero,
    /// `e_phentsize` is less than the length of a program header.
    #[error("e_phentsize is {0}, less than a program header")]
    EntrySize(u16),
    /// The bytes end before the program headers do.
    #[error("the {count} program headers at offset {offset} reach past the end")]
    CutShort {
        /// File offset of the first program header.
        offset: u64,
        /// The number of program headers.
        count: u32,
    },
}

/// The program headers of the ELF file `bytes`, in the order in which they lie there.
///
/// Where `e_phnum` is [`PN_XNUM`](crate::elf::PN_XNUM), section header 0 has their number.
///
/// # Errors
///
/// Any [`ElfError`].
pub fn program_headers(
    bytes: &[u8],
) -> Result<impl ExactSizeIterator<Item = ProgramHeader> + Clone, ElfError> {
    let header = FileHeader::decode(bytes).ok_or(ElfError::NotElf)?;
    let encoding = header.encoding;
    let count = if header.has_extended_numbering() {
        section_zero(bytes, &header)
            .ok_or(ElfError::NoSectionZero)?
            .info
    } else {
        header.phnum.into()
    };
    let size = ProgramHeader::size(encoding.class);
    let entry = usize::from(header.phentsize);
    if count > 0 && entry < size {
        return Err(ElfError::EntrySize(header.phentsize));
    }
    let cut_short = ElfError::CutShort {
        offset: header.phoff,
        count,
    };
    let table = usize::try_from(header.phoff)
        .ok()
        .zip((count as usize).checked_mul(entry))
        .and_then(|(start, len)| bytes.get(start..)?.get(..len))
        .ok_or(cut_short)?;
    // `chunks_exact` takes no zero; a table without entries has no chunk.
    let entries = table.chunks_exact(entry.max(1));
    // An entry is no shorter than a header.
    let decode = move |bytes| ProgramHeader::decode(encoding, bytes).unwrap_or_default();
    Ok(entries.map(decode))
}

fn section_zero(bytes: &[u8], header: &FileHeader) -> Option<SectionHeader> {
    if header.shoff == 0 {
        return None;
    }
    let bytes = bytes.get(usize::try_from(header.shoff).ok()?..)?;
    SectionHeader::decode(header.encoding, bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::abi::Encoding;
    use crate::abi::tests::encodings;
    use crate::elf::constants::tests::LE64;
    use crate::elf::{ET_CORE, PN_XNUM, PT_LOAD};
    use proptest::prelude::*;

    /// A file with `count` program headers, `spacing` bytes after each, and section header 0.
    fn file(encoding: Encoding, count: u16, spacing: u16, extended: bool) -> Vec<u8> {
        let class = encoding.class;
        let shoff = FileHeader::size(class) as u64;
        let new = FileHeader::new(encoding, ET_CORE, 62);
        let header = FileHeader {
            shoff,
            shnum: 1,
            shentsize: SectionHeader::size(class) as u16,
            phoff: shoff + SectionHeader::size(class) as u64,
            phentsize: new.phentsize + spacing,
            phnum: if extended { PN_XNUM } else { count },
            ..new
        };
        let mut bytes = Vec::new();
        header.encode(&mut bytes).unwrap();
        let zero = SectionHeader::zero(count.into());
        zero.encode(encoding, &mut bytes).unwrap();
        for paddr in 0..count {
            ProgramHeader {
                kind: PT_LOAD,
                paddr: paddr.into(),
                ..ProgramHeader::default()
            }
            .encode(encoding, &mut bytes)
            .unwrap();
            bytes.resize(bytes.len() + usize::from(spacing), 0xcc);
        }
        bytes
    }

    proptest! {
        #[test]
        fn headers_are_found_by_either_count_and_any_spacing(
            encoding in encodings(),
            count in 0u16..5,
            spacing in 0u16..9,
            extended in any::<bool>(),
        ) {
            let bytes = file(encoding, count, spacing, extended);
            let headers = program_headers(&bytes).unwrap();
            prop_assert_eq!(headers.len(), usize::from(count));
            let addresses: Vec<_> = headers.map(|h| (h.kind, h.paddr)).collect();
            let expected: Vec<_> = (0..count.into()).map(|n| (PT_LOAD, n)).collect();
            prop_assert_eq!(addresses, expected);
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut file = b"\x7fELF\x02\x01\x01".to_vec();
            file.extend(bytes);
            let _ = program_headers(&file).map(Iterator::count);
        }
    }

    fn refused(bytes: &[u8]) -> ElfError {
        program_headers(bytes).err().unwrap()
    }

    #[test]
    fn damaged_files_are_refused() {
        let bytes = file(LE64, 3, 0, false);
        assert_eq!(refused(&bytes[1..]), ElfError::NotElf);
        assert_eq!(
            refused(&bytes[..bytes.len() - 1]),
            ElfError::CutShort {
                offset: 128,
                count: 3
            }
        );
        let mut narrow = bytes.clone();
        narrow[54] = 55;
        assert_eq!(refused(&narrow), ElfError::EntrySize(55));
        let mut extended = file(LE64, 3, 0, true);
        assert_eq!(refused(&extended[..100]), ElfError::NoSectionZero);
        extended[40] = 0;
        assert_eq!(refused(&extended), ElfError::NoSectionZero);
    }
}

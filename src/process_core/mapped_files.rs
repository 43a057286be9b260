//! The note `NT_FILE` of a process's core, which lists the mapped files.
//!
//! The note contains the number of mappings and the unit of file offsets. Start,
//! end and offset of each mapping follow, then the names, each with a NUL.
//! Numbers have the size of a `long`.
//!
//! Source: the comment above `fill_files_note` in Linux `fs/binfmt_elf.c`.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use zerocopy::FromBytes;
use zerocopy::byteorder::{U32, U64};

use crate::abi::{Class, Encoding, with_order};
use crate::elf::note::{CORE, Notes};

/// Type of the note, under the name `CORE`: "FILE" in ASCII.
const NT_FILE: u32 = 0x4649_4c45;

/// A file that the process had mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappedFile {
    /// Host-virtual address of the first byte.
    pub hva: u64,
    /// Length of the mapping in bytes.
    pub size: u64,
    /// Offset of the first byte in the file, in bytes.
    pub offset: u64,
    /// The file's name when the core was written. It ends in ` (deleted)` if the
    /// file was deleted before.
    pub path: PathBuf,
}

/// Returns the mapped files in ascending order of address. They serve as hints
/// only, so damaged entries are omitted.
pub(super) fn mapped_files(notes: &[u8], encoding: Encoding) -> Vec<MappedFile> {
    let mut files: Vec<MappedFile> = Notes::new(notes, encoding.order)
        .flatten()
        .filter(|(_, note)| note.is(CORE, NT_FILE))
        .flat_map(|(_, note)| decode(note.desc, encoding).unwrap_or_default())
        .collect();
    files.sort_by_key(|file| file.hva);
    files
}

fn decode(desc: &[u8], encoding: Encoding) -> Option<Vec<MappedFile>> {
    let mut rest = desc;
    let count = word(&mut rest, encoding)?;
    let unit = word(&mut rest, encoding)?;
    let entry = 3 * word_size(encoding.class);
    let table = usize::try_from(count).ok()?.checked_mul(entry)?;
    let (mut entries, names) = rest.split_at_checked(table)?;
    let mut files = Vec::new();
    for name in names.split(|byte| *byte == 0) {
        let Some(start) = word(&mut entries, encoding) else {
            break;
        };
        let end = word(&mut entries, encoding)?;
        let offset = word(&mut entries, encoding)?;
        if let (Some(size), Some(offset)) = (end.checked_sub(start), offset.checked_mul(unit)) {
            files.push(MappedFile {
                hva: start,
                size,
                offset,
                path: OsStr::from_bytes(name).into(),
            });
        }
    }
    Some(files)
}

const fn word_size(class: Class) -> usize {
    match class {
        Class::Bits32 => 4,
        Class::Bits64 => 8,
    }
}

/// Removes a `long` from the beginning of `bytes` and returns it.
fn word(bytes: &mut &[u8], encoding: Encoding) -> Option<u64> {
    let (head, rest) = bytes.split_at_checked(word_size(encoding.class))?;
    *bytes = rest;
    with_order!(encoding.order, O => match encoding.class {
        Class::Bits32 => Some(U32::<O>::read_from_bytes(head).ok()?.get().into()),
        Class::Bits64 => Some(U64::<O>::read_from_bytes(head).ok()?.get()),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::abi::ByteOrder;
    use crate::elf::note::Note;

    fn notes(desc: &[u8], order: ByteOrder) -> Vec<u8> {
        let mut bytes = Vec::new();
        Note {
            name: CORE,
            kind: NT_FILE,
            desc,
        }
        .encode(order, &mut bytes)
        .unwrap();
        bytes
    }

    #[test]
    fn decoded_note_bytes_give_the_mapped_files() {
        #[rustfmt::skip]
        let desc = [
            0, 0, 0, 2, 0, 0, 0x10, 0,
            0x40, 0, 0, 0, 0x40, 0, 0x20, 0, 0, 0, 0, 3,
            0x10, 0, 0, 0, 0x10, 0, 0x10, 0, 0, 0, 0, 0,
            b'/', b'r', b'a', b'm', 0, b'/', b'x', 0,
        ];
        let encoding = Encoding {
            class: Class::Bits32,
            order: ByteOrder::Big,
        };
        let file = |hva, size, offset, path: &str| MappedFile {
            hva,
            size,
            offset,
            path: path.into(),
        };
        assert_eq!(
            mapped_files(&notes(&desc, ByteOrder::Big), encoding),
            [
                file(0x1000_0000, 0x1000, 0, "/x"),
                file(0x4000_0000, 0x2000, 0x3000, "/ram"),
            ]
        );
    }

    #[test]
    fn counts_and_numbers_that_lie_are_left_out() {
        let encoding = Encoding {
            class: Class::Bits64,
            order: ByteOrder::Little,
        };
        for (words, left) in [
            (&[u64::MAX, 4096, 0, 1, 0][..], 0),
            (&[u64::MAX / 24 + 1, 4096, 0, 1, 0], 0),
            (&[2, 4096, 0x1000, 0x2000, 0], 0),
            (&[1, 4096, 0x2000, 0x1000, 0], 0),
            (&[1, 4096, 0x1000, 0x2000, u64::MAX], 0),
            (&[1, 4096, 0x1000, 0x2000, 1], 1),
            (&[1], 0),
            (&[], 0),
        ] {
            let mut desc: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
            desc.extend(b"/x\0");
            let found = mapped_files(&notes(&desc, ByteOrder::Little), encoding);
            assert_eq!(found.len(), left, "{words:x?}");
        }
    }
}

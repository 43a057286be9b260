//! ELF notes: `Elf32_Nhdr`, which `Elf64_Nhdr` equals, then name and descriptor, each padded to four
//! bytes.
//!
//! Source: elf(5), "Notes (Nhdr)". Core files align notes to four bytes in both classes, as Linux and
//! QEMU write them.
//!
//! Readers: crash, drgn, gdb, makedumpfile, readelf, and all that read kdump; see docs/readers.md.
#![forbid(unsafe_code)]

use std::mem::{offset_of, size_of};

use zerocopy::byteorder::{ByteOrder as Order, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::abi::{ByteOrder, FieldOverflow, Narrow, with_order};
use crate::elf::constants::Le;

/// `Elf32_Nhdr`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Nhdr<O: Order> {
    n_namesz: U32<O>,
    n_descsz: U32<O>,
    n_type: U32<O>,
}

const _: () = assert!(offset_of!(Nhdr<Le>, n_descsz) == 4);
const _: () = assert!(offset_of!(Nhdr<Le>, n_type) == 8);
const _: () = assert!(size_of::<Nhdr<Le>>() == HEADER_SIZE);

/// The length of a note's header in bytes.
const HEADER_SIZE: usize = 12;

/// `NT_PRSTATUS`, under the name `CORE`: registers of one CPU.
pub const NT_PRSTATUS: u32 = 1;
/// `NT_PRFPREG`, under the name `CORE`: floating-point registers of one CPU.
pub const NT_PRFPREG: u32 = 2;
/// `NT_AUXV`, under the name `CORE`: the auxiliary vector of a process.
pub const NT_AUXV: u32 = 6;
/// `NT_FILE`, under the name `CORE`: the files that a process has mapped.
pub const NT_FILE: u32 = 0x4649_4c45;
/// The name of notes with registers that only Linux has numbers for.
pub const LINUX: &[u8] = b"LINUX";
/// The name of Linux's own notes on a core.
pub const CORE: &[u8] = b"CORE";
/// The name of QEMU's CPU state notes.
pub const QEMU: &[u8] = b"QEMU";
/// The name of the note with VMCOREINFO, whose type is 0.
pub const VMCOREINFO: &[u8] = b"VMCOREINFO";

/// The name of makedumpfile's note with what it erased, whose type is 0. kdump has the same text at
/// the sub header's `offset_eraseinfo`. Source: makedumpfile `makedumpfile.c`, `write_elf_eraseinfo`.
pub const ERASEINFO: &[u8] = b"ERASEINFO";
/// The name of this crate's note, of type [`NT_GUESTDUMP`]: facts of a kdump's header that ELF has no
/// place for, in lines `KEY=VALUE`.
pub const GUESTDUMP: &[u8] = b"GUESTDUMP";
/// The type of the note [`GUESTDUMP`].
pub const NT_GUESTDUMP: u32 = 1;

/// One note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note<'a> {
    /// The name without its NUL.
    pub name: &'a [u8],
    /// The type, whose meaning depends on the name.
    pub kind: u32,
    /// The descriptor.
    pub desc: &'a [u8],
}

impl Note<'_> {
    /// The length of the note in bytes, with its padding.
    #[must_use]
    pub const fn size(&self) -> usize {
        HEADER_SIZE
            + (self.name.len() + 1).next_multiple_of(4)
            + self.desc.len().next_multiple_of(4)
    }

    /// Appends the note's bytes to `out`, with its padding.
    ///
    /// # Errors
    ///
    /// [`FieldOverflow`] if the name or the descriptor has 4 GiB or more.
    pub fn encode(&self, order: ByteOrder, out: &mut Vec<u8>) -> Result<(), FieldOverflow> {
        let narrow = Narrow("Elf_Nhdr");
        let name_len = narrow.u32("n_namesz", self.name.len() as u64 + 1)?;
        let desc_len = narrow.u32("n_descsz", self.desc.len() as u64)?;
        with_order!(order, O => out.extend_from_slice(Nhdr::<O> {
            n_namesz: name_len.into(),
            n_descsz: desc_len.into(),
            n_type: self.kind.into(),
        }.as_bytes()));
        out.extend_from_slice(self.name);
        // The name's NUL and its padding.
        pad(out, self.name.len() + 1, 1);
        out.extend_from_slice(self.desc);
        pad(out, self.desc.len(), 0);
        Ok(())
    }

    /// Whether this is a note of that name and type.
    #[must_use]
    pub fn is(&self, name: &[u8], kind: u32) -> bool {
        self.name == name && self.kind == kind
    }
}

/// Appends `more` zeroes, and those that pad `len` bytes to a multiple of four.
fn pad(out: &mut Vec<u8>, len: usize, more: usize) {
    out.resize(out.len() + more + len.next_multiple_of(4) - len, 0);
}

/// A note reaches past the end of its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the note at offset {offset} of the note segment reaches past the segment's end")]
pub struct NoteError {
    /// Offset of the note's header in the segment, in bytes.
    pub offset: usize,
}

/// The notes of a note segment, each with the offset of its descriptor. The iterator ends after the
/// first error, and at zeroes that fill the segment.
///
/// Source of the filling: Linux `fs/proc/vmcore.c`, `update_note_header_size_elf64`, ends at a name
/// of no bytes.
#[derive(Debug, Clone)]
pub struct Notes<'a> {
    segment: &'a [u8],
    order: ByteOrder,
    offset: usize,
    /// The offset from which the segment has zeroes alone.
    end: usize,
    /// The alignment of names and descriptors in bytes.
    align: usize,
}

impl<'a> Notes<'a> {
    /// The notes in `segment`.
    #[must_use]
    pub fn new(segment: &'a [u8], order: ByteOrder) -> Self {
        let used = segment.iter().rposition(|byte| *byte != 0);
        Self {
            segment,
            order,
            offset: 0,
            end: used.map_or(0, |last| last + 1),
            align: 4,
        }
    }

    /// Returns notes that are padded to eight bytes with padding to four; `None` if they are not
    /// padded to eight, as far as their names tell.
    ///
    /// Source: readelf (binutils `include/elf/common.h`, `ELF_NOTE_DESC_OFFSET`) and drgn pad to
    /// eight where `p_align` is 8. Linux and QEMU pad to four whatever it is.
    pub(crate) fn repadded(segment: &'a [u8], order: ByteOrder) -> Option<Vec<u8>> {
        let by_four = Self::new(segment, order);
        let by_eight = Self {
            align: 8,
            ..by_four.clone()
        };
        if by_four.are_sound() || !by_eight.clone().are_sound() {
            return None;
        }
        let mut out = Vec::new();
        for (_, note) in by_eight.flatten() {
            note.encode(order, &mut out).ok()?;
        }
        Some(out)
    }

    /// Returns the length of the notes in bytes, without the zeroes that fill the segment.
    pub(crate) fn used(mut self) -> usize {
        while self.next().is_some() {}
        self.offset
    }

    /// Whether the notes add up and have names that people read.
    fn are_sound(mut self) -> bool {
        self.all(|note| {
            note.is_ok_and(|(_, note)| {
                !note.name.is_empty() && note.name.iter().all(u8::is_ascii_graphic)
            })
        })
    }

    /// How many CPUs the notes describe: those named `CORE` of type
    /// [`NT_PRSTATUS`].
    #[must_use]
    pub fn cpus(self) -> usize {
        self.flatten()
            .filter(|(_, note)| note.is(CORE, NT_PRSTATUS))
            .count()
    }

    fn parse(&self) -> Option<(usize, Note<'a>, usize)> {
        let rest = self.segment.get(self.offset..)?;
        let (name_len, desc_len, kind) = with_order!(self.order, O => {
            let (h, _) = Nhdr::<O>::read_from_prefix(rest).ok()?;
            (h.n_namesz.get() as usize, h.n_descsz.get() as usize, h.n_type.get())
        });
        let name_at = self.offset + HEADER_SIZE;
        let name_end = name_at.checked_add(name_len)?;
        let desc_at = name_end.checked_next_multiple_of(self.align)?;
        let end = desc_at.checked_add(desc_len)?;
        let name = self.segment.get(name_at..name_end)?;
        let desc = self.segment.get(desc_at..end)?;
        let name = name.strip_suffix(&[0]).unwrap_or(name);
        // The last note may lack its padding.
        let next = end.checked_next_multiple_of(self.align)?;
        let next = next.min(self.segment.len());
        Some((desc_at, Note { name, kind, desc }, next))
    }
}

impl<'a> Iterator for Notes<'a> {
    type Item = Result<(usize, Note<'a>), NoteError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.offset >= self.end {
            return None;
        }
        let Some((desc_at, note, next)) = self.parse() else {
            let offset = self.offset;
            self.offset = self.segment.len();
            return Some(Err(NoteError { offset }));
        };
        self.offset = next;
        Some(Ok((desc_at, note)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::abi::tests::orders;
    use proptest::prelude::*;

    #[test]
    fn encoded_note_pads_name_and_descriptor_to_four_bytes() {
        let note = Note {
            name: CORE,
            kind: 0x0102_0304,
            desc: b"abcde",
        };
        let mut bytes = Vec::new();
        note.encode(ByteOrder::Big, &mut bytes).unwrap();
        #[rustfmt::skip]
        assert_eq!(bytes, [
            0, 0, 0, 5, 0, 0, 0, 5, 1, 2, 3, 4,
            b'C', b'O', b'R', b'E', 0, 0, 0, 0,
            b'a', b'b', b'c', b'd', b'e', 0, 0, 0,
        ]);
        let mut both = bytes.clone();
        both.extend_from_slice(&bytes[..bytes.len() - 3]);
        let notes: Vec<_> = Notes::new(&both, ByteOrder::Big)
            .map(Result::unwrap)
            .collect();
        assert_eq!(notes, [(20, note), (48, note)]);
    }

    #[test]
    fn length_past_the_segment_is_an_error_and_ends_the_notes() {
        for (name_len, desc_len) in [(0x100u32, 0), (0, 0x100), (u32::MAX, 1), (1, u32::MAX)] {
            let mut bytes = Vec::new();
            for word in [name_len, desc_len, 0] {
                bytes.extend_from_slice(&word.to_le_bytes());
            }
            bytes.extend_from_slice(&[0; 16]);
            let mut notes = Notes::new(&bytes, ByteOrder::Little);
            assert_eq!(notes.next(), Some(Err(NoteError { offset: 0 })));
            assert_eq!(notes.next(), None);
        }
        let mut cut = Notes::new(&[1; 11], ByteOrder::Little);
        assert!(matches!(cut.next(), Some(Err(_))));
    }

    #[test]
    fn zeroes_behind_the_notes_are_no_notes() {
        let note = Note {
            name: CORE,
            kind: 1,
            desc: b"abcd",
        };
        let mut bytes = Vec::new();
        note.encode(ByteOrder::Little, &mut bytes).unwrap();
        for more in [0, 1, 11, 12, 24, 4096] {
            let mut padded = bytes.clone();
            padded.resize(bytes.len() + more, 0);
            let notes: Vec<_> = Notes::new(&padded, ByteOrder::Little).collect();
            assert_eq!(notes, [Ok((20, note))], "{more} zeroes");
        }
        assert_eq!(Notes::new(&[0; 11], ByteOrder::Little).next(), None);
    }

    proptest! {
        #[test]
        fn decoding_what_was_encoded_gives_the_notes(
            notes in prop::collection::vec(
                // Names end at their NUL.
                ("[a-z]{0,9}", any::<u32>(), prop::collection::vec(any::<u8>(), 0..20)),
                0..5,
            ),
            order in orders(),
        ) {
            let notes: Vec<_> = notes
                .iter()
                .map(|(name, kind, desc)| Note {
                    name: name.as_bytes(),
                    kind: *kind,
                    desc,
                })
                .collect();
            let mut bytes = Vec::new();
            for note in &notes {
                let at = bytes.len();
                note.encode(order, &mut bytes).unwrap();
                prop_assert_eq!(bytes.len() - at, note.size());
            }
            let decoded: Vec<_> = Notes::new(&bytes, order)
                .map(|note| note.unwrap().1)
                .collect();
            prop_assert_eq!(decoded, notes);
        }
    }
}

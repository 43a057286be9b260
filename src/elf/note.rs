//! ELF notes: name, type and descriptor, each padded to four bytes.
//!
//! Source: elf(5), "Notes (Nhdr)". Core files align notes to four bytes in
//! both classes, as Linux and QEMU write them.
#![forbid(unsafe_code)]

use zerocopy::{FromBytes, IntoBytes};

use crate::abi::{ByteOrder, with_order};
use crate::elf::Nhdr;

/// `NT_PRSTATUS`, under the name `CORE`: registers of one CPU.
pub const NT_PRSTATUS: u32 = 1;
/// `NT_PRFPREG`, under the name `CORE`: floating-point registers of one CPU.
pub const NT_PRFPREG: u32 = 2;
/// The name of notes with registers that only Linux has numbers for.
pub const LINUX: &[u8] = b"LINUX";
/// The name of Linux's own notes on a core.
pub const CORE: &[u8] = b"CORE";
/// The name of QEMU's CPU state notes.
pub const QEMU: &[u8] = b"QEMU";
/// The name of the note with VMCOREINFO, whose type is 0.
pub const VMCOREINFO: &[u8] = b"VMCOREINFO";

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
    /// Appends the note's bytes to `out`, padding included.
    pub fn encode(&self, order: ByteOrder, out: &mut Vec<u8>) {
        with_order!(order, O => out.extend_from_slice(Nhdr::<O> {
            n_namesz: (self.name.len() as u32 + 1).into(),
            n_descsz: (self.desc.len() as u32).into(),
            n_type: self.kind.into(),
        }.as_bytes()));
        out.extend_from_slice(self.name);
        out.push(0);
        pad(out);
        out.extend_from_slice(self.desc);
        pad(out);
    }

    /// Whether this is a note of that name and type.
    #[must_use]
    pub fn is(&self, name: &[u8], kind: u32) -> bool {
        self.name == name && self.kind == kind
    }
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

/// A note segment that does not add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the note at offset {offset} of the note segment reaches past the segment's end")]
pub struct NoteError {
    /// Offset of the note's header in the segment, in bytes.
    pub offset: usize,
}

/// The notes of a note segment, each with the offset of its descriptor. Ends
/// after the first error.
#[derive(Debug, Clone)]
pub struct Notes<'a> {
    segment: &'a [u8],
    order: ByteOrder,
    offset: usize,
}

impl<'a> Notes<'a> {
    /// The notes in `segment`.
    #[must_use]
    pub fn new(segment: &'a [u8], order: ByteOrder) -> Self {
        Self {
            segment,
            order,
            offset: 0,
        }
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
        let name_at = self.offset + 12;
        let desc_at = name_at.checked_add(name_len.checked_next_multiple_of(4)?)?;
        let end = desc_at.checked_add(desc_len)?;
        let name = self.segment.get(name_at..name_at.checked_add(name_len)?)?;
        let desc = self.segment.get(desc_at..end)?;
        let name = name.strip_suffix(&[0]).unwrap_or(name);
        // The last note may lack its padding.
        let next = end.checked_next_multiple_of(4)?.min(self.segment.len());
        Some((desc_at, Note { name, kind, desc }, next))
    }
}

impl<'a> Iterator for Notes<'a> {
    type Item = Result<(usize, Note<'a>), NoteError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.offset >= self.segment.len() {
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

    #[test]
    fn note_bytes() {
        let note = Note {
            name: CORE,
            kind: 0x0102_0304,
            desc: b"abcde",
        };
        let mut bytes = Vec::new();
        note.encode(ByteOrder::Big, &mut bytes);
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
    fn lengths_that_lie_end_the_iteration() {
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
        let mut cut = Notes::new(&[0; 11], ByteOrder::Little);
        assert!(matches!(cut.next(), Some(Err(_))));
    }
}

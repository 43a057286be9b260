//! `NT_PRSTATUS`: the fields around the registers, which all architectures
//! share, and registers as consecutive words.
//!
//! Source: `struct elf_prstatus` in Linux `include/linux/elfcore.h`. QEMU fills
//! its fields `pr_pid` and `pr_reg`, on LoongArch and Arm also `pr_fpvalid`.
//! All other fields are zero.
#![forbid(unsafe_code)]

use crate::abi::integers::Integer;
use crate::abi::{ByteOrder, Class, Encoding, FieldOverflow};
use crate::elf::note::{CORE, NT_PRSTATUS, Note, Notes};

/// Returns the offset of `pr_pid`. It follows `pr_info` (12 bytes), `pr_cursig`
/// (2, padded to 4), `pr_sigpend` and `pr_sighold` (one word each).
const fn pid_at(class: Class) -> usize {
    match class {
        Class::Bits32 => 24,
        Class::Bits64 => 32,
    }
}

/// Returns the offset of `pr_reg`. It follows four process ids (4 bytes each)
/// and four times (two words each).
const fn registers_at(class: Class) -> usize {
    match class {
        Class::Bits32 => pid_at(class) + 16 + 32,
        Class::Bits64 => pid_at(class) + 16 + 64,
    }
}

/// Returns the size in bytes of a descriptor with `registers` bytes of
/// `pr_reg`. `pr_fpvalid` follows `pr_reg`, padded to a whole word.
pub(super) const fn prstatus_size(class: Class, registers: usize) -> usize {
    let word = match class {
        Class::Bits32 => 4,
        Class::Bits64 => 8,
    };
    (registers_at(class) + registers + 4).next_multiple_of(word)
}

/// Appends the `NT_PRSTATUS` note of the CPU `index`. As in QEMU's notes,
/// `pr_pid` is the index plus one.
pub(super) fn encode_prstatus(
    encoding: Encoding,
    index: usize,
    registers: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), FieldOverflow> {
    encode_prstatus_fpvalid(encoding, index, registers, 0, out)
}

/// Appends the `NT_PRSTATUS` note of the CPU `index`, with a value for
/// `pr_fpvalid`.
pub(super) fn encode_prstatus_fpvalid(
    encoding: Encoding,
    index: usize,
    registers: &[u8],
    fpvalid: u32,
    out: &mut Vec<u8>,
) -> Result<(), FieldOverflow> {
    let Encoding { class, order } = encoding;
    let mut desc = vec![0; prstatus_size(class, registers.len())];
    desc[pid_at(class)..][..4].copy_from_slice(&words(order, &[index as u32 + 1]));
    let (head, tail) = desc[registers_at(class)..].split_at_mut(registers.len());
    head.copy_from_slice(registers);
    tail[..4].copy_from_slice(&words(order, &[fpvalid]));
    Note {
        name: CORE,
        kind: NT_PRSTATUS,
        desc: &desc,
    }
    .encode(order, out)
}

/// Returns `pr_pid` and the `registers` bytes of `pr_reg`, or `None` if `desc`
/// is too short.
pub(super) fn decode_prstatus(
    encoding: Encoding,
    desc: &[u8],
    registers: usize,
) -> Option<(u32, &[u8])> {
    let Encoding { class, order } = encoding;
    let mut pid = [0];
    read_words(order, desc.get(pid_at(class)..)?, &mut pid)?;
    let registers = desc.get(registers_at(class)..)?.get(..registers)?;
    Some((pid[0], registers))
}

/// The notes of a note segment, by CPU: the n-th note of a kind belongs to the
/// n-th CPU. This holds for both of QEMU's orders: all notes of a CPU together,
/// and all notes of a kind together.
pub(super) struct CpuNotes<'a> {
    notes: Vec<Note<'a>>,
}

impl<'a> CpuNotes<'a> {
    pub(super) fn new(notes: Notes<'a>) -> Self {
        Self {
            notes: notes.flatten().map(|(_, note)| note).collect(),
        }
    }

    /// Returns the descriptors of all notes of a kind, that of CPU 0 first.
    pub(super) fn all(&self, name: &[u8], kind: u32) -> impl Iterator<Item = &'a [u8]> {
        let of_kind = self.notes.iter().filter(move |note| note.is(name, kind));
        of_kind.map(|note| note.desc)
    }
}

/// Returns the bytes of `words`, one after the other.
pub(super) fn words<W: Integer>(order: ByteOrder, words: &[W]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(words.len() * W::SIZE);
    for word in words {
        order.append(*word, &mut bytes);
    }
    bytes
}

/// Fills `words` from the start of `bytes` and returns the bytes after them. It
/// returns `None` if there are too few bytes.
pub(super) fn read_words<'a, W: Integer>(
    order: ByteOrder,
    bytes: &'a [u8],
    words: &mut [W],
) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(words.len() * W::SIZE)?;
    for (word, bytes) in words.iter_mut().zip(head.chunks(W::SIZE)) {
        *word = order.read(bytes)?;
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sizes_are_those_that_qemu_writes() {
        // FIELD-NOTES of 2026-11-21, from QEMU 10.0.2.
        assert_eq!(prstatus_size(Class::Bits64, 27 * 8), 336); // x86_64
        assert_eq!(prstatus_size(Class::Bits32, 17 * 4), 144); // i386
        assert_eq!(prstatus_size(Class::Bits64, 34 * 8), 392); // arm64
        assert_eq!(prstatus_size(Class::Bits64, 216), 336); // s390x
        assert_eq!(prstatus_size(Class::Bits64, 48 * 8), 504); // ppc64
        assert_eq!(prstatus_size(Class::Bits64, 32 * 8), 376); // riscv64
    }

    #[test]
    fn both_classes_and_orders_come_back() {
        for class in [Class::Bits32, Class::Bits64] {
            for order in [ByteOrder::Little, ByteOrder::Big] {
                let encoding = Encoding { class, order };
                let registers = words(order, &[0x1122_3344u32, 0x5566_7788]);
                let mut bytes = Vec::new();
                encode_prstatus(encoding, 4, &registers, &mut bytes).unwrap();
                let notes = CpuNotes::new(Notes::new(&bytes, order));
                let desc = notes.all(CORE, NT_PRSTATUS).next().unwrap();
                assert_eq!(
                    decode_prstatus(encoding, desc, 8),
                    Some((5, &registers[..]))
                );
                assert_eq!(
                    decode_prstatus(encoding, &desc[..registers_at(class)], 8),
                    None
                );
                let mut back = [0u32; 2];
                read_words(order, &registers, &mut back).unwrap();
                assert_eq!(back, [0x1122_3344, 0x5566_7788]);
            }
        }
    }
}

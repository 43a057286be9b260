//! The note segment of a dump: CPUs, the caller's notes, VMCOREINFO.
#![forbid(unsafe_code)]

use std::ops::Range;

use crate::arch::{Machine, Registers, encode_cpu_notes};
use crate::elf::note::{CORE, NT_PRSTATUS, Note, Notes, VMCOREINFO};
use crate::vmcoreinfo::Vmcoreinfo;

/// The encoded notes of a dump.
#[derive(Debug, Clone, Default)]
pub(crate) struct NoteSegment {
    pub(crate) bytes: Vec<u8>,
    /// Where VMCOREINFO's text lies in `bytes`.
    pub(crate) vmcoreinfo: Option<Range<u64>>,
    /// How many CPUs the notes describe.
    pub(crate) cpus: usize,
}

impl NoteSegment {
    /// In QEMU's order: the CPUs' notes, then `more`, then VMCOREINFO.
    pub(crate) fn new(
        machine: Machine,
        cpus: &[Registers],
        more: &[u8],
        info: Option<&Vmcoreinfo>,
    ) -> Self {
        let order = machine.encoding().order;
        let mut bytes = Vec::new();
        encode_cpu_notes(machine, cpus, &mut bytes);
        bytes.extend_from_slice(more);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        let cpus = Notes::new(&bytes, order)
            .flatten()
            .filter(|(_, note)| note.is(CORE, NT_PRSTATUS))
            .count();
        let vmcoreinfo = info.map(|info| {
            let start = bytes.len();
            let note = Note {
                name: VMCOREINFO,
                kind: 0,
                desc: info.text(),
            };
            note.encode(order, &mut bytes);
            let padding = info.text().len().next_multiple_of(4) - info.text().len();
            let end = bytes.len() - padding;
            debug_assert!(start < end);
            (end - info.text().len()) as u64..end as u64
        });
        Self {
            bytes,
            vmcoreinfo,
            cpus,
        }
    }
}

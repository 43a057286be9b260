//! The note segment of a dump: CPUs, the caller's notes, VMCOREINFO.
#![forbid(unsafe_code)]

use std::ops::Range;

use crate::abi::FieldOverflow;
use crate::arch::ppc64::has_abi_in_flags;
use crate::arch::{CpuState, Machine, encode_cpu_notes};
use crate::elf::GuestdumpNote;
use crate::elf::note::{ERASEINFO, GUESTDUMP, NT_GUESTDUMP, Note, Notes, VMCOREINFO};
use crate::guest::GuestInfo;
use crate::memory::Coverage;
use crate::vmcoreinfo::Vmcoreinfo;

/// The most bytes of notes that a dump may have, whether it is written or read.
/// They suffice for a hundred thousand CPUs. The number is a multiple of 4.
pub(crate) const MAX_NOTES: u64 = 128 << 20;

/// The encoded notes of a dump.
#[derive(Debug, Clone, Default)]
pub(crate) struct NoteSegment {
    pub(crate) bytes: Vec<u8>,
    /// Place of VMCOREINFO's text in `bytes`.
    pub(crate) vmcoreinfo: Option<Range<u64>>,
    /// Number of CPUs that the notes describe.
    pub(crate) cpus: usize,
}

impl NoteSegment {
    /// Encodes the notes in QEMU's order: the CPUs' notes, then `more`, then
    /// VMCOREINFO.
    ///
    /// # Errors
    ///
    /// [`FieldOverflow`] for a note of 4 GiB or more.
    pub(crate) fn new(
        machine: Machine,
        cpus: &[CpuState],
        more: &[u8],
        info: Option<&Vmcoreinfo>,
    ) -> Result<Self, FieldOverflow> {
        let order = machine.encoding().order;
        let mut bytes = Vec::new();
        encode_cpu_notes(machine, cpus, &mut bytes)?;
        bytes.extend_from_slice(more);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        let cpus = Notes::new(&bytes, order).cpus();
        let mut vmcoreinfo = None;
        if let Some(info) = info {
            let text = info.text();
            let note = Note {
                name: VMCOREINFO,
                kind: 0,
                desc: text,
            };
            note.encode(order, &mut bytes)?;
            let text_at = bytes.len() - text.len().next_multiple_of(4);
            vmcoreinfo = Some(text_at as u64..(text_at + text.len()) as u64);
        }
        Ok(Self {
            bytes,
            vmcoreinfo,
            cpus,
        })
    }

    /// Adds notes with what an ELF dump has in no header and kdump has in its headers: what
    /// makedumpfile erased, CPUs that the notes do not tell, and marks of the source.
    ///
    /// # Errors
    ///
    /// [`FieldOverflow`] for a note of 4 GiB or more.
    pub(crate) fn add_kdump_facts(
        &mut self,
        guest: &GuestInfo,
        coverage: &Coverage,
    ) -> Result<(), FieldOverflow> {
        let order = guest.machine.encoding().order;
        if !guest.erase_info.is_empty() {
            let note = Note {
                name: ERASEINFO,
                kind: 0,
                desc: &guest.erase_info,
            };
            note.encode(order, &mut self.bytes)?;
        }
        let counted = (self.cpus.max(1) as u32, 0);
        let (nr_cpus, current_cpu) = guest.kdump_cpus.unwrap_or(counted);
        let facts = GuestdumpNote {
            nr_cpus,
            current_cpu,
            vmemmap_excluded: coverage.vmemmap_excluded,
            incomplete: !coverage.is_complete()
                && has_abi_in_flags(guest.machine.elf_machine(), order),
        };
        let (nr_cpus, current_cpu) = counted;
        let known = GuestdumpNote {
            nr_cpus,
            current_cpu,
            ..GuestdumpNote::default()
        };
        if facts != known {
            let text = facts.to_text();
            let note = Note {
                name: GUESTDUMP,
                kind: NT_GUESTDUMP,
                desc: text.as_bytes(),
            };
            note.encode(order, &mut self.bytes)?;
        }
        Ok(())
    }
}

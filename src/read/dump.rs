//! The interface between [`Vmcore`](crate::read::Vmcore) and each kind of dump.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;

use crate::abi::{Abi, Encoding, Utsname};
use crate::arch::{CpuState, Machine};
use crate::dump::{Format, FormatOptions};
use crate::elf::note::{Notes, VMCOREINFO};
use crate::elf::{FileHeader, ProgramHeader};
use crate::guest::GuestInfo;
use crate::kdump::{MainHeader, SubHeader};
use crate::memory::{Coverage, Lack, MIN_PAGE_SIZE, MemoryRange, not_ram};
use crate::read::stored::StoredMemory;
use crate::read::{CheckReport, Input, VmcoreError};
use crate::vmcoreinfo::Vmcoreinfo;
use crate::windmp::{BitmapHeader, Header};
use crate::workers::Progress;
use crate::xen::DumpCoreHeader;

/// The kind of a dump, with its decoded headers.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Headers<'a> {
    /// An ELF core.
    Elf {
        /// The ELF header.
        header: &'a FileHeader,
        /// All program headers.
        program_headers: &'a [ProgramHeader],
    },
    /// A kdump-compressed dump.
    Kdump {
        /// The guest's ABI, which decides the layout of the headers.
        abi: Abi,
        /// The main header.
        main: &'a MainHeader,
        /// The sub header; fields newer than the header's version are 0.
        sub: &'a SubHeader,
    },
    /// A Windows dump.
    WinDmp {
        /// The header.
        header: &'a Header,
        /// The header of a bitmap dump's bitmap.
        bitmap: Option<&'a BitmapHeader>,
    },
    /// A dump-core of Xen.
    Xen {
        /// The ELF header.
        header: &'a FileHeader,
        /// The header note.
        core: &'a DumpCoreHeader,
    },
}

/// A dump of one kind, with its headers decoded.
///
/// Each kind states in its own folder what its headers contain, how its memory
/// is read and checked, and what its headers mean for a dump that is written
/// from it.
pub(crate) trait Dump: fmt::Debug + Send + Sync {
    /// The decoded headers.
    fn headers(&self) -> Headers<'_>;

    /// Returns what the dump knows about guest memory that it does not contain.
    fn coverage(&self) -> &Coverage;

    /// Word size and byte order of headers and notes.
    fn encoding(&self) -> Encoding;

    /// The guest's architecture, if this crate knows it.
    fn machine(&self) -> Option<Machine>;

    /// The guest's page size in bytes, if the dump states it.
    fn page_size(&self) -> Option<u64>;

    /// The page size in bytes with which [`pages`](Self::pages) counts.
    fn counted_page_size(&self) -> u64 {
        self.page_size().unwrap_or(MIN_PAGE_SIZE)
    }

    /// The number of pages in the dump.
    fn pages(&self) -> u64;

    /// The notes as the dump contains them.
    fn note_bytes(&self) -> &[u8] {
        &[]
    }

    /// Offset in the dump of the first byte of the notes.
    fn note_offset(&self) -> u64 {
        0
    }

    /// The number of CPUs whose registers are in the dump.
    fn cpus(&self) -> usize {
        self.notes().cpus()
    }

    /// The registers of each CPU; empty if the dump has none, or its architecture is not known.
    fn registers(&self) -> Vec<CpuState> {
        self.registers_in_notes()
    }

    /// The registers in the notes that other dumps have too.
    fn registers_in_notes(&self) -> Vec<CpuState> {
        let machine = self.machine();
        machine.map_or_else(Vec::new, |machine| machine.decode_notes(self.notes()))
    }

    /// Returns the reason why registers that are in the dump are not known.
    fn unknown_registers(&self) -> Option<&str> {
        None
    }

    /// VMCOREINFO outside the notes.
    fn vmcoreinfo_bytes(&self) -> &[u8] {
        &[]
    }

    /// The guest's `uname`, if a header contains it.
    fn utsname(&self) -> Option<Utsname> {
        None
    }

    /// Fails if a format has no place for something without which the dump's memory is of no use.
    fn allows(&self, _: &Input, _: Format) -> Result<(), VmcoreError> {
        Ok(())
    }

    /// Adds to `guest`, and to the options of the `format` that is written, what
    /// only this kind of dump states.
    fn add_to(&self, input: &Input, guest: GuestInfo, format: &mut FormatOptions) -> GuestInfo;

    /// The memory of a dump that stores it without compression. Others have methods of their own in
    /// place of the next three.
    fn stored(&self) -> Option<&StoredMemory> {
        None
    }

    /// Guest memory in ascending order, without overlap.
    fn ranges(&self) -> Vec<MemoryRange> {
        let ranges = self.stored().map(StoredMemory::ranges);
        ranges.into_iter().flatten().collect()
    }

    /// Fills `buf` from the guest-physical address `gpa` on.
    fn read(&self, input: &Input, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        let stored = self.stored().ok_or_else(|| not_ram(gpa, buf.len()))?;
        stored.read(input, gpa, buf)
    }

    /// The first pages of `range` that may contain anything but zeroes.
    fn next_populated(&self, input: &Input, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
        match self.stored() {
            Some(stored) => stored.next_populated(input, range),
            None => Ok(Some(range)),
        }
    }

    /// Reads everything but the notes, and adds it to `report`.
    fn check(
        &self,
        input: &Input,
        report: &mut CheckReport,
        progress: &Progress,
    ) -> Result<(), VmcoreError>;

    /// The notes one by one.
    fn notes(&self) -> Notes<'_> {
        Notes::new(self.note_bytes(), self.encoding().order)
    }

    /// VMCOREINFO, from its note or from outside the notes.
    fn vmcoreinfo(&self) -> Option<Vmcoreinfo> {
        self.notes()
            .flatten()
            .find(|(_, note)| note.is(VMCOREINFO, 0))
            .and_then(|(_, note)| Vmcoreinfo::parse(note.desc).ok())
            .or_else(|| Vmcoreinfo::parse(self.vmcoreinfo_bytes()).ok())
    }
}

/// Tells notes that do not add up; `at` is their offset in the dump.
pub(crate) fn damaged_notes(mut notes: Notes<'_>, at: u64) -> Option<Lack> {
    let error = notes.find_map(Result::err)?;
    Some(Lack::DamagedNotes {
        offset: at + error.offset as u64,
    })
}

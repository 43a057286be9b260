//! A dump of any kind, open for reading as guest memory.
#![forbid(unsafe_code)]

use std::io;

use crate::abi::{Encoding, Utsname};
use crate::arch::{CpuState, Machine};
use crate::dump::{DumpOptions, Format, FormatOptions};
use crate::elf::GuestdumpNote;
use crate::elf::note::{ERASEINFO, GUESTDUMP, NT_GUESTDUMP, Note, Notes, VMCOREINFO};
use crate::guest::GuestInfo;
use crate::guest::vmcoreinfo::VmcoreinfoSource;
use crate::memory::{Coverage, GuestMemory, Lack, MemoryRange};
use crate::read::dump::{Dump, Headers};
use crate::read::elf::ElfDump;
use crate::read::kdump::{KdumpDump, SplitDump};
use crate::read::windmp::WinDmp;
use crate::read::xen::XenCore;
use crate::read::{CheckReport, FileKind, Input, ReadAt, VmcoreError};
use crate::vmcoreinfo::Vmcoreinfo;
use crate::workers::Progress;

/// A dump, open for reading.
///
/// As [`GuestMemory`] it contains the pages that are in the dump. An ELF dump
/// contains the whole pages of each PT_LOAD that have bytes in the file, at the
/// address `p_paddr`.
#[derive(Debug)]
pub struct Vmcore {
    pub(crate) input: Input,
    pub(crate) dump: Box<dyn Dump>,
}

impl Vmcore {
    /// Opens a dump and decodes its headers, notes and page bitmap. The dump
    /// may lie in a [`File`](std::fs::File), in memory or in any other
    /// [`ReadAt`].
    ///
    /// A dump that is cut short opens with the memory that there is, if its headers are whole.
    /// [`coverage`](GuestMemory::coverage) and [`check`](Self::check) report the loss.
    ///
    /// # Errors
    ///
    /// - [`VmcoreError::NotADump`] for any other file, with its kind if that is
    ///   known;
    /// - [`VmcoreError::Unsupported`] for dumps that this crate cannot read;
    /// - [`VmcoreError::ProcessCore`] for the core of a process;
    /// - [`VmcoreError::Conflict`] if the dump contains different bytes of the same memory;
    /// - [`VmcoreError::Truncated`], [`VmcoreError::Damaged`] if headers,
    ///   notes, bitmaps or a flattened file's records do not add up;
    /// - [`VmcoreError::Read`] if the input cannot be read.
    pub fn open(input: impl ReadAt + 'static) -> Result<Self, VmcoreError> {
        let input = Input::open(input.shared())?;
        // An ELF program has the magic of an ELF core.
        let mut head = [0; crate::elf::FileHeader::MAX_SIZE];
        let n = input.len().min(head.len() as u64) as usize;
        input.read_at(0, &mut head[..n])?;
        if let Some(kind @ FileKind::ElfProgram) = FileKind::recognise(&head[..n]) {
            return Err(VmcoreError::NotADump(Some(kind)));
        }
        match open_dump(&input)? {
            Some(dump) => Ok(Self { input, dump }),
            // What is left of a flattened dump is too short for headers.
            None => Err(match input.cut() {
                Some(Lack::CutShort { what, offset, end }) => {
                    VmcoreError::Truncated { what, offset, end }
                }
                _ => VmcoreError::NotADump(input.kind()?),
            }),
        }
    }

    /// Opens the parts of a kdump that makedumpfile split, in any order, as one dump. One part
    /// alone opens by [`open`](Self::open), and is incomplete.
    ///
    /// # Errors
    ///
    /// - [`VmcoreError::Parts`] if they are not parts of one dump;
    /// - any error of [`open`](Self::open).
    pub fn open_parts<R: ReadAt + 'static>(
        inputs: impl IntoIterator<Item = R>,
    ) -> Result<Self, VmcoreError> {
        let mut parts = Vec::new();
        for input in inputs {
            let input = Input::open(input.shared())?;
            let part = KdumpDump::open(&input)?
                .ok_or_else(|| VmcoreError::Parts("one of them is no kdump".into()))?;
            parts.push((input, part));
        }
        let input = parts.first().map(|(input, _)| input.clone());
        let dump = Box::new(SplitDump::new(parts)?);
        let input = input.ok_or(VmcoreError::NotADump(None))?;
        Ok(Self { input, dump })
    }

    /// The decoded headers, which also tell the kind of dump.
    #[must_use]
    pub fn headers(&self) -> Headers<'_> {
        self.dump.headers()
    }

    /// Whether the file is in makedumpfile's flattened format.
    #[must_use]
    pub fn is_flattened(&self) -> bool {
        self.input.is_flattened()
    }

    /// Length of the dump in bytes; of a flattened dump, of its raw form.
    #[must_use]
    pub fn raw_len(&self) -> u64 {
        self.input.len()
    }

    /// Whether the dump is all that its writer meant it to be, as far as its headers and its
    /// length tell. [`coverage`](GuestMemory::coverage) says what an incomplete one lacks.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.dump.coverage().is_complete()
    }

    /// Word size and byte order of headers and notes.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.dump.encoding()
    }

    /// The guest's architecture, if this crate knows it.
    ///
    /// An ELF dump states it in `e_machine` and by the size of its notes, a
    /// kdump in its utsname. A kdump of QEMU does not state it: the
    /// architecture is then the one with the header's encoding and the notes'
    /// sizes.
    #[must_use]
    pub fn machine(&self) -> Option<Machine> {
        self.dump.machine()
    }

    /// The guest's page size in bytes, if the dump states it: kdump's block
    /// size, or VMCOREINFO.
    #[must_use]
    pub fn page_size(&self) -> Option<u64> {
        self.dump.page_size()
    }

    /// Pages in the dump, of [`page_size`](Self::page_size); of 4096 bytes if
    /// the dump does not state it, or its memory does not consist of whole
    /// pages.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.dump.pages()
    }

    /// The notes as they are in the dump.
    #[must_use]
    pub fn note_bytes(&self) -> &[u8] {
        self.dump.note_bytes()
    }

    /// The notes one by one.
    #[must_use]
    pub fn notes(&self) -> Notes<'_> {
        self.dump.notes()
    }

    /// How many CPUs have an `NT_PRSTATUS` note, or in a core of VirtualBox or Xen registers that are
    /// known.
    #[must_use]
    pub fn cpus(&self) -> usize {
        self.dump.cpus()
    }

    /// The registers of each CPU in the notes. The list is empty if the dump has none, or this crate does
    /// not know the guest's architecture.
    #[must_use]
    pub fn registers(&self) -> Vec<CpuState> {
        self.dump.registers()
    }

    /// Why this crate does not know the registers that are in the dump: a version of VirtualBox may store
    /// them in another way.
    #[must_use]
    pub fn unknown_registers(&self) -> Option<&str> {
        self.dump.unknown_registers()
    }

    /// VMCOREINFO, from its note or kdump's sub header.
    #[must_use]
    pub fn vmcoreinfo(&self) -> Option<Vmcoreinfo> {
        self.dump.vmcoreinfo()
    }

    /// The guest's `uname` in kdump's header; `None` where sysname is not
    /// Linux or the release is empty, as in QEMU's.
    #[must_use]
    pub fn utsname(&self) -> Option<Utsname> {
        self.dump.utsname()
    }

    /// Options for writing this dump in `format`.
    ///
    /// They contain the dump's architecture, page size, notes and VMCOREINFO, and
    /// other facts in its headers. VMCOREINFO is searched for in memory if the
    /// dump contains none. For a Windows dump the registers in its header take
    /// the place of notes. From ELF to ELF the options also contain the
    /// sections.
    ///
    /// # Errors
    ///
    /// [`VmcoreError::Unsupported`] if this crate does not know the guest's
    /// architecture, or the guest's memory is encrypted and the format cannot
    /// contain what decrypts it.
    pub fn options(&self, format: Format) -> Result<DumpOptions, VmcoreError> {
        self.dump.allows(&self.input, format)?;
        let machine = self
            .machine()
            .ok_or_else(|| VmcoreError::Unsupported("its architecture is not known".into()))?;
        let mut guest = GuestInfo::new(machine)
            .raw_notes(self.other_notes()?)
            .vmcoreinfo(match self.vmcoreinfo() {
                Some(info) => VmcoreinfoSource::Dump(info.text().to_vec()),
                None => VmcoreinfoSource::Scan,
            });
        if let Some(uts) = self.utsname() {
            guest = guest.utsname(uts);
        }
        for (_, note) in self.notes().flatten() {
            if note.is(ERASEINFO, 0) {
                // makedumpfile reserves more bytes than it fills.
                let used = note.desc.iter().rposition(|byte| *byte != 0);
                guest = guest.erase_info(note.desc[..used.map_or(0, |last| last + 1)].to_vec());
            } else if note.is(GUESTDUMP, NT_GUESTDUMP)
                && let Some(facts) = GuestdumpNote::decode(note.desc)
            {
                guest = guest.kdump_cpus(facts.nr_cpus, facts.current_cpu);
            }
        }
        let mut format = FormatOptions::from(format);
        let guest = self.dump.add_to(&self.input, guest, &mut format);
        Ok(DumpOptions::new(guest, format))
    }

    /// Encodes the notes that a writer takes over as they are.
    fn other_notes(&self) -> Result<Vec<u8>, VmcoreError> {
        let order = self.encoding().order;
        let mut bytes = Vec::new();
        let is_written_anew = |note: &Note<'_>| {
            note.is(VMCOREINFO, 0) || note.is(ERASEINFO, 0) || note.is(GUESTDUMP, NT_GUESTDUMP)
        };
        for (_, note) in self.notes().flatten().filter(|(_, n)| !is_written_anew(n)) {
            let result = note.encode(order, &mut bytes);
            let damaged = |error| VmcoreError::damaged(self.dump.note_offset(), error);
            result.map_err(|error| damaged(error.to_string()))?;
        }
        Ok(bytes)
    }
}

/// Opens the input as the kind of dump that its first bytes state; `None` if
/// they state none.
fn open_dump(input: &Input) -> Result<Option<Box<dyn Dump>>, VmcoreError> {
    if let Some(xen) = XenCore::open(input)? {
        return Ok(Some(Box::new(xen)));
    }
    if let Some(elf) = ElfDump::open(input)? {
        return Ok(Some(Box::new(elf)));
    }
    if let Some(dmp) = WinDmp::open(input)? {
        return Ok(Some(Box::new(dmp)));
    }
    Ok(match KdumpDump::open(input)? {
        Some(kdump) => Some(Box::new(kdump)),
        None => None,
    })
}

impl Vmcore {
    /// Reads everything in the dump: each note, each byte of memory, each
    /// page descriptor; decompresses each page. `progress` counts bytes of
    /// guest memory.
    ///
    /// # Errors
    ///
    /// - The first error, with its offset;
    /// - [`VmcoreError::Incomplete`] if nothing else is wrong and the dump is incomplete;
    /// - [`VmcoreError::NoMemory`] if it contains no memory.
    pub fn check(&self, progress: &Progress) -> Result<CheckReport, VmcoreError> {
        let mut report = CheckReport {
            notes: self.check_notes()?,
            pages: self.pages(),
            ..CheckReport::default()
        };
        progress.start(self.pages() * self.dump.counted_page_size());
        self.dump.check(&self.input, &mut report, progress)?;
        let coverage = self.dump.coverage();
        report.excluded_pages = coverage.absent_bytes() / self.dump.counted_page_size();
        let lacks = &coverage.lacks;
        if !lacks.is_empty() {
            let lacks = lacks.clone();
            return Err(VmcoreError::Incomplete { lacks });
        }
        if report.pages == 0 {
            return Err(VmcoreError::NoMemory);
        }
        Ok(report)
    }

    /// Decodes all notes and returns their number.
    fn check_notes(&self) -> Result<u64, VmcoreError> {
        let mut count = 0;
        for note in self.notes() {
            note.map_err(|error| {
                let offset = self.dump.note_offset() + error.offset as u64;
                VmcoreError::damaged(offset, "a note reaches past the end of the notes")
            })?;
            count += 1;
        }
        Ok(count)
    }
}

impl GuestMemory for Vmcore {
    fn ranges(&self) -> Vec<MemoryRange> {
        self.dump.ranges()
    }

    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        self.dump.read(&self.input, gpa, buf)
    }

    fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
        self.dump.next_populated(&self.input, range)
    }

    fn coverage(&self) -> Coverage {
        self.dump.coverage().clone()
    }
}

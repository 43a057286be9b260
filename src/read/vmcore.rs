//! Any dump, open for reading as guest memory.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::time::Duration;

use crate::abi::{Abi, Encoding, Utsname};
use crate::arch::Machine;
use crate::dump::{DumpOptions, Format, FormatOptions};
use crate::elf::note::{Note, Notes, VMCOREINFO};
use crate::elf::{FileHeader, ProgramHeader};
use crate::guest::GuestInfo;
use crate::guest::vmcoreinfo::VmcoreinfoSource;
use crate::guest::windows::{HeaderSource, decode_context};
use crate::kdump::{MainHeader, SubHeader};
use crate::memory::{FileMemory, GuestMemory, MIN_PAGE_SIZE, MemoryRange, not_ram};
use crate::read::elf::ElfDump;
use crate::read::elf_sections::read_sections;
use crate::read::error::VmcoreError;
use crate::read::input::Input;
use crate::read::kdump::KdumpDump;
use crate::read::windmp::WinDmp;
use crate::vmcoreinfo::Vmcoreinfo;
use crate::windmp::Header;
use crate::windmp::{BitmapHeader, PAGE_SIZE};

/// A dump, open for reading.
///
/// As [`GuestMemory`] it has the pages that are in the dump. Of ELF dumps
/// these are the whole pages of each PT_LOAD that have bytes in the file, by
/// `p_paddr`.
#[derive(Debug)]
pub struct Vmcore {
    pub(crate) input: Input,
    pub(crate) contents: Contents,
    /// Memory that is in the file as it is, as regions of that file, which
    /// knows its holes.
    file_memory: Option<FileMemory>,
}

#[derive(Debug)]
pub(crate) enum Contents {
    Elf(ElfDump),
    Kdump(Box<KdumpDump>),
    WinDmp(WinDmp),
}

/// What kind of dump it is, with its decoded headers.
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
}

impl Vmcore {
    /// Opens a dump and decodes its headers, notes and page bitmap.
    ///
    /// An ELF dump whose memory is cut short opens with what there is;
    /// [`check`](Self::check) tells.
    ///
    /// # Errors
    ///
    /// - [`VmcoreError::NotADump`] for any other file;
    /// - [`VmcoreError::Unsupported`] for dumps that this crate cannot read;
    /// - [`VmcoreError::Truncated`], [`VmcoreError::Damaged`] if headers,
    ///   notes, bitmaps or a flattened file's records do not add up;
    /// - [`VmcoreError::Read`] if the file cannot be read.
    pub fn open(file: File) -> Result<Self, VmcoreError> {
        let input = Input::open(file)?;
        if let Some(elf) = ElfDump::open(&input)? {
            return Ok(Self {
                file_memory: elf.file_memory(&input),
                input,
                contents: Contents::Elf(elf),
            });
        }
        if let Some(dmp) = WinDmp::open(&input)? {
            return Ok(Self {
                file_memory: dmp.file_memory(&input),
                input,
                contents: Contents::WinDmp(dmp),
            });
        }
        let kdump = KdumpDump::open(&input)?.ok_or(VmcoreError::NotADump)?;
        Ok(Self {
            input,
            contents: Contents::Kdump(Box::new(kdump)),
            file_memory: None,
        })
    }

    /// The decoded headers, which also tell the kind of dump.
    #[must_use]
    pub fn headers(&self) -> Headers<'_> {
        match &self.contents {
            Contents::Elf(elf) => Headers::Elf {
                header: &elf.header,
                program_headers: &elf.program_headers,
            },
            Contents::Kdump(kdump) => Headers::Kdump {
                abi: kdump.headers.abi,
                main: &kdump.headers.main,
                sub: &kdump.headers.sub,
            },
            Contents::WinDmp(dmp) => Headers::WinDmp {
                header: &dmp.header,
                bitmap: dmp.bitmap.as_ref(),
            },
        }
    }

    /// Whether the file is in makedumpfile's flattened format.
    #[must_use]
    pub fn is_flattened(&self) -> bool {
        self.input.is_flattened()
    }

    /// Length of the dump in bytes; of a flattened one, of its raw form.
    #[must_use]
    pub fn raw_len(&self) -> u64 {
        self.input.len()
    }

    /// Whether the dump does not say that it is incomplete.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        match &self.contents {
            Contents::Elf(elf) => elf.is_complete(),
            Contents::Kdump(kdump) => kdump.is_complete(),
            Contents::WinDmp(dmp) => dmp.is_complete(),
        }
    }

    /// Word size and byte order of headers and notes.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        match &self.contents {
            Contents::Elf(elf) => elf.header.encoding,
            Contents::Kdump(kdump) => kdump.headers.abi.encoding(),
            Contents::WinDmp(dmp) => dmp.encoding(),
        }
    }

    /// The guest's architecture, if this crate knows it: ELF's `e_machine` and
    /// the size of its notes, kdump's utsname. Where a kdump does not say, as QEMU's does not, it
    /// is the one with the header's encoding and its notes' sizes.
    #[must_use]
    pub fn machine(&self) -> Option<Machine> {
        match &self.contents {
            Contents::Elf(elf) => {
                let number = elf.header.machine;
                // A dump of riscv32 with memory above 4 GiB is of 64 bits.
                Machine::from_notes(self.encoding(), self.notes())
                    .filter(|machine| machine.elf_machine() == number)
                    .or_else(|| Machine::from_elf(number, self.encoding()))
            }
            Contents::Kdump(kdump) => {
                let name = Utsname::text(&kdump.headers.main.utsname.machine);
                let named: Option<Machine> = name.parse().ok();
                let named = named.filter(|m| m.encoding() == self.encoding());
                named.or_else(|| {
                    let unknown = name.is_empty() || name.eq_ignore_ascii_case("unknown");
                    let guess = Machine::from_notes(self.encoding(), self.notes());
                    guess.filter(|_| unknown)
                })
            }
            Contents::WinDmp(dmp) => Some(dmp.machine()),
        }
    }

    /// The guest's page size in bytes, if the dump tells: kdump's block size,
    /// or VMCOREINFO.
    #[must_use]
    pub fn page_size(&self) -> Option<u64> {
        match &self.contents {
            Contents::Elf(_) => {
                let size = self.vmcoreinfo()?.page_size()?;
                let possible = size.is_power_of_two() && (4096..=65536).contains(&size);
                possible.then_some(size)
            }
            Contents::Kdump(kdump) => Some(kdump.page_size()),
            Contents::WinDmp(_) => Some(PAGE_SIZE),
        }
    }

    /// Pages in the dump, of [`page_size`](Self::page_size); of 4096 bytes if
    /// the dump does not tell, or its memory is not made of whole pages.
    #[must_use]
    pub fn pages(&self) -> u64 {
        match &self.contents {
            Contents::Elf(elf) => {
                let bytes: u64 = elf.ranges().map(|range| range.size()).sum();
                bytes / self.counted_page_size()
            }
            Contents::Kdump(kdump) => kdump.pages,
            Contents::WinDmp(dmp) => dmp.stored().1 / PAGE_SIZE,
        }
    }

    /// Bytes in a page as [`pages`](Self::pages) counts them.
    pub(crate) fn counted_page_size(&self) -> u64 {
        let whole = |size: &u64| match &self.contents {
            Contents::Elf(elf) => elf.ranges().all(|range| range.is_aligned(*size)),
            Contents::Kdump(_) | Contents::WinDmp(_) => true,
        };
        self.page_size().filter(whole).unwrap_or(MIN_PAGE_SIZE)
    }

    /// The notes as they are in the dump.
    #[must_use]
    pub fn note_bytes(&self) -> &[u8] {
        match &self.contents {
            Contents::Elf(elf) => &elf.notes,
            Contents::Kdump(kdump) => &kdump.notes,
            Contents::WinDmp(_) => &[],
        }
    }

    /// Where in the dump the byte at `offset` of the notes lies.
    pub(crate) fn note_offset(&self, offset: u64) -> u64 {
        offset
            + match &self.contents {
                Contents::Elf(elf) => elf.notes_at,
                Contents::Kdump(kdump) => kdump.headers.sub.offset_note,
                Contents::WinDmp(_) => 0,
            }
    }

    /// The notes one by one.
    #[must_use]
    pub fn notes(&self) -> Notes<'_> {
        Notes::new(self.note_bytes(), self.encoding().order)
    }

    /// How many CPUs have an `NT_PRSTATUS` note.
    #[must_use]
    pub fn cpus(&self) -> usize {
        self.notes().cpus()
    }

    /// VMCOREINFO, from its note or kdump's sub header.
    #[must_use]
    pub fn vmcoreinfo(&self) -> Option<Vmcoreinfo> {
        let from_note = self
            .notes()
            .flatten()
            .find(|(_, note)| note.is(VMCOREINFO, 0))
            .and_then(|(_, note)| Vmcoreinfo::parse(note.desc).ok());
        from_note.or_else(|| match &self.contents {
            Contents::Elf(_) | Contents::WinDmp(_) => None,
            Contents::Kdump(kdump) => Vmcoreinfo::parse(&kdump.vmcoreinfo).ok(),
        })
    }

    /// The guest's `uname` in kdump's header; `None` where sysname is not
    /// Linux or the release is empty, as in QEMU's.
    #[must_use]
    pub fn utsname(&self) -> Option<Utsname> {
        match &self.contents {
            Contents::Elf(_) | Contents::WinDmp(_) => None,
            Contents::Kdump(kdump) => kdump.utsname(),
        }
    }

    /// Options for writing this dump in `format`: its architecture, page
    /// size, notes (of a Windows dump, the registers in its header), VMCOREINFO (searched for in the memory if the dump has
    /// none) and what its headers say; from ELF to ELF also its sections.
    ///
    /// # Errors
    ///
    /// [`VmcoreError::Unsupported`] if this crate does not know the guest's
    /// architecture.
    pub fn options(&self, format: Format) -> Result<DumpOptions, VmcoreError> {
        let machine = self
            .machine()
            .ok_or_else(|| VmcoreError::Unsupported("its architecture is not known".into()))?;
        let mut guest = GuestInfo::new(machine)
            .raw_notes(self.notes_without_vmcoreinfo()?)
            .vmcoreinfo(match self.vmcoreinfo() {
                Some(info) => VmcoreinfoSource::Bytes(info.text().to_vec()),
                None if self.is_windows() => VmcoreinfoSource::None,
                None => VmcoreinfoSource::Scan,
            });
        let mut format = FormatOptions::from(format);
        match (&self.contents, &mut format) {
            // A Windows dump keeps the header's context as it is.
            (Contents::WinDmp(dmp), FormatOptions::Windows(windows)) => {
                let header = HeaderSource::Given(dmp.header.as_bytes().to_vec());
                *windows = windows.clone().header(header);
            }
            (Contents::WinDmp(dmp), _) => guest = guest.cpus(decode_context(&dmp.header)),
            (Contents::Elf(elf), FormatOptions::Elf(options)) => {
                *options = options
                    .clone()
                    .sections(read_sections(&self.input, &elf.header));
            }
            _ => {}
        }
        if let Contents::Kdump(kdump) = &self.contents {
            let time = Duration::from_secs(kdump.headers.main.timestamp_sec)
                .saturating_add(Duration::from_micros(kdump.headers.main.timestamp_usec));
            guest = guest.phys_base(kdump.headers.sub.phys_base);
            // The block size counts only where VMCOREINFO is silent: QEMU's
            // is that of the largest page of the architecture.
            let told = self.vmcoreinfo().and_then(|info| info.page_size());
            if !told.is_some_and(|size| machine.page_sizes().contains(&size)) {
                guest = guest.page_size(kdump.page_size());
            }
            if !time.is_zero() {
                guest = guest.timestamp(time);
            }
        }
        if let Some(uts) = self.utsname() {
            guest = guest.utsname(uts);
        }
        Ok(DumpOptions::new(guest, format))
    }

    fn is_windows(&self) -> bool {
        matches!(self.contents, Contents::WinDmp(_))
    }

    /// Reads memory that is in the file as it is; `find` gives the offset of
    /// the byte at an address, and how many bytes follow it.
    fn read_stored(
        &self,
        gpa: u64,
        buf: &mut [u8],
        find: impl Fn(u64) -> Option<(u64, u64)>,
    ) -> io::Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let (offset, left) = gpa
                .checked_add(done as u64)
                .and_then(&find)
                .ok_or_else(|| not_ram(gpa, buf.len()))?;
            let n = left.min((buf.len() - done) as u64) as usize;
            self.input.read_at(offset, &mut buf[done..done + n])?;
            done += n;
        }
        Ok(())
    }

    fn notes_without_vmcoreinfo(&self) -> Result<Vec<u8>, VmcoreError> {
        let order = self.encoding().order;
        let mut bytes = Vec::new();
        let is_vmcoreinfo = |note: &Note<'_>| note.is(VMCOREINFO, 0);
        for (_, note) in self.notes().flatten().filter(|(_, n)| !is_vmcoreinfo(n)) {
            note.encode(order, &mut bytes)
                .map_err(|error| VmcoreError::damaged(self.note_offset(0), error.to_string()))?;
        }
        Ok(bytes)
    }
}

impl GuestMemory for Vmcore {
    fn ranges(&self) -> Vec<MemoryRange> {
        match &self.contents {
            Contents::Elf(elf) => elf.ranges().collect(),
            Contents::Kdump(kdump) => kdump.ranges().collect(),
            Contents::WinDmp(dmp) => dmp.ranges().collect(),
        }
    }

    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        match &self.contents {
            Contents::Elf(elf) => self.read_stored(gpa, buf, |at| elf.find(at)),
            Contents::WinDmp(dmp) => self.read_stored(gpa, buf, |at| dmp.find(at)),
            Contents::Kdump(kdump) => {
                let len = buf.len();
                let result = kdump.read(&self.input, gpa, buf);
                Ok(result.ok_or_else(|| not_ram(gpa, len))??)
            }
        }
    }

    fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
        match &self.file_memory {
            Some(memory) => memory.next_populated(range),
            None => Ok(Some(range)),
        }
    }
}

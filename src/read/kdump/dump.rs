//! A kdump-compressed dump as one file.
#![forbid(unsafe_code)]

use std::io;
use std::time::Duration;

use crate::abi::{Encoding, Utsname};
use crate::arch::Machine;
use crate::dump::FormatOptions;
use crate::elf::Notes;
use crate::guest::GuestInfo;
use crate::kdump::DumpHeaders;
use crate::memory::{Coverage, Lack, MemoryRange, not_ram};
use crate::read::dump::{Dump, Headers, damaged_notes};
use crate::read::kdump::bitmaps::Bitmaps;
use crate::read::kdump::headers::{page_size, read_headers};
use crate::read::kdump::pages::Pages;
use crate::read::kdump::{coverage, headers};
use crate::read::{CheckReport, Input, VmcoreError};
use crate::vmcoreinfo;
use crate::workers::Progress;
use crate::write::notes::MAX_NOTES;

/// A decoded kdump-compressed dump.
#[derive(Debug)]
pub(crate) struct KdumpDump {
    pub(super) headers: DumpHeaders,
    notes: Vec<u8>,
    /// VMCOREINFO's text by the sub header's offset.
    vmcoreinfo: Vec<u8>,
    pub(super) bitmaps: Bitmaps,
    pub(super) pages: Pages,
    pub(super) coverage: Coverage,
    /// makedumpfile's record of what it erased.
    erase_info: Vec<u8>,
}

impl KdumpDump {
    /// Decodes the headers and the second bitmap; `None` if this is no kdump.
    pub(crate) fn open(input: &Input) -> Result<Option<Self>, VmcoreError> {
        let Some(headers) = read_headers(input)? else {
            return Ok(None);
        };
        let sub = &headers.sub;
        let notes = input.read_vec("the notes", sub.offset_note, sub.size_note, MAX_NOTES)?;
        let vmcoreinfo = input.read_vec(
            "VMCOREINFO",
            sub.offset_vmcoreinfo,
            sub.size_vmcoreinfo,
            vmcoreinfo::MAX_SIZE as u64,
        )?;
        let bitmaps = Bitmaps::find(input, &headers)?;
        let mut pages = Pages::find(input, &headers, &bitmaps)?;
        let mut coverage = coverage::find(input, &headers, &bitmaps, &mut pages)?;
        let found = Notes::new(&notes, headers.abi.order);
        coverage.lacks.extend(damaged_notes(found, sub.offset_note));
        // makedumpfile writes it after the pages, so a dump that is cut short has lost it.
        let what = "makedumpfile's erase information";
        let (offset, len) = (sub.offset_eraseinfo, sub.size_eraseinfo);
        let erase_info = if input.holds(offset, len) {
            input.read_vec(what, offset, len, MAX_NOTES)?
        } else {
            let end = input.len();
            coverage.lacks.push(Lack::CutShort { what, offset, end });
            Vec::new()
        };
        Ok(Some(Self {
            headers,
            coverage,
            erase_info,
            notes,
            vmcoreinfo,
            bitmaps,
            pages,
        }))
    }
}

impl Dump for KdumpDump {
    fn headers(&self) -> Headers<'_> {
        Headers::Kdump {
            abi: self.headers.abi,
            main: &self.headers.main,
            sub: &self.headers.sub,
        }
    }

    fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    fn encoding(&self) -> Encoding {
        self.headers.abi.encoding()
    }

    fn machine(&self) -> Option<Machine> {
        headers::machine(&self.headers, self.notes())
    }

    fn page_size(&self) -> Option<u64> {
        Some(page_size(&self.headers))
    }

    fn pages(&self) -> u64 {
        self.pages.count()
    }

    fn note_bytes(&self) -> &[u8] {
        &self.notes
    }

    fn note_offset(&self) -> u64 {
        self.headers.sub.offset_note
    }

    fn vmcoreinfo_bytes(&self) -> &[u8] {
        &self.vmcoreinfo
    }

    /// Returns the header's strings, unless they are missing or made up.
    fn utsname(&self) -> Option<Utsname> {
        let uts = self.headers.main.utsname;
        let text = |field| Utsname::text(field).into_owned();
        let known = !text(&uts.release).is_empty() && text(&uts.sysname) == "Linux";
        known.then_some(uts)
    }

    fn add_to(&self, _: &Input, guest: GuestInfo, _: &mut FormatOptions) -> GuestInfo {
        let DumpHeaders { main, sub, .. } = &self.headers;
        let mut guest = guest
            .phys_base(sub.phys_base)
            .kdump_cpus(main.nr_cpus, main.current_cpu)
            .erase_info(self.erase_info.clone());
        // VMCOREINFO overrides the block size: QEMU's is that of the largest
        // page of the architecture.
        let stated = self.vmcoreinfo().and_then(|info| info.page_size());
        let possible = self.machine().map_or(&[][..], Machine::page_sizes);
        if !stated.is_some_and(|size| possible.contains(&size)) {
            guest = guest.page_size(page_size(&self.headers));
        }
        let time = Duration::from_secs(main.timestamp_sec)
            .saturating_add(Duration::from_micros(main.timestamp_usec));
        if !time.is_zero() {
            guest = guest.timestamp(time);
        }
        guest
    }

    fn ranges(&self) -> Vec<MemoryRange> {
        self.pages.ranges().collect()
    }

    fn read(&self, input: &Input, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        let len = buf.len();
        let result = self.pages.read(input, gpa, buf);
        Ok(result.ok_or_else(|| not_ram(gpa, len))??)
    }

    fn check(
        &self,
        input: &Input,
        report: &mut CheckReport,
        progress: &Progress,
    ) -> Result<(), VmcoreError> {
        self.bitmaps.check(input)?;
        self.pages.check(input, report, progress)
    }
}

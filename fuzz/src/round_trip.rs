//! Any guest and any way to dump it, to a dump, and back.

use std::collections::BTreeSet;
use std::fs;

use arbitrary::{Result, Unstructured};
use guestdump::elf::Notes;
use guestdump::guest::paging::Budget;
use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::guest::windows::HeaderSource;
use guestdump::memory::MemoryRange;
use guestdump::read::rearrange;
use guestdump::read::{Vmcore, VmcoreError};
use guestdump::sink::{BufferSink, FdSink, FileSink, FileSinkOptions, StreamSink};
use guestdump::windmp::Header;
use guestdump::{
    Class, CpuState, DumpOptions, Error, Fault, Format, FormatOptions, GuestInfo, GuestMemory,
    Machine, OnReadError, Progress, Summary, dump,
};
use testkit::pieces;
use testkit::{Disk, FaultySink, PAGE, Page};

use super::allocator::bounded;
use super::any_guest::Guest;

/// Returns how many bytes a dump may allocate at a time. A thread has three chunks of
/// 1 MiB under way, raw and compressed, and its codec.
fn limit(threads: usize) -> usize {
    (4 << 20) + threads * (8 << 20)
}

pub fn round_trip(input: &[u8]) {
    let _ = parse(&mut Unstructured::new(input));
}

/// How to dump.
struct Case {
    guest: Guest,
    format: Format,
    machine: Machine,
    options: DumpOptions,
    threads: usize,
    filter: Option<(u64, u64)>,
    policy: OnReadError,
    sink: u8,
    then: Then,
}

/// What is done after the dump was compared with the guest.
enum Then {
    Nothing,
    /// It is made again, by `threads` and into another sink.
    Again,
    /// If it is flattened, it is rearranged.
    Rearrange,
    /// It is made again on a disk that has room for so much of it, of 256.
    Disk(u8),
}

fn parse(u: &mut Unstructured<'_>) -> Result<()> {
    let formats: Vec<Format> = Format::available().collect();
    let format = *u.choose(&formats)?;
    let machine = if format.is_windows() {
        *u.choose(&[Machine::X86_64, Machine::I386])?
    } else {
        *u.choose(Machine::ALL)?
    };
    let page_size = *u.choose(machine.page_sizes())?;
    let mut info = GuestInfo::new(machine).vmcoreinfo(match u.int_in_range(0..=3)? {
        0 => VmcoreinfoSource::None,
        1 => VmcoreinfoSource::Scan,
        _ => {
            let text = format!("OSRELEASE=6.1.0\nPAGESIZE={page_size}\nNUMBER(phys_base)=4096\n");
            VmcoreinfoSource::Bytes(text.into_bytes())
        }
    });
    if u.arbitrary()? {
        info = info.page_size(page_size);
    }
    if !format.is_windows() {
        info = info.cpus(cpus(u, machine)?);
    }
    let mut own = FormatOptions::from(format);
    if format == Format::Elf && u.arbitrary()? {
        let budget = Budget {
            mappings: 100,
            table_bytes: 1 << 20,
        };
        own = own.paging(budget).unwrap();
    }
    let threads = u.int_in_range(1..=4)?;
    if let Some(codec) = format.codec() {
        let engines = codec.engines().filter(|engine| engine.is_available());
        let engines: Vec<_> = engines.collect();
        own = own.compressor(engines[threads % engines.len()]).unwrap();
    }
    let sink = u.arbitrary()?;
    let policy = *u.choose(&OnReadError::ALL)?;
    let flattened = format.codec().is_some() && !format.needs_positions();
    let then = match u.int_in_range(0..=4)? {
        0 | 4 if flattened => Then::Rearrange,
        1 => Then::Disk(u.arbitrary()?),
        2 => Then::Again,
        3 => Then::Nothing,
        _ => Then::Disk(255),
    };
    let pae = u.arbitrary()?;
    // Page tables may be looked for where nothing was ever.
    let guest = Guest::any(u, !format.is_windows())?;
    if let FormatOptions::Windows(windows) = own {
        let pages: Vec<u64> = guest.pages().map(|(gpa, _)| gpa).collect();
        let cr3 = u.choose(&pages)? + u.int_in_range(0..=1)?;
        let header = HeaderSource::Given(match machine {
            Machine::I386 => windows_header_32(cr3 as u32, pae),
            _ => windows_header(cr3),
        });
        own = windows.header(header).into();
    }
    let filter = if u.ratio(1, 3)? {
        let pages: Vec<u64> = guest.pages().map(|(gpa, _)| gpa).collect();
        let begin = u.choose(&pages)? + u.int_in_range(0..=PAGE - 1)?;
        Some((begin, u.int_in_range(1..=200 * PAGE)?))
    } else {
        None
    };
    let mut options = DumpOptions::new(info, own);
    if let Some((begin, length)) = filter {
        options = options.filter(begin, length);
    }
    let case = Case {
        guest,
        format,
        machine,
        options: options.on_read_error(policy),
        threads,
        filter,
        policy,
        sink,
        then,
    };
    case.run();
    Ok(())
}

/// CPUs with any registers.
fn cpus(u: &mut Unstructured<'_>, machine: Machine) -> Result<Vec<CpuState>> {
    let mut segment = Vec::new();
    for _ in 0..u.int_in_range(0..=2)? {
        let mut desc = vec![0; machine.prstatus_size()];
        let len = u.int_in_range(0..=desc.len())?;
        u.fill_buffer(&mut desc[..len])?;
        guestdump::elf::Note {
            name: b"CORE",
            kind: 1,
            desc: &desc,
        }
        .encode(machine.encoding().order, &mut segment)
        .unwrap();
    }
    Ok(machine.decode_notes(Notes::new(&segment, machine.encoding().order)))
}

fn windows_header(cr3: u64) -> Vec<u8> {
    let mut header = Header::new(Class::Bits64);
    header.set_directory_table_base(cr3).unwrap();
    header.set_number_processors(1);
    header.as_bytes().to_vec()
}

fn windows_header_32(cr3: u32, pae: bool) -> Vec<u8> {
    let mut header = Header::new(Class::Bits32);
    header.set_directory_table_base(cr3.into()).unwrap();
    header.set_number_processors(1);
    header.set_pae_enabled(pae.into());
    header.as_bytes().to_vec()
}

impl Case {
    fn run(&self) {
        // A bitmap has a bit for each page frame below the last one.
        let end = self.guest.ranges().last().map_or(0, MemoryRange::end);
        let high = end > 1 << 34;
        if high && self.format != Format::Elf && self.format != Format::WIN_DMP {
            return;
        }
        let (result, bytes) = bounded(limit(1), || self.write_to(self.sink % 6, &self.options));
        let summary = match result {
            Ok(summary) => summary,
            Err(error) => {
                self.failed(&error, &bytes);
                return;
            }
        };
        match self.then {
            Then::Nothing => self.same_bytes(bytes, &summary),
            Then::Again => {
                self.again(&bytes);
                self.same_bytes(bytes, &summary);
            }
            Then::Rearrange => {
                let mut raw = BufferSink::new();
                rearrange(&mut &bytes[..], &mut raw, &Progress::new()).unwrap();
                self.same_bytes(raw.into_bytes(), &summary);
            }
            Then::Disk(part) => {
                let blocks = bytes.len().div_ceil(4096) * usize::from(part) / 256;
                self.fill(blocks, &summary);
            }
        }
    }

    /// Not a byte depends on threads or sink.
    fn again(&self, bytes: &[u8]) {
        let options = self.options.clone().threads(self.threads);
        let sink = if self.sink % 6 == 4 { 5 } else { 4 };
        let (result, again) = bounded(limit(self.threads), || self.write_to(sink, &options));
        result.unwrap();
        assert!(again == bytes, "other bytes with {} threads", self.threads);
    }

    fn same_bytes(&self, bytes: Vec<u8>, summary: &Summary) {
        self.same(&Vmcore::open(bytes).unwrap(), summary);
    }

    /// A refusal wrote nothing; other errors are of memory that cannot be
    /// read, where that is one.
    fn failed(&self, error: &Error, bytes: &[u8]) {
        match error {
            Error::Failed(Fault::Read { gpa, len, .. }) => {
                // Of what it tolerates, the first is an error if no page was read.
                assert!(
                    self.policy == OnReadError::Fail || self.all_lost(),
                    "{error}"
                );
                let mut pages = (gpa - gpa % PAGE..gpa + len).step_by(PAGE as usize);
                assert!(pages.any(|gpa| self.guest.is_lost(gpa)), "{error}");
            }
            error => assert!(error.is_refusal() && bytes.is_empty(), "{error}"),
        }
    }

    /// Whether each page that is wanted and touched cannot be read, or is omitted since a part
    /// of the guest's page cannot be read.
    fn all_lost(&self) -> bool {
        let end = |(begin, length): (u64, u64)| begin.saturating_add(length);
        let mut touched = self.guest.pages().filter(|(gpa, page)| {
            let inside = |f: (u64, u64)| *gpa < end(f) && f.0 < gpa + PAGE;
            *page != Page::Untouched && self.filter.is_none_or(inside)
        });
        let unit = match self.policy {
            OnReadError::Skip => self.machine.page_sizes().iter().copied().max(),
            _ => None,
        };
        let unit = unit.unwrap_or(PAGE);
        touched.all(|(gpa, _)| {
            let first = gpa - gpa % unit;
            let mut parts = (first..first + unit).step_by(PAGE as usize);
            parts.any(|gpa| self.guest.is_lost(gpa))
        })
    }

    /// Onto a small disk: all of it, its first pages, or nothing.
    fn fill(&self, blocks: usize, summary: &Summary) {
        let raw = self.format.codec().is_some() && self.format.needs_positions();
        let mut disk = Disk::new(blocks);
        let mut options = self.options.clone().threads(self.threads);
        if raw {
            options.format = options.format.keep_partial().unwrap();
        }
        match dump(&self.guest, &mut disk, &options) {
            Ok(again) => {
                assert_eq!(disk.finished, 1);
                self.same(&disk.dump(), &again);
            }
            Err(Error::Incomplete { pages, cause, .. }) => {
                assert!(raw && disk.finished == 1);
                assert!(matches!(cause, Fault::Write { .. }), "{cause}");
                let kept = disk.dump();
                let error = kept.check(&Progress::new()).unwrap_err();
                assert!(matches!(error, VmcoreError::Incomplete { .. }), "{error}");
                assert!(pages <= summary.pages && kept.pages() == pages);
                self.same_pages(&kept, summary.page_size, pages);
            }
            Err(error) => {
                assert!(disk.finished == 0 && matches!(error, Error::Failed(Fault::Write { .. })));
            }
        }
    }

    fn write_to(&self, sink: u8, options: &DumpOptions) -> (guestdump::Result<Summary>, Vec<u8>) {
        let streams = !self.format.needs_positions();
        match sink {
            0 if streams => {
                let mut sink = FaultySink::slow_stream();
                (dump(&self.guest, &mut sink, options), sink.into_bytes())
            }
            1 if streams => {
                let mut sink = StreamSink::new(Vec::new());
                (dump(&self.guest, &mut sink, options), sink.into_inner())
            }
            2 | 3 => self.write_file(sink == 3, options),
            4 => {
                let mut sink = BufferSink::new();
                (dump(&self.guest, &mut sink, options), sink.into_bytes())
            }
            _ => {
                let file = pieces::empty_file();
                let mut sink = FdSink::new(file.try_clone().unwrap().into()).unwrap();
                let result = dump(&self.guest, &mut sink, options);
                (result, pieces::contents(&file))
            }
        }
    }

    /// To a file, or over another. If the dump fails, there is what was.
    fn write_file(
        &self,
        exists: bool,
        options: &DumpOptions,
    ) -> (guestdump::Result<Summary>, Vec<u8>) {
        // A file system in memory, where there is one.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let folder = folder.unwrap();
        let path = folder.path().join("dump");
        if exists {
            fs::write(&path, b"old").unwrap();
        }
        let how = FileSinkOptions::new().overwrite(exists);
        let mut sink = FileSink::create(&path, how).unwrap();
        let result = dump(&self.guest, &mut sink, options);
        drop(sink);
        let names = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(names, usize::from(exists || result.is_ok()));
        let bytes = if exists || result.is_ok() {
            fs::read(&path).unwrap()
        } else {
            Vec::new()
        };
        if result.is_err() && exists {
            assert_eq!(bytes, b"old");
            return (result, Vec::new());
        }
        (result, bytes)
    }

    /// The dump has the pages that the filter leaves and that can be read, and
    /// what is in them.
    fn same(&self, vmcore: &Vmcore, summary: &Summary) {
        vmcore.check(&Progress::new()).unwrap();
        assert!(vmcore.is_complete());
        assert_eq!(vmcore.pages(), summary.pages);
        if self.format.codec().is_some() {
            assert_eq!(vmcore.machine(), Some(self.machine));
        }
        let (in_dump, lost) = self.same_pages(vmcore, summary.page_size, summary.pages);
        // kdump's pages are whole, with zeroes where there is no RAM.
        let total: u64 = vmcore.ranges().iter().map(MemoryRange::size).sum();
        assert!(total >= in_dump && total == summary.bytes_total);
        let unreadable = summary.unreadable.as_ref().map_or(0, |lost| lost.bytes);
        match self.policy {
            OnReadError::Skip => assert!(unreadable >= lost),
            _ => assert_eq!(unreadable, lost),
        }
    }

    /// The first `count` page frames of `unit` bytes that are wanted, and no
    /// others. Gives the bytes that are in the dump, and those of them, or of
    /// those left out, that cannot be read.
    fn same_pages(&self, vmcore: &Vmcore, unit: u64, count: u64) -> (u64, u64) {
        let frame_of = |gpa: u64| gpa - gpa % unit;
        let left_out: BTreeSet<u64> = match self.policy {
            OnReadError::Skip => {
                let lost = self
                    .guest
                    .bad
                    .iter()
                    .filter(|gpa| self.guest.is_lost(**gpa));
                lost.map(|gpa| frame_of(*gpa)).collect()
            }
            _ => BTreeSet::new(),
        };
        let (mut expected, mut read) = ([0; PAGE as usize], [0; PAGE as usize]);
        let (mut in_dump, mut lost) = (0, 0);
        let (mut last, mut frames) = (None, 0);
        for (gpa, page) in self.guest.pages() {
            let frame = frame_of(gpa);
            let inside = self.filter.is_none_or(|(begin, length)| {
                frame < begin.saturating_add(length) && begin < frame + unit
            });
            let is_lost = inside && self.guest.is_lost(gpa);
            lost += if is_lost { PAGE } else { 0 };
            let mut wanted = inside && !left_out.contains(&frame);
            if wanted && last.replace(frame) != Some(frame) {
                frames += 1;
            }
            wanted &= frames <= count;
            let found = vmcore.read(gpa, &mut read);
            assert_eq!(found.is_ok(), wanted, "{gpa:#x}: {found:?}");
            if wanted {
                page.fill(&mut expected);
                if is_lost {
                    expected.fill(0);
                }
                assert!(read == expected, "the page at {gpa:#x}");
                in_dump += PAGE;
            }
        }
        (in_dump, lost)
    }
}

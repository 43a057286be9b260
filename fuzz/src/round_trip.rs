//! Any guest and any way to dump it, to a dump, and back.

use std::io;

use arbitrary::{Result, Unstructured};
use guestdump::elf::Notes;
use guestdump::flattened::rearrange;
use guestdump::memory::{MIN_PAGE_SIZE as PAGE, MemoryRange};
use guestdump::paging::Budget;
use guestdump::sink::{BufferSink, FdSink, StreamSink};
use guestdump::vmcore::Vmcore;
use guestdump::vmcoreinfo::VmcoreinfoSource;
use guestdump::windmp::format::{DumpHeader64, IMAGE_FILE_MACHINE_AMD64, SIGNATURE, VALID_DUMP_64};
use guestdump::windmp::{HeaderSource, WindowsOptions};
use guestdump::{DumpOptions, Format, GuestMemory, Machine, Progress, Registers, Summary, dump};
use zerocopy::{FromZeros, IntoBytes};

use super::allocator::bounded;
use super::pieces;
use super::sinks::SlowStream;

/// About as many pages has a guest at most: two chunks. LZO is slow.
const MAX_PAGES: usize = 300;

/// What a page holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    Zero,
    /// Never populated; reading it is a panic.
    Untouched,
    Text(u8),
    Random(u8),
    /// Zero but for one byte.
    Nearly(u16),
}

impl Page {
    fn any(u: &mut Unstructured<'_>) -> Result<Self> {
        Ok(match u.int_in_range(0..=4)? {
            0 => Self::Zero,
            1 => Self::Untouched,
            2 => Self::Text(u.arbitrary()?),
            3 => Self::Random(u.arbitrary()?),
            _ => Self::Nearly(u.arbitrary()?),
        })
    }

    fn fill(self, page: &mut [u8]) {
        page.fill(0);
        match self {
            Self::Zero | Self::Untouched => {}
            Self::Nearly(at) => page[usize::from(at) % page.len()] = 1,
            Self::Text(seed) => {
                for (byte, n) in page.iter_mut().zip(0usize..) {
                    *byte = seed ^ (n / 7 % 13) as u8;
                }
            }
            Self::Random(seed) => {
                let mut state = 0x9e37_79b9_7f4a_7c15u64 ^ (u64::from(seed) << 20);
                for byte in page {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    *byte = (state >> 56) as u8;
                }
            }
        }
    }
}

/// Guest-physical address and pages of each range, in ascending order.
struct Guest(Vec<(u64, Vec<Page>)>);

impl Guest {
    fn any(u: &mut Unstructured<'_>) -> Result<Self> {
        let mut at = *u.choose(&[0, 1 << 20, 1 << 30, 2 << 30, (4 << 30) - 0x3000, 1 << 40])?;
        let (mut ranges, mut total) = (Vec::new(), 0);
        for _ in 0..u.int_in_range(1..=5)? {
            at += match u.int_in_range(0..=9)? {
                0 => 1 << 30,
                1 => 1 << 32,
                pages => (pages - 2) * PAGE,
            };
            let mut pages = Vec::new();
            for _ in 0..u.int_in_range(1..=12)? {
                let page = Page::any(u)?;
                // Runs, so that there is more than one chunk.
                let count = if u.ratio(1, 4)? { u.arbitrary()? } else { 1u8 };
                let room = MAX_PAGES.saturating_sub(total);
                let count = usize::from(count).clamp(1, room.max(1));
                total += count;
                pages.extend(vec![page; count]);
            }
            let len = pages.len() as u64 * PAGE;
            ranges.push((at, pages));
            at += len;
        }
        Ok(Self(ranges))
    }

    fn pages(&self) -> impl Iterator<Item = (u64, Page)> {
        self.0
            .iter()
            .flat_map(|(start, pages)| (*start..).step_by(PAGE as usize).zip(pages.iter().copied()))
    }

    fn page(&self, gpa: u64) -> Option<Page> {
        self.0.iter().find_map(|(start, pages)| {
            let index = gpa.checked_sub(*start)? / PAGE;
            pages.get(index as usize).copied()
        })
    }
}

impl GuestMemory for Guest {
    fn ranges(&self) -> Vec<MemoryRange> {
        let range = |(start, pages): &(u64, Vec<Page>)| {
            MemoryRange::new(*start, pages.len() as u64 * PAGE).unwrap()
        };
        self.0.iter().map(range).collect()
    }

    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        let mut bytes = [0; PAGE as usize];
        let mut done = 0;
        while done < buf.len() {
            let at = gpa + done as u64;
            let page = self.page(at).ok_or(io::ErrorKind::InvalidInput)?;
            assert!(page != Page::Untouched, "{at:#x} was never touched");
            page.fill(&mut bytes);
            let from = (at % PAGE) as usize;
            let n = (PAGE as usize - from).min(buf.len() - done);
            buf[done..done + n].copy_from_slice(&bytes[from..from + n]);
            done += n;
        }
        Ok(())
    }

    fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
        let touched = |gpa: &u64| self.page(*gpa).is_some_and(|p| p != Page::Untouched);
        let pages = |from: u64| (from..range.end()).step_by(PAGE as usize);
        let Some(first) = pages(range.start()).find(touched) else {
            return Ok(None);
        };
        let end = pages(first)
            .find(|gpa| !touched(gpa))
            .unwrap_or(range.end());
        Ok(MemoryRange::new(first, end - first).ok())
    }
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
    sink: u8,
}

fn parse(u: &mut Unstructured<'_>) -> Result<()> {
    let formats: Vec<Format> = Format::available().collect();
    let format = *u.choose(&formats)?;
    let machine = match format.is_windows() {
        true => Machine::X86_64,
        false => *u.choose(Machine::ALL)?,
    };
    let page_size = *u.choose(machine.page_sizes())?;
    let mut options = DumpOptions::new(format).machine(machine);
    options = options.vmcoreinfo(match u.int_in_range(0..=3)? {
        0 => VmcoreinfoSource::None,
        1 => VmcoreinfoSource::Scan,
        _ => {
            let text = format!("OSRELEASE=6.1.0\nPAGESIZE={page_size}\nNUMBER(phys_base)=4096\n");
            VmcoreinfoSource::Bytes(text.into_bytes())
        }
    });
    if u.arbitrary()? {
        options = options.page_size(page_size);
    }
    if format.is_windows() {
        let header = HeaderSource::Given(windows_header(u.arbitrary()?));
        options = options.windows(WindowsOptions::new().header(header));
    } else {
        options = options.cpus(cpus(u, machine)?);
    }
    if format == Format::Elf && u.arbitrary()? {
        options = options.paging(Budget {
            mappings: 100,
            table_bytes: 1 << 20,
        });
    }
    let threads = u.int_in_range(1..=4)?;
    let sink = u.arbitrary()?;
    let guest = Guest::any(u)?;
    let filter = match u.ratio(1, 3)? {
        true => {
            let pages: Vec<u64> = guest.pages().map(|(gpa, _)| gpa).collect();
            let begin = u.choose(&pages)? + u.int_in_range(0..=PAGE - 1)?;
            Some((begin, u.int_in_range(1..=200 * PAGE)?))
        }
        false => None,
    };
    if let Some((begin, length)) = filter {
        options = options.filter(begin, length);
    }
    let case = Case {
        guest,
        format,
        machine,
        options,
        threads,
        filter,
        sink,
    };
    case.run();
    Ok(())
}

/// CPUs with any registers.
fn cpus(u: &mut Unstructured<'_>, machine: Machine) -> Result<Vec<Registers>> {
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
        .encode(machine.encoding().order, &mut segment);
    }
    Ok(machine.decode_notes(Notes::new(&segment, machine.encoding().order)))
}

fn windows_header(cr3: u64) -> Vec<u8> {
    let mut header = Box::new(DumpHeader64::new_zeroed());
    header.signature = SIGNATURE;
    header.valid_dump = VALID_DUMP_64;
    header.directory_table_base = cr3.into();
    header.machine_image_type = IMAGE_FILE_MACHINE_AMD64.into();
    header.number_processors = 1.into();
    header.as_bytes().to_vec()
}

impl Case {
    fn run(&self) {
        // A bitmap has a bit for each page frame below the last one.
        let end = self.guest.ranges().last().map_or(0, MemoryRange::end);
        let high = end > 1 << 34;
        if high && self.format != Format::Elf && self.format != Format::WinDmp {
            return;
        }
        let (result, bytes) = self.write(&self.options);
        let summary = match result {
            Ok(summary) => summary,
            Err(error) => {
                assert!(error.is_refusal() && bytes.is_empty(), "{error}");
                return;
            }
        };
        let vmcore = Vmcore::open(pieces::file_of_bytes(&bytes)).unwrap();
        self.same(&vmcore, &summary);

        // Not a byte depends on threads or sink.
        let file = pieces::empty_file();
        let mut sink = FdSink::new(file.try_clone().unwrap().into()).unwrap();
        let options = self.options.clone().threads(self.threads);
        // A thread has three chunks of 1 MiB under way, raw and compressed,
        // and its codec.
        bounded((4 << 20) + self.threads * (8 << 20), || {
            dump(&self.guest, &mut sink, &options).unwrap();
        });
        let again = pieces::contents(&file);
        assert!(again == bytes, "other bytes with {} threads", self.threads);
        if vmcore.is_flattened() {
            let mut raw = BufferSink::new();
            rearrange(&mut &bytes[..], &mut raw, &Progress::new()).unwrap();
            let plain = Vmcore::open(pieces::file_of_bytes(&raw.into_bytes())).unwrap();
            self.same(&plain, &summary);
        }
    }

    fn write(&self, options: &DumpOptions) -> (guestdump::Result<Summary>, Vec<u8>) {
        let streams = !self.format.needs_positions();
        match self.sink % 4 {
            0 if streams => {
                let mut sink = SlowStream::default();
                (dump(&self.guest, &mut sink, options), sink.bytes)
            }
            1 if streams => {
                let mut sink = StreamSink::new(Vec::new());
                (dump(&self.guest, &mut sink, options), sink.into_inner())
            }
            2 => {
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

    /// The dump has the pages that the filter leaves, and what is in them.
    fn same(&self, vmcore: &Vmcore, summary: &Summary) {
        vmcore.check(&Progress::new()).unwrap();
        assert!(vmcore.is_complete());
        assert_eq!(vmcore.pages(), summary.pages);
        if self.format.codec().is_some() {
            assert_eq!(vmcore.machine(), Some(self.machine));
        }
        let unit = summary.page_size;
        let (mut expected, mut read) = ([0; PAGE as usize], [0; PAGE as usize]);
        let mut in_dump = 0;
        for (gpa, page) in self.guest.pages() {
            let frame = gpa - gpa % unit;
            let wanted = self.filter.is_none_or(|(begin, length)| {
                frame < begin.saturating_add(length) && begin < frame + unit
            });
            let found = vmcore.read(gpa, &mut read);
            assert_eq!(found.is_ok(), wanted, "{gpa:#x}: {found:?}");
            if wanted {
                page.fill(&mut expected);
                assert!(read == expected, "the page at {gpa:#x}");
                in_dump += PAGE;
            }
        }
        // kdump's pages are whole, with zeroes where there is no RAM.
        let total: u64 = vmcore.ranges().iter().map(MemoryRange::size).sum();
        assert!(total >= in_dump && total == summary.bytes_total);
    }
}

//! A Linux guest's kernel as VMCOREINFO describes it, where either may lie:
//! its log, and which pages a dump level leaves out.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use guestdump::codec::Codec;
use guestdump::guest::linux::{DumpLevel, Exclusion, Kernel, KernelError};
use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::memory::{MemoryRange, is_zero};
use guestdump::read::{ReadAt, Vmcore};
use guestdump::sink::BufferSink;
use guestdump::{
    DumpOptions, GuestInfo, GuestMemory, KdumpOptions, Machine, Progress, Workers, dump,
};
use testkit::pieces::{self, Sparse};
use testkit::range;

use super::allocator::bounded;

/// What may be populated, in bytes. Memory that no piece touches takes no time.
const SIZE: u64 = 4 << 20;

/// A guest. The input's first bytes are the machine, a dump level and the
/// memory's layout, the number of lines of VMCOREINFO whose numbers are
/// changed, and VMCOREINFO's length; these changes, VMCOREINFO and pieces of
/// memory follow.
struct Guest {
    machine: Machine,
    level: DumpLevel,
    /// Whether a dump is made. If not, numbers of threads are compared.
    dump: bool,
    info: Vec<u8>,
    ram: Sparse,
    ranges: Vec<MemoryRange>,
    /// Reads of guest memory, and the bytes that they asked for.
    reads: AtomicU64,
    bytes: AtomicU64,
}

/// How the changed line's number is written, and the number.
const CHANGE: usize = 10;

impl Guest {
    fn parse(input: &[u8]) -> Option<Self> {
        let (&[machine, choice, changes, low, high], rest) = input.split_first_chunk::<5>()?;
        let changes = (usize::from(changes % 16) * CHANGE).min(rest.len());
        let (changes, rest) = rest.split_at(changes);
        let len = usize::from(u16::from_le_bytes([low, high]));
        let (info, rest) = rest.split_at(len.min(rest.len()));
        let mut info = info.to_vec();
        for change in changes.chunks_exact(CHANGE) {
            info = with_number(&info, change[0], change[1], &change[2..]);
        }
        let ranges: &[(u64, u64)] = match choice >> 5 & 3 {
            0 => &[(0, SIZE)],
            1 => &[(0, 0xa_0000), (1 << 20, SIZE - (1 << 20))],
            // What is not populated is zero.
            2 => &[(0, SIZE), (1 << 32, 1 << 20)],
            _ => &[(0x1000, 0x20_3000), (0x20_5000, 0x1f_b000)],
        };
        Some(Self {
            machine: Machine::ALL[usize::from(machine) % Machine::ALL.len()],
            level: DumpLevel::new(choice & 31).unwrap(),
            dump: choice >= 0x80,
            info,
            ram: Sparse::new(&pieces::decode(rest)).with_len(SIZE),
            ranges: ranges
                .iter()
                .map(|(start, size)| range(*start, *size))
                .collect(),
            reads: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        })
    }

    fn info(&self) -> GuestInfo {
        GuestInfo::new(self.machine).vmcoreinfo(VmcoreinfoSource::Bytes(self.info.clone()))
    }

    fn kernel<'a>(&'a self, workers: &'a Workers) -> Option<Kernel<'a>> {
        match Kernel::find(self, &self.info(), workers) {
            Ok(kernel) => Some(kernel),
            Err(error) => {
                assert!(!matches!(error, KernelError::Fault(_)), "{error}");
                None
            }
        }
    }

    /// Whether a piece is in the page.
    fn is_touched(&self, gpa: u64) -> bool {
        let within = range(gpa, 4096);
        self.next_populated(within).unwrap().is_some()
    }

    fn size(&self) -> u64 {
        self.ranges.iter().map(MemoryRange::size).sum()
    }
}

impl GuestMemory for Guest {
    fn ranges(&self) -> Vec<MemoryRange> {
        self.ranges.clone()
    }

    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(buf.len() as u64, Ordering::Relaxed);
        let len = buf.len() as u64;
        assert!(
            self.ranges.iter().any(|range| range.contains(gpa, len)),
            "{len} bytes at {gpa:#x} are no RAM"
        );
        if gpa < SIZE {
            self.ram.read_at(gpa, buf)?;
        } else {
            buf.fill(0);
        }
        Ok(())
    }

    fn next_populated(&self, within: MemoryRange) -> io::Result<Option<MemoryRange>> {
        let end = within.end().min(SIZE);
        if within.start() >= end {
            return Ok(None);
        }
        let data = self.ram.next_data(within.start(), end)?;
        Ok(data.map(|data| range(data.start, data.end - data.start)))
    }
}

/// The text with another number behind the `=` of a line.
fn with_number(text: &[u8], line: u8, how: u8, number: &[u8]) -> Vec<u8> {
    let number = u64::from_le_bytes(number.try_into().unwrap());
    let number = match how % 4 {
        0 => format!("{number}"),
        1 => format!("{number:x}"),
        2 => format!("{}", number as i64),
        _ => format!("{}", number % 256),
    };
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    let changed = usize::from(line) % lines.len();
    let mut all = Vec::new();
    for (n, line) in lines.iter().enumerate() {
        let key = line.iter().position(|byte| *byte == b'=');
        match key.filter(|_| n == changed) {
            Some(key) => all.push([&line[..=key], number.as_bytes()].concat()),
            None => all.push(line.to_vec()),
        }
    }
    all.join(&b'\n')
}

pub fn log(input: &[u8]) {
    let Some(guest) = Guest::parse(input) else {
        return;
    };
    let workers = Workers::new();
    // A record's text, the guest's addresses and VMCOREINFO.
    bounded(2 << 20, || {
        if let Some(kernel) = guest.kernel(&workers) {
            let first = records(&guest, &kernel);
            // Nothing depends on what was read before.
            assert_eq!(records(&guest, &kernel), first);
        }
    });
}

/// Number of records, a sum of them, and the error at the end.
fn records(guest: &Guest, kernel: &Kernel<'_>) -> (u64, u64, Option<String>) {
    let reads = guest.reads.load(Ordering::Relaxed);
    let (mut count, mut sum, mut text, mut failed) = (0u64, 0u64, 0u64, None);
    match kernel.log() {
        Err(error) => failed = Some(error.to_string()),
        Ok(mut log) => {
            for record in log.by_ref() {
                match record {
                    Err(error) => failed = Some(error.to_string()),
                    Ok(record) => {
                        assert_eq!(failed, None);
                        let printed = record.with_caller().to_string();
                        let plain = |c| matches!(c, '\n' | '\t' | ' '..='~');
                        assert!(printed.chars().all(plain), "{printed:?}");
                        count += 1;
                        text += record.text.len() as u64;
                        for byte in printed.bytes() {
                            sum = sum.wrapping_mul(31).wrapping_add(byte.into());
                        }
                    }
                }
            }
            assert!(log.next().is_none());
        }
    }
    // What is there once is read once, by page tables of five levels.
    let size = guest.size();
    assert!(text <= size && count <= size / 12, "{count}: {text}");
    let reads = guest.reads.load(Ordering::Relaxed) - reads;
    assert!(reads <= size, "{reads} reads");
    (count, sum, failed)
}

pub fn pages(input: &[u8]) {
    let Some(guest) = Guest::parse(input) else {
        return;
    };
    if guest.dump {
        dumped(&guest);
    } else {
        assert_eq!(exclusion(&guest, 1), exclusion(&guest, 3));
    }
}

/// What is left out, or why that cannot be told.
fn exclusion(guest: &Guest, threads: usize) -> Option<Result<String, String>> {
    let workers = Workers::new().threads(threads);
    let before = guest.bytes.load(Ordering::Relaxed);
    // The `struct page`s of 4096 page frames for each thread.
    let found = bounded((4 << 20) + threads * (2 << 20), || {
        let kernel = guest.kernel(&workers)?;
        let page_size = kernel.vmcoreinfo().page_size();
        let page_size = page_size
            .filter(|size| guest.machine.page_sizes().contains(size))
            .unwrap_or_else(|| guest.machine.default_page_size());
        Some(match kernel.exclusion(guest.level) {
            Ok(exclusion) => Ok(sound(guest, &exclusion, page_size)),
            Err(error @ (KernelError::Fault(_) | KernelError::Ranges(_))) => panic!("{error}"),
            Err(error) => Err(error.to_string()),
        })
    });
    // Each `struct page` once, by page tables of five levels.
    let bytes = guest.bytes.load(Ordering::Relaxed) - before;
    assert!(bytes <= guest.size(), "{bytes} bytes");
    found
}

/// A dump with the level has all other pages, but for zeroes.
fn dumped(guest: &Guest) {
    let workers = Workers::new();
    let Some(kernel) = guest.kernel(&workers) else {
        return;
    };
    let Ok(exclusion) = kernel.exclusion(guest.level) else {
        return;
    };
    let mut sink = BufferSink::new();
    let format = KdumpOptions::raw(Codec::Snappy).dump_level(guest.level);
    let with_level = DumpOptions::new(guest.info(), format);
    let summary = match dump(guest, &mut sink, &with_level) {
        Ok(summary) => summary,
        Err(error) => return assert!(error.is_refusal(), "{error}"),
    };
    let vmcore = Vmcore::open(sink.into_bytes()).unwrap();
    vmcore.check(&Progress::new()).unwrap();
    let unit = summary.page_size;
    let left_out: Vec<_> = exclusion.ranges().collect();
    let there = vmcore.ranges();
    let (mut page, mut read) = ([0; 4096], [0; 4096]);
    for range in &guest.ranges {
        for gpa in (range.start()..range.end()).step_by(4096) {
            let frame = gpa / unit;
            let next = left_out.partition_point(|frames| frames.end <= frame);
            let is_left_out = left_out.get(next).is_some_and(|f| f.contains(&frame));
            let next = there.partition_point(|range| range.end() <= gpa);
            let is_there = there.get(next).is_some_and(|r| r.contains(gpa, 4096));
            assert!(!(is_left_out && is_there), "{gpa:#x} should not be there");
            // All pages that nothing touches are alike: a few are read.
            if is_left_out || !guest.is_touched(gpa) && gpa >> 12 & 15 != 0 {
                assert!(is_left_out || is_there || guest.level.has(DumpLevel::ZERO));
                continue;
            }
            guest.read(gpa, &mut page).unwrap();
            match vmcore.read(gpa, &mut read) {
                Ok(()) => assert!(is_there && read == page, "the page at {gpa:#x}"),
                Err(error) => assert!(
                    !is_there && guest.level.has(DumpLevel::ZERO) && is_zero(&page),
                    "{gpa:#x}: {error}"
                ),
            }
        }
    }
}

/// All of it is RAM, ascends and is counted.
fn sound(guest: &Guest, exclusion: &Exclusion, page_size: u64) -> String {
    let (mut frames, mut end) = (0, 0);
    for range in exclusion.ranges() {
        assert!(end <= range.start && range.start < range.end);
        end = range.end;
        frames += range.end - range.start;
        for frame in range {
            let (first, behind) = (frame * page_size, (frame + 1) * page_size);
            let is_ram = |ram: &MemoryRange| ram.start() < behind && first < ram.end();
            assert!(guest.ranges.iter().any(is_ram), "frame {frame:#x}");
        }
    }
    assert_eq!(exclusion.counts().total(), frames);
    let ranges: Vec<_> = exclusion.ranges().collect();
    format!("{:?} {ranges:?}", exclusion.counts())
}

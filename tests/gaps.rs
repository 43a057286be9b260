//! Guests with terabytes of nothing between their RAM, and with very many
//! ranges of RAM: the dump, and what it takes, is in proportion to the RAM.
//! Alone in its process, so that the peak of memory is this test's.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use guestdump::arch::x86_64::Registers;
use guestdump::elf::PT_LOAD;
use guestdump::guest::paging::Budget;
use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::memory::MemoryRange;
use guestdump::read::{Headers, Vmcore};
use guestdump::sink::{FileSink, FileSinkOptions, StreamSink};
use guestdump::{
    DumpOptions, ElfOptions, Format, GuestInfo, GuestMemory, Machine, Progress, Summary, dump,
};
use testkit::peak::peak_memory;
use testkit::range;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const STEP: u64 = 16 * 4096;

/// RAM of which the guest has touched every 16th page, where each word is its
/// guest-physical address, and its page tables.
struct Ram {
    ranges: Vec<MemoryRange>,
    /// Pages of zeroes with one word in each: by guest-physical address, its
    /// index and the word.
    tables: HashMap<u64, (u64, u64)>,
}

fn ram(ranges: impl IntoIterator<Item = (u64, u64)>) -> Ram {
    Ram {
        ranges: ranges
            .into_iter()
            .map(|(start, size)| range(start, size))
            .collect(),
        tables: HashMap::new(),
    }
}

impl GuestMemory for Ram {
    fn ranges(&self) -> Vec<MemoryRange> {
        self.ranges.clone()
    }
    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        for (page, bytes) in (gpa..).step_by(4096).zip(buf.chunks_mut(4096)) {
            let table = self.tables.get(&page);
            for (index, bytes) in (0..).zip(bytes.chunks_exact_mut(8)) {
                let word = match table {
                    None if page % STEP == 0 => page + index * 8,
                    Some((at, word)) if *at == index => *word,
                    _ => 0,
                };
                bytes.copy_from_slice(&word.to_le_bytes());
            }
        }
        Ok(())
    }
    fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
        let mut pages = (range.start()..range.end()).step_by(4096);
        let page = pages.find(|page| page % STEP == 0 || self.tables.contains_key(page));
        Ok(page.map(|page| MemoryRange::new(page, 4096).unwrap()))
    }
}

fn options(format: Format) -> DumpOptions {
    DumpOptions::new(
        GuestInfo::new(Machine::X86_64).vmcoreinfo(VmcoreinfoSource::None),
        format,
    )
}

/// Writes a dump: a flattened one as a stream.
fn write(memory: &Ram, path: &Path, options: &DumpOptions, format: Format) -> Summary {
    if format == Format::Elf || format.needs_positions() {
        let mut sink = FileSink::create(path, FileSinkOptions::default()).unwrap();
        dump(memory, &mut sink, options).unwrap()
    } else {
        let mut sink = StreamSink::new(File::create(path).unwrap());
        dump(memory, &mut sink, options).unwrap()
    }
}

/// Opens, checks and reads what has been written.
fn read_back(memory: &Ram, path: &Path) -> Vmcore {
    let vmcore = Vmcore::open(File::open(path).unwrap()).unwrap();
    let report = vmcore.check(&Progress::new()).unwrap();
    assert_eq!(report.excluded_pages, 0);
    assert_eq!(vmcore.ranges(), memory.ranges);
    let (mut read, mut expected) = ([0; 4096], [0; 4096]);
    for range in memory.ranges.iter().step_by(1 + memory.ranges.len() / 100) {
        for gpa in [range.start(), range.end() - 4096] {
            vmcore.read(gpa, &mut read).unwrap();
            memory.read(gpa, &mut expected).unwrap();
            assert!(read == expected, "{gpa:#x}");
        }
    }
    vmcore
}

/// max_mapnr, phys_base.
fn kdump_header(vmcore: &Vmcore) -> Option<(u64, u64)> {
    match vmcore.headers() {
        Headers::Kdump { sub, .. } => Some((sub.max_mapnr_64, sub.phys_base)),
        _ => None,
    }
}

#[test]
fn gaps_of_terabytes_cost_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let guests = [
        (Machine::Riscv64, 4096, ram([(2 * GIB, MIB)]), 2 * GIB),
        (Machine::X86_64, 4096, ram([(0, MIB), (TIB, MIB)]), 0),
        (Machine::X86_64, 4096, ram([(0, MIB), (64 * TIB, MIB)]), 0),
        // Nothing but a gap before it.
        (Machine::Aarch64, 4096, ram([(16 * TIB, MIB)]), 16 * TIB),
        (
            Machine::Aarch64,
            65536,
            ram([(0, MIB), (256 * TIB, MIB)]),
            0,
        ),
    ];
    for (machine, page_size, memory, phys_base) in &guests {
        for format in Format::available().filter(|f| !f.is_windows()) {
            let begun = Instant::now();
            let path = folder.path().join(format.name());
            let info = format!("OSRELEASE=6.1.0\nNUMBER(phys_ram_base)={phys_base:#x}\n");
            let guest = GuestInfo::new(*machine)
                .page_size(*page_size)
                .vmcoreinfo(VmcoreinfoSource::Bytes(info.into_bytes()));
            let options = DumpOptions::new(guest, format).threads(2);
            write(memory, &path, &options, format);
            let on_disk = std::fs::metadata(&path).unwrap().blocks() * 512;
            assert!(on_disk < 8 * MIB, "{format}: {on_disk} bytes");
            let vmcore = read_back(memory, &path);
            if let Some((max_mapnr, written)) = kdump_header(&vmcore) {
                let end = memory.ranges.last().unwrap().end();
                assert_eq!(max_mapnr, end / page_size);
                assert_eq!(written, *phys_base);
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{format}");
            std::fs::remove_file(&path).unwrap();
        }
    }
    assert!(peak_memory() < 128, "{} MiB", peak_memory());
}

#[test]
fn seventy_thousand_ranges_take_bounded_time_and_memory_in_every_format() {
    const COUNT: u64 = 70_000;
    let begun = Instant::now();
    let folder = tempfile::tempdir().unwrap();
    let mut memory = ram((0..COUNT).map(|i| (i * 0x2000, 0x1000)));
    for format in Format::available().filter(|f| !f.is_windows()) {
        let path = folder.path().join(format.name());
        write(&memory, &path, &options(format).threads(2), format);
        read_back(&memory, &path);
        std::fs::remove_file(&path).unwrap();
    }
    // Page tables in the first two ranges: one page of 1 GiB has them all.
    memory.tables = HashMap::from([(0, (256, 0x2001)), (0x2000, (0, 0x81))]);
    let cpu = Registers {
        cr0: 0x8000_0001,
        cr4: 0x20,
        // CR3 is 0, and has a flag.
        cr3: 0x8,
        ..Registers::default()
    };
    let guest = GuestInfo::new(Machine::X86_64)
        .vmcoreinfo(VmcoreinfoSource::None)
        .cpus([cpu]);
    let paging = DumpOptions::new(guest, ElfOptions::new().paging(Budget::default()));
    let path = folder.path().join("paging");
    for (filter, ranges) in [
        (None, COUNT),
        (Some((20_000 * 0x2000, 10_000 * 0x2000)), 10_000),
    ] {
        let options = match filter {
            Some((begin, length)) => paging.clone().filter(begin, length),
            None => paging.clone(),
        };
        let summary = write(&memory, &path, &options, Format::Elf);
        let paging = summary.paging.unwrap();
        assert_eq!((paging.mappings, paging.partial), (ranges, false));
        let vmcore = Vmcore::open(File::open(&path).unwrap()).unwrap();
        let Headers::Elf {
            program_headers, ..
        } = vmcore.headers()
        else {
            panic!("not ELF");
        };
        let loads = program_headers.iter().filter(|h| h.kind == PT_LOAD);
        assert_eq!(loads.count() as u64, 2 * ranges);
        assert_eq!(vmcore.ranges().len() as u64, ranges);
        vmcore.check(&Progress::new()).unwrap();
        std::fs::remove_file(&path).unwrap();
    }
    // A quadratic step takes minutes.
    assert!(begun.elapsed() < Duration::from_secs(120));
    assert!(peak_memory() < 128, "{} MiB", peak_memory());
}

//! Whole dumps: what is refused, that threads and sinks make no difference,
//! and what happens when memory or sink fail.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io;

use guestdump::guest::vmcoreinfo::{Origin, VmcoreinfoError, VmcoreinfoSource};
use guestdump::memory::{MemoryRange, RangeError};
use guestdump::read::Vmcore;
use guestdump::sink::{BufferSink, StreamSink};
use guestdump::{
    DumpOptions, Error, Fault, Format, GuestInfo, GuestMemory, Machine, Progress, Refusal, arch,
    dump,
};
use testkit::options::With;
use testkit::windows::{given, header_64};
use testkit::{
    FaultySink, PAGE, Page, PageMemory, linux_formats, open, range, slice_memory, slices, to_buffer,
};

/// Two ranges with a gap, every kind of page, more than one chunk.
fn guest() -> PageMemory {
    use Page::{Random, Text, Untouched, Zero};
    let mut low: Vec<Page> = vec![Text(1), Zero, Random(2), Untouched, Untouched, Text(3)];
    for i in 0..700u32 {
        low.push(match i % 7 {
            0 | 1 => Zero,
            2 => Untouched,
            3 => Random(i as u8),
            _ => Text(i as u8),
        });
    }
    PageMemory::new([
        (0x1000, low),
        (0x4000_0000, vec![Zero; 3]),
        (0x1_0000_0000, vec![Untouched, Text(9), Untouched]),
    ])
}

fn options(format: Format) -> DumpOptions {
    given(&*header_64(0x1000)).options(
        GuestInfo::new(Machine::X86_64)
            .vmcoreinfo(VmcoreinfoSource::Bytes(
                b"OSRELEASE=6.1.0\nPAGESIZE=4096\n".to_vec(),
            ))
            .cpus(vec![arch::x86_64::Registers::default(); 2]),
        format,
    )
}

fn to_stream(memory: &dyn GuestMemory, options: &DumpOptions) -> Vec<u8> {
    let mut sink = StreamSink::new(Vec::new());
    let summary = dump(memory, &mut sink, options).unwrap();
    let bytes = sink.into_inner();
    assert_eq!(summary.bytes_written, bytes.len() as u64);
    bytes
}

#[test]
fn the_summary_counts_pages() {
    let guest = guest();
    let zero = |page| matches!(page, Page::Zero | Page::Untouched);
    let zeroes = guest.pages().filter(|(_, page)| zero(*page)).count() as u64;
    for format in linux_formats() {
        let (bytes, summary) = to_buffer(&guest, &options(format).threads(3));
        assert_eq!(summary.pages, 712, "{format}");
        assert_eq!(summary.zero_pages, zeroes, "{format}");
        assert_eq!(summary.bytes_total, 712 * PAGE);
        assert_eq!(summary.threads, 3);
        let located = summary.vmcoreinfo.unwrap();
        assert_eq!(located.info.osrelease(), "6.1.0");
        assert_eq!(located.origin, Origin::Given);
        if format == Format::Elf || format.needs_positions() {
            assert_eq!(summary.file_size, bytes.len() as u64, "{format}");
        }
    }
}

#[test]
fn threads_and_kinds_of_memory_make_no_difference() {
    let guest = guest();
    let owned = slices(&guest);
    let in_place = slice_memory(&owned);
    for format in Format::available() {
        let (one, _) = to_buffer(&guest, &options(format));
        for threads in [2, 3, 8] {
            let (more, _) = to_buffer(&guest, &options(format).threads(threads));
            assert!(one == more, "{format} on {threads} threads");
        }
        let (sliced, _) = to_buffer(&in_place, &options(format).threads(2));
        assert!(one == sliced, "{format} in place");
    }
}

#[test]
fn streams_and_awkward_sinks_get_the_same_bytes() {
    let guest = guest();
    for format in Format::available() {
        let options = options(format).threads(2);
        let (expected, _) = to_buffer(&guest, &options);
        for stream in [false, true] {
            if stream && format.needs_positions() {
                continue;
            }
            let mut awkward = FaultySink {
                stream,
                short_writes: true,
                ..FaultySink::default()
            };
            dump(&guest, &mut awkward, &options).unwrap();
            assert!(awkward.finished);
            assert!(awkward.into_bytes() == expected, "{format}");
        }
        if !format.needs_positions() {
            assert!(to_stream(&guest, &options) == expected, "{format}");
        }
    }
}

#[test]
fn raw_formats_are_refused_for_streams_and_the_error_names_the_other() {
    for format in Format::available().filter(|f| f.needs_positions()) {
        let mut sink = StreamSink::new(Vec::new());
        let error = dump(&guest(), &mut sink, &options(format)).unwrap_err();
        assert!(error.is_refusal());
        let flattened = format.streamable();
        assert!(
            matches!(error, Error::Refused(Refusal::NeedsPositions { instead, .. }) if instead == flattened)
        );
        assert!(error.to_string().contains(flattened.name()), "{error}");
        assert!(sink.into_inner().is_empty());
    }
}

struct Ranges(Vec<MemoryRange>);

impl GuestMemory for Ranges {
    fn ranges(&self) -> Vec<MemoryRange> {
        self.0.clone()
    }
    fn read(&self, gpa: u64, _: &mut [u8]) -> io::Result<()> {
        panic!("{gpa:#x} is read");
    }
    fn next_populated(&self, _: MemoryRange) -> io::Result<Option<MemoryRange>> {
        Ok(None)
    }
}

#[test]
fn what_is_refused_writes_nothing() {
    let good = || Ranges(vec![range(0, 0x4000)]);
    let overlapping = Ranges(vec![range(0, 0x4000), range(0x3000, 0x4000)]);
    let unsorted = Ranges(vec![range(0x8000, 0x4000), range(0, 0x4000)]);
    let none = Ranges(vec![]);
    let note = |gpa, size| VmcoreinfoSource::NoteAt { gpa, size };
    for format in linux_formats() {
        let guest = || GuestInfo::new(Machine::X86_64).vmcoreinfo(VmcoreinfoSource::None);
        let of = |guest| DumpOptions::new(guest, format);
        let base = || of(guest());
        let sized = |size| of(guest().page_size(size));
        let with = |source| of(guest().vmcoreinfo(source));
        let bytes = VmcoreinfoSource::Bytes(b"hello".to_vec());
        type Expected = fn(&Refusal) -> bool;
        let vmcoreinfo: Expected = |refusal| matches!(refusal, Refusal::Vmcoreinfo(_));
        let cases: [(Expected, _, _); 11] = [
            (
                |r| matches!(r, Refusal::Ranges(RangeError::Overlap { .. })),
                &overlapping,
                base(),
            ),
            (
                |r| matches!(r, Refusal::Ranges(RangeError::Unsorted { .. })),
                &unsorted,
                base(),
            ),
            (
                |r| matches!(r, Refusal::Ranges(RangeError::NoRanges)),
                &none,
                base(),
            ),
            (|r| matches!(r, Refusal::PageSize(0)), &good(), sized(0)),
            (
                |r| matches!(r, Refusal::PageSize(5000)),
                &good(),
                sized(5000),
            ),
            (
                |r| matches!(r, Refusal::PageSize(131_072)),
                &good(),
                sized(131_072),
            ),
            (
                |r| matches!(r, Refusal::EmptyFilter { begin: 0x10000, .. }),
                &good(),
                base().filter(0x10000, 0x1000),
            ),
            (
                |r| matches!(r, Refusal::EmptyFilter { length: 0, .. }),
                &good(),
                base().filter(0, 0),
            ),
            (vmcoreinfo, &good(), with(bytes)),
            (vmcoreinfo, &good(), with(note(0, 4 << 30))),
            (vmcoreinfo, &good(), with(VmcoreinfoSource::FwCfg([0; 16]))),
        ];
        for (expected, memory, options) in cases {
            let mut sink = FaultySink::default();
            let error = dump(memory, &mut sink, &options).unwrap_err();
            assert!(error.is_refusal(), "{error}");
            assert!(
                matches!(&error, Error::Refused(refusal) if expected(refusal)),
                "{error}"
            );
            assert_eq!(sink.calls.load(std::sync::atomic::Ordering::Relaxed), 0);
            assert!(!sink.finished);
        }
    }
}

#[test]
fn more_notes_than_a_reader_would_take_are_refused() {
    let memory = Ranges(vec![range(0, 0x4000)]);
    let options = DumpOptions::new(
        GuestInfo::new(Machine::X86_64)
            .vmcoreinfo(VmcoreinfoSource::None)
            .raw_notes(vec![0xff; (128 << 20) + 4]),
        Format::Elf,
    );
    let mut sink = FaultySink::default();
    let error = dump(&memory, &mut sink, &options).unwrap_err();
    assert!(
        matches!(error, Error::Refused(Refusal::NotesTooLarge { .. })),
        "{error}"
    );
    assert!(error.is_refusal());
    assert_eq!(sink.len(), 0);
}

#[test]
fn untouched_memory_is_never_read() {
    // `Ranges` panics when it is read.
    let memory = Ranges(vec![range(0, 8 << 30), range(1 << 40, 1 << 20)]);
    for format in Format::available().filter(|f| f.needs_positions()) {
        let (_, summary) = to_buffer(
            &memory,
            &DumpOptions::new(GuestInfo::new(Machine::X86_64), format).threads(2),
        );
        assert_eq!(summary.pages, summary.zero_pages);
        assert!(summary.vmcoreinfo.is_none());
    }
}

#[test]
fn an_unfinished_file_says_so() {
    let guest = PageMemory {
        poisoned: Some(0x4000_1000),
        ..guest()
    };
    for format in Format::available() {
        let mut sink = FaultySink::default();
        let error = dump(&guest, &mut sink, &options(format).threads(2)).unwrap_err();
        match &error {
            // The first page that cannot be read.
            Error::Failed(Fault::Read { gpa, .. }) => assert_eq!(*gpa, 0x4000_1000),
            other => panic!("{other}"),
        }
        let bytes = sink.into_bytes();
        match format {
            // e_flags is 1.
            Format::Elf => assert_eq!(bytes[48], 1),
            // There is no signature.
            windows if windows.is_windows() => assert_eq!(bytes[..4], [0; 4]),
            // status has the bit 0x8.
            raw if raw.needs_positions() => assert_eq!(bytes[424] & 8, 8),
            // The end record is missing.
            _ => assert_ne!(bytes[bytes.len() - 16..], [0xff; 16]),
        }
    }
}

#[test]
fn a_panicking_memory_is_an_error_and_nobody_hangs() {
    let guest = PageMemory {
        explosive: Some(0x20_0000),
        ..guest()
    };
    for threads in [1, 2, 4] {
        let options = options(Format::Elf).threads(threads);
        let error = dump(&guest, &mut BufferSink::new(), &options).unwrap_err();
        assert!(
            matches!(error, Error::Failed(Fault::Panicked(text)) if text.contains("explosive"))
        );
    }
}

#[test]
fn a_guest_cannot_make_the_note_larger_than_it_is() {
    let guest = PageMemory::new([(0, vec![Page::Text(1); 8])]);
    for (gpa, size) in [(0x7000, 0x2000), (u64::MAX, 16), (0x8000, 16)] {
        let options = DumpOptions::new(
            GuestInfo::new(Machine::X86_64).vmcoreinfo(VmcoreinfoSource::NoteAt { gpa, size }),
            Format::Elf,
        );
        let error = dump(&guest, &mut BufferSink::new(), &options).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Refused(Refusal::Vmcoreinfo(
                    VmcoreinfoError::Unreadable { .. } | VmcoreinfoError::TooLarge { .. }
                ))
            ),
            "{error}"
        );
    }
}

#[test]
fn seventy_thousand_ranges_take_section_header_zero() {
    let count = 70_000u64;
    let memory = Ranges((0..count).map(|i| range(i * 0x2000, 0x1000)).collect());
    let options = DumpOptions::new(
        GuestInfo::new(Machine::X86_64).vmcoreinfo(VmcoreinfoSource::None),
        Format::Elf,
    );
    let (bytes, _) = to_buffer(&memory, &options);
    let u16_at = |at: usize| u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap());
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    assert_eq!(u16_at(56), 0xffff); // e_phnum
    assert_eq!(u16_at(60), 1); // e_shnum
    let section = u64_at(40) as usize; // e_shoff
    assert_eq!(section as u64, 64 + 56 * (count + 1));
    let info = u32::from_le_bytes(bytes[section + 44..section + 48].try_into().unwrap());
    assert_eq!(u64::from(info), count + 1);
    // The last program header is the last range's.
    let last = section - 56;
    assert_eq!(u64_at(last + 24), (count - 1) * 0x2000);
    assert_eq!(bytes.len() as u64, u64_at(last + 8) + 0x1000);
    // One fewer than the escape value needs no section.
    let memory = Ranges((0..0xfffd).map(|i| range(i * 0x2000, 0x1000)).collect());
    let (bytes, _) = to_buffer(&memory, &options);
    assert_eq!(u16::from_le_bytes([bytes[56], bytes[57]]), 0xfffe);
    assert_eq!(bytes[40..48], [0; 8]);
}

/// A guest whose VMCOREINFO names an address in untouched memory.
struct Baiting(PageMemory);

impl GuestMemory for Baiting {
    fn ranges(&self) -> Vec<MemoryRange> {
        self.0.ranges()
    }
    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        self.0.read(gpa, buf)?;
        let text = b"OSRELEASE=6.1.0\nSYMBOL(init_uts_ns)=ffffffff80003000\n\
            OFFSET(uts_namespace.name)=0\nNUMBER(phys_base)=0\n\0";
        for (at, byte) in (gpa..).zip(buf) {
            if let Some(&bait) = text.get(at.wrapping_sub(0x1000) as usize) {
                *byte = bait;
            }
        }
        Ok(())
    }
    fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
        self.0.next_populated(range)
    }
}

#[test]
fn a_guest_cannot_have_its_untouched_memory_read() {
    use Page::{Text, Untouched};
    // Page 1 has the text, which a scan reads at most 64 KiB of.
    let pages = vec![Untouched, Text(1), Untouched, Untouched, Text(2)];
    let guest = Baiting(PageMemory::new([(0, pages)]));
    for format in linux_formats() {
        let (_, summary) = to_buffer(
            &guest,
            &DumpOptions::new(GuestInfo::new(Machine::X86_64), format),
        );
        assert_eq!(summary.vmcoreinfo.unwrap().info.osrelease(), "6.1.0");
    }
    let note = VmcoreinfoSource::NoteAt {
        gpa: 0x2000,
        size: 0x1000,
    };
    let options = DumpOptions::new(
        GuestInfo::new(Machine::X86_64).vmcoreinfo(note),
        Format::Elf,
    );
    let error = dump(&guest, &mut BufferSink::new(), &options).unwrap_err();
    assert!(
        matches!(error, Error::Refused(Refusal::Vmcoreinfo(_))),
        "{error}"
    );
}

#[test]
fn no_more_threads_than_there_is_work() {
    let guest = PageMemory::new([(0, vec![Page::Text(1); 300])]);
    let (_, summary) = to_buffer(&guest, &options(Format::Elf).threads(100_000));
    assert_eq!(summary.threads, 2);
}

#[test]
fn pages_larger_than_the_hosts_are_read_back() {
    use std::os::unix::fs::FileExt;
    let guest = PageMemory::new([
        (0, guest().ranges[0].1[..64].to_vec()),
        (0x100_0000, guest().ranges[0].1[..32].to_vec()),
    ]);
    for format in linux_formats() {
        for page_size in [8192, 16384, 65536] {
            let (bytes, summary) = to_buffer(
                &guest,
                &options(format).with_guest(|guest| guest.page_size(page_size)),
            );
            assert_eq!(summary.pages, 96 * 4096 / page_size, "{format}");
            let file = tempfile::tempfile().unwrap();
            file.write_all_at(&bytes, 0).unwrap();
            let vmcore = Vmcore::open(file).unwrap();
            vmcore.check(&guestdump::Progress::new()).unwrap();
            let mut page = vec![0; 4096];
            for (gpa, expected) in guest.pages() {
                vmcore.read(gpa, &mut page).unwrap();
                assert!(page == expected.bytes(), "{format} {page_size} {gpa:#x}");
            }
        }
    }
}

#[test]
fn scattered_pages_are_written_together() {
    // 600 pages, no two of which touch.
    let memory = PageMemory::new((0..600).map(|i| (i * 0x2000, vec![Page::Text(i as u8)])));
    for format in Format::available().filter(|f| f.needs_positions()) {
        let mut sink = FaultySink::default();
        dump(&memory, &mut sink, &options(format)).unwrap();
        let calls = sink.calls.into_inner();
        assert!(calls < 16, "{calls} writes");
    }
}

/// RAM in part of the pages of 64 KiB: a hole of 4 KiB in the first one, and
/// nothing behind the first 8 KiB of the last.
fn guest_of_partial_pages() -> PageMemory {
    use Page::{Random, Text, Untouched, Zero};
    let mut first = vec![Text(1); 5];
    first.push(Untouched);
    let mut second = vec![Text(2), Zero];
    second.extend([Random(3); 8]);
    second.extend(vec![Text(4); 16]);
    PageMemory::new([
        (0x1000, first),
        (0x8000, second),
        (0x10_0000, vec![Text(5), Random(6)]),
    ])
}

#[test]
fn kdump_fills_pages_that_are_ram_in_part_with_zeroes() {
    let guest = guest_of_partial_pages();
    let owned = slices(&guest);
    let in_place = slice_memory(&owned);
    for format in Format::available().filter(|f| f.codec().is_some()) {
        let options = options(format)
            .with_guest(|guest| guest.page_size(65536))
            .threads(2);
        let (bytes, summary) = to_buffer(&guest, &options);
        assert!(to_buffer(&in_place, &options).0 == bytes, "{format}");
        assert_eq!((summary.pages, summary.page_size), (4, 65536));
        let vmcore = open(&bytes);
        let whole = [range(0, 0x3_0000), range(0x10_0000, 0x1_0000)];
        assert_eq!(vmcore.ranges(), whole);
        assert_eq!(vmcore.check(&Progress::new()).unwrap().pages, 4);
        for page in whole
            .iter()
            .flat_map(|r| (r.start()..r.end()).step_by(4096))
        {
            let mut read = vec![0xa5; 4096];
            vmcore.read(page, &mut read).unwrap();
            let expected = guest.page(page).unwrap_or(Page::Zero).bytes();
            assert!(read == expected, "{format} at {page:#x}");
        }
    }
}

#[test]
fn elf_makes_no_memory_up_for_pages_that_are_ram_in_part() {
    let guest = guest_of_partial_pages();
    let options = options(Format::Elf).with_guest(|guest| guest.page_size(65536));
    let (bytes, summary) = to_buffer(&guest, &options);
    assert_eq!((summary.pages, summary.page_size), (34, 4096));
    let vmcore = open(&bytes);
    assert_eq!(vmcore.ranges(), guest.ranges());
    vmcore.check(&Progress::new()).unwrap();
    for (gpa, page) in guest.pages() {
        let mut read = vec![0xa5; 4096];
        vmcore.read(gpa, &mut read).unwrap();
        assert!(read == page.bytes(), "{gpa:#x}");
    }
    // The same by way of a dump: kdump is in whole pages, whatever it is from.
    let Some(kdump) = Format::available().find(|f| f.needs_positions()) else {
        return;
    };
    let kdump = DumpOptions::new(
        GuestInfo::new(Machine::X86_64)
            .page_size(65536)
            .vmcoreinfo(VmcoreinfoSource::None),
        kdump,
    );
    let converted = to_buffer(&vmcore, &kdump).0;
    assert!(converted == to_buffer(&guest, &kdump).0);
    // A filter takes whole pages of kdump, of ELF only what is asked for.
    let elf = to_buffer(&guest, &options.filter(0x1_0000, 1)).0;
    assert_eq!(open(&elf).ranges(), [range(0x1_0000, 0x1000)]);
    let kdump = to_buffer(&guest, &kdump.filter(0x1_0000, 1)).0;
    assert_eq!(open(&kdump).ranges(), [range(0x1_0000, 0x1_0000)]);
}

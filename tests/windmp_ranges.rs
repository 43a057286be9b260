//! Windows dumps of types 8, 9 and 10, whose pages are in a list of ranges: the pages that this crate
//! finds are those that kdmp-parser, a reader that nobody here wrote, finds.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::Cursor;

use guestdump::memory::Lack;
use guestdump::read::{Headers, Vmcore};
use guestdump::sink::BufferSink;
use guestdump::windmp::{Header, RdmpHeader, Run};
use guestdump::{Class, Error, Format, GuestMemory, Progress, Refusal, dump};
use kdmp_parser::gxa::Gxa;
use kdmp_parser::parse::KernelDumpParser;
use kdmp_parser::phys;
use kdmp_parser::structs::DumpType;

const PAGE: u64 = 4096;
const LIST: usize = 0x2000 + RdmpHeader::SIZE;

/// Page frame and number of pages of each range. They do not ascend.
const RANGES: [(u64, u64); 5] = [(1, 3), (0x10_0000, 2), (0x10, 1), (0x11, 1), (0x1ad, 1)];

/// The addresses of the pages, as kdmp-parser finds them in the case of its issues 17, 20 and 35.
const PAGES: [u64; 8] = [
    0x1000,
    0x2000,
    0x3000,
    0x1_0000,
    0x1_1000,
    0x1a_d000,
    0x1_0000_0000,
    0x1_0000_1000,
];

/// A dump of this type with a page for each page frame; the page repeats its address.
fn make(dump_type: u32, ranges: &[(u64, u64)]) -> Vec<u8> {
    let first_page = 0x4000;
    let mut header = Header::new(Class::Bits64);
    header.set_dump_type(dump_type);
    header.set_number_processors(1);
    header.set_directory_table_base(0x1a_d000).unwrap();
    // As in a real dump, the header lists all memory of the guest.
    let all = [1..0x200, 0x10_0000..0x10_0100];
    header.set_runs(&all, 0x2ff).unwrap();
    let mut bytes = Vec::new();
    header.encode(&mut bytes);
    let total_pages = ranges.iter().map(|(_, count)| count).sum();
    let counts = dump_type == 10;
    let list = RdmpHeader {
        metadata_size: RdmpHeader::metadata_size_of(0x2000, first_page).unwrap(),
        first_page,
        number_of_ranges: if counts { ranges.len() as u32 } else { 0 },
        total_pages: if counts { total_pages } else { 0 },
    };
    list.encode(&mut bytes);
    for &(base_page, page_count) in ranges {
        let run = Run {
            base_page,
            page_count,
        };
        RdmpHeader::encode_range(run, &mut bytes);
    }
    bytes.resize(first_page as usize, 0);
    for (base, count) in ranges {
        for frame in *base..base + count {
            bytes.extend((frame * PAGE).to_le_bytes().repeat(512));
        }
    }
    bytes
}

fn pages_of_kdmp_parser(bytes: Vec<u8>) -> (DumpType, BTreeMap<u64, Vec<u8>>) {
    let parser = KernelDumpParser::with_reader(Cursor::new(bytes)).unwrap();
    let reader = phys::Reader::new(&parser);
    let pages = parser.physmem().map(|(gpa, _)| {
        let mut page = vec![0; PAGE as usize];
        reader.read_exact(gpa, &mut page).unwrap();
        (gpa.u64(), page)
    });
    (parser.dump_type(), pages.collect())
}

fn pages(vmcore: &Vmcore) -> BTreeMap<u64, Vec<u8>> {
    let ranges = vmcore.ranges();
    let gpas = ranges
        .iter()
        .flat_map(|range| (range.start()..range.end()).step_by(PAGE as usize));
    let page = |gpa| {
        let mut page = vec![0; PAGE as usize];
        vmcore.read(gpa, &mut page).unwrap();
        (gpa, page)
    };
    gpas.map(page).collect()
}

#[test]
fn kdmp_parser_finds_the_same_pages() {
    let types = [
        (8, DumpType::KernelMemory),
        (9, DumpType::KernelAndUserMemory),
        (10, DumpType::CompleteMemory),
    ];
    for (number, expected) in types {
        let bytes = make(number, &RANGES);
        let (found, theirs) = pages_of_kdmp_parser(bytes.clone());
        assert_eq!(found, expected);
        let vmcore = Vmcore::open(bytes).unwrap();
        let ours = pages(&vmcore);
        assert!(ours == theirs, "type {number}");
        assert!(ours.keys().copied().eq(PAGES));
        assert_eq!(ours[&0x1_0000_1000][..8], 0x1_0000_1000u64.to_le_bytes());
        let report = vmcore.check(&Progress::new()).unwrap();
        assert_eq!((report.pages, report.zero_pages), (8, 0));
        let Headers::WinDmp { header, .. } = vmcore.headers() else {
            panic!("type {number}");
        };
        assert_eq!(header.excludes().is_none(), number == 10);
        // The header lists 0x2ff pages of RAM.
        let absent = vmcore.coverage().absent_bytes();
        assert_eq!(absent, (0x2ff - 8) * PAGE);
    }
}

#[test]
fn a_full_list_ends_before_the_first_page() {
    // kdmp-parser takes the first bytes of the first page for one more range here.
    let ranges: Vec<_> = (0..(0x4000 - LIST as u64) / 16)
        .map(|n| (2 * n + 1, 1))
        .collect();
    let vmcore = Vmcore::open(make(8, &ranges)).unwrap();
    assert_eq!(vmcore.pages(), ranges.len() as u64);
    assert_eq!(pages(&vmcore).len(), ranges.len());
    let one_more = [&ranges[..], &[(0x10_0000, 1)]].concat();
    let mut bytes = make(10, &ranges);
    bytes[0x2028..0x2030].copy_from_slice(&(one_more.len() as u64).to_le_bytes());
    let error = Vmcore::open(bytes).unwrap_err().to_string();
    assert!(error.contains("their header says 0x1fe"), "{error}");
}

#[test]
fn a_range_at_page_frame_0_ends_the_list_whatever_its_count() {
    let ranges = [(1, 3), (0x10, 1), (0, 7), (0x20, 1)];
    let bytes = make(8, &ranges);
    let (_, theirs) = pages_of_kdmp_parser(bytes.clone());
    let ours = pages(&Vmcore::open(bytes).unwrap());
    assert!(ours == theirs);
    assert!(ours.keys().eq(&[0x1000, 0x2000, 0x3000, 0x1_0000]));
    // A dump of type 10 states how many pages there are.
    refused(make(10, &ranges), "their header says 0xc");
}

#[test]
fn other_formats_have_the_same_pages() {
    for number in [8, 9, 10] {
        let vmcore = Vmcore::open(make(number, &RANGES)).unwrap();
        for format in [Format::Elf, Format::WIN_DMP_BITMAP] {
            let options = vmcore.options(format).unwrap();
            let mut sink = BufferSink::new();
            dump(&vmcore, &mut sink, &options).unwrap();
            let again = Vmcore::open(sink.into_bytes()).unwrap();
            assert!(pages(&again) == pages(&vmcore), "{number} {format}");
        }
    }
}

fn written(vmcore: &Vmcore, format: Format) -> Vmcore {
    let mut sink = BufferSink::new();
    dump(vmcore, &mut sink, &vmcore.options(format).unwrap()).unwrap();
    Vmcore::open(sink).unwrap()
}

fn header_of(vmcore: &Vmcore) -> (&Header, [u8; 4]) {
    let Headers::WinDmp { header, bitmap } = vmcore.headers() else {
        panic!("no Windows dump");
    };
    (header, bitmap.unwrap().signature)
}

#[test]
fn a_bitmap_dump_shows_what_its_source_does_not_contain() {
    for (number, written_as, signature) in [(8, 6, b"SDMP"), (9, 5, b"FDMP"), (10, 5, b"FDMP")] {
        let source = Vmcore::open(make(number, &RANGES)).unwrap();
        let first = written(&source, Format::WIN_DMP_BITMAP);
        // What was written is a source again.
        let second = written(&first, Format::WIN_DMP_BITMAP);
        for dump in [first, second] {
            assert!(pages(&dump) == pages(&source), "type {number}");
            assert_eq!(dump.coverage(), source.coverage(), "type {number}");
            let (header, found) = header_of(&dump);
            assert_eq!(
                (header.dump_type(), &found),
                (written_as, signature),
                "type {number}"
            );
            let ram: u64 = header.runs().map(|run| run.page_count).sum();
            assert_eq!(ram, 0x2ff);
            dump.check(&Progress::new()).unwrap();
        }
    }
    // Nothing is absent, so the dump has all memory.
    let whole = make(8, &[(1, 0x1ff), (0x10_0000, 0x100)]);
    let whole = written(&Vmcore::open(whole).unwrap(), Format::WIN_DMP_BITMAP);
    assert_eq!(header_of(&whole).0.dump_type(), 5);
}

#[test]
fn a_full_dump_of_a_part_of_the_memory_is_refused() {
    for number in [8, 9, 10] {
        let source = Vmcore::open(make(number, &RANGES)).unwrap();
        let bitmap = written(&source, Format::WIN_DMP_BITMAP);
        for source in [source, bitmap] {
            let options = source.options(Format::WIN_DMP).unwrap();
            let error = dump(&source, &mut BufferSink::new(), &options).unwrap_err();
            let Error::Refused(Refusal::AbsentRam { bytes, instead, .. }) = error else {
                panic!("{error}");
            };
            assert_eq!((bytes, instead), (0x2f7 * PAGE, Format::WIN_DMP_BITMAP));
        }
    }
}

#[test]
fn absent_ram_in_more_pieces_than_a_header_has_is_refused() {
    // Pages apart from each other: 42 pieces, and one that is absent.
    let mut ranges: Vec<_> = (1..42).map(|n| (2 * n, 1)).collect();
    ranges.push((0x1ad, 1));
    let mut bytes = make(8, &ranges);
    let mut header = Header::decode(&bytes[..0x2000]).unwrap();
    header
        .set_runs(std::slice::from_ref(&(0x200..0x201)), 1)
        .unwrap();
    bytes[..0x2000].copy_from_slice(header.as_bytes());
    let source = Vmcore::open(bytes).unwrap();
    let options = source.options(Format::WIN_DMP_BITMAP).unwrap();
    let error = dump(&source, &mut BufferSink::new(), &options).unwrap_err();
    let refused = Refusal::AbsentRam {
        format: Format::WIN_DMP_BITMAP,
        bytes: PAGE,
        instead: Format::Elf,
    };
    assert_eq!(error.to_string(), Error::Refused(refused).to_string());
    assert_eq!(written(&source, Format::Elf).coverage(), source.coverage());
}

#[test]
fn a_part_of_the_memory_without_a_list_of_all_is_incomplete() {
    for number in [8, 9, 10] {
        for runs in [0u32, 0x4547_4150] {
            let mut bytes = make(number, &RANGES);
            bytes[0x88..0x8c].copy_from_slice(&runs.to_le_bytes());
            let vmcore = Vmcore::open(bytes).unwrap();
            assert_eq!(vmcore.coverage().absent, []);
            let names: Vec<_> = vmcore.coverage().lacks.iter().map(Lack::name).collect();
            if number == 10 {
                assert!(names.is_empty(), "{names:?}");
                continue;
            }
            assert_eq!(names, ["excludes"]);
            let error = vmcore.check(&Progress::new()).unwrap_err().to_string();
            assert!(error.contains("memory only: pages"), "{error}");
            for format in [Format::Elf, Format::WIN_DMP, Format::WIN_DMP_BITMAP] {
                let options = vmcore.options(format).unwrap();
                dump(&vmcore, &mut BufferSink::new(), &options).unwrap_err();
            }
            let options = vmcore.options(Format::Elf).unwrap().keep_incomplete(true);
            let mut sink = BufferSink::new();
            dump(&vmcore, &mut sink, &options).unwrap();
            assert!(!Vmcore::open(sink).unwrap().coverage().is_complete());
        }
    }
}

#[track_caller]
fn refused(bytes: Vec<u8>, what: &str) {
    let error = Vmcore::open(bytes).unwrap_err();
    assert!(error.to_string().contains(what), "{error}");
}

#[test]
fn hostile_lists_are_refused() {
    let with = |at: usize, word: u64| {
        let mut bytes = make(8, &RANGES);
        bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
        bytes
    };
    refused(
        with(0x2004, 0),
        "there is no header of page ranges, RDMPDUMP",
    );
    refused(with(0x2010, 0x1fd0), "which do not match");
    refused(with(0x2018, 0x2000), "which do not match");
    refused(with(0x2018, 0), "which do not match");
    refused(with(LIST + 8, u64::MAX), "leaves the address space");
    refused(with(LIST, u64::MAX / PAGE), "leaves the address space");
    refused(with(LIST, 0x10), "page ranges overlap");
    // A list that is said to be longer than the dump.
    let mut bytes = with(0x2018, 1 << 40);
    let size = RdmpHeader::metadata_size_of(0x2000, 1 << 40).unwrap();
    bytes[0x2010..0x2018].copy_from_slice(&size.to_le_bytes());
    refused(bytes, "cut short: the page ranges at offset 8240");
    // A 32-bit dump of such a type is not known.
    let mut bytes = make(8, &RANGES);
    bytes[4..8].copy_from_slice(b"DUMP");
    bytes[0x20..0x24].copy_from_slice(&0x14cu32.to_le_bytes());
    bytes[0xf88..0xf8c].copy_from_slice(&8u32.to_le_bytes());
    refused(bytes, "a 32-bit Windows dump of type 8");
}

#[test]
fn a_dump_cut_short_opens_and_its_check_fails() {
    let mut bytes = make(9, &RANGES);
    bytes.truncate(bytes.len() - 1);
    let vmcore = Vmcore::open(bytes).unwrap();
    let error = vmcore.check(&Progress::new()).unwrap_err();
    assert!(error.to_string().contains("cut short"), "{error}");
}

/// A list in a hole of 1 TiB takes neither memory nor time.
#[test]
#[cfg(feature = "file")]
fn a_sparse_file_claims_any_length() {
    use std::io::Write;
    let first_page = 1u64 << 40;
    let mut bytes = make(8, &[(1, 1)]);
    bytes.truncate(LIST + 32);
    bytes[0x2018..0x2020].copy_from_slice(&first_page.to_le_bytes());
    let size = RdmpHeader::metadata_size_of(0x2000, first_page).unwrap();
    bytes[0x2010..0x2018].copy_from_slice(&size.to_le_bytes());
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    file.set_len(first_page + PAGE).unwrap();
    assert_eq!(Vmcore::open(file).unwrap().pages(), 1);
}

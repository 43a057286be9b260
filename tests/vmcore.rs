//! What is written is read again: every format, sink and number of threads,
//! over random guests; and damaged dumps are errors, never panics.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs::File;

use guestdump::arch::x86_64::{Registers, decode_prstatus};
use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::read::{Headers, Vmcore, VmcoreError};
use guestdump::read::{RearrangeError, rearrange};
use guestdump::sink::{BufferSink, StreamSink};
use guestdump::{
    DumpOptions, Error, Format, GuestInfo, GuestMemory, Machine, Progress, Refusal, dump,
};
use proptest::prelude::*;
use testkit::windows::{given, header_64};
use testkit::{PAGE, Page, PageMemory, linux_formats, try_open as open, written};

fn options(format: Format) -> DumpOptions {
    given(&*header_64(0x1000)).options(
        GuestInfo::new(Machine::X86_64)
            .vmcoreinfo(VmcoreinfoSource::Bytes(
                b"OSRELEASE=6.1.0\nPAGESIZE=4096\n".to_vec(),
            ))
            .cpus([1, 2].map(|rip| Registers {
                rip,
                ..Registers::default()
            })),
        format,
    )
}

/// The same for a guest whose memory begins anywhere.
fn options_of(guest: &PageMemory, format: Format) -> DumpOptions {
    given(&*header_64(guest.ranges[0].0)).instead(options(format))
}

fn assert_same_memory(guest: &PageMemory, vmcore: &Vmcore) {
    let mut page = vec![0xa5; PAGE as usize];
    for (gpa, expected) in guest.pages() {
        vmcore.read(gpa, &mut page).unwrap();
        assert!(page == expected.bytes(), "{gpa:#x}");
    }
}

fn any_page() -> impl Strategy<Value = Page> {
    prop_oneof![
        2 => Just(Page::Zero),
        2 => Just(Page::Untouched),
        2 => any::<u8>().prop_map(Page::Text),
        1 => any::<u8>().prop_map(Page::Random),
    ]
}

/// Guests of up to six ranges, some of which touch.
fn any_guest() -> impl Strategy<Value = PageMemory> {
    let range = (0u64..600, prop::collection::vec(any_page(), 1..400));
    prop::collection::vec(range, 1..6).prop_map(|ranges| {
        let mut start = 0;
        PageMemory::new(ranges.into_iter().map(|(gap, pages)| {
            start += gap * PAGE;
            let range = (start, pages);
            start += range.1.len() as u64 * PAGE;
            range
        }))
    })
}

fn any_format() -> impl Strategy<Value = Format> {
    prop::sample::select(Format::available().collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_dump_reads_back(
        guest in any_guest(),
        format in any_format(),
        threads in 1usize..5,
        begin in 0u64..2000,
        length in prop::option::of(1u64..2000),
    ) {
        let mut options = options_of(&guest, format).threads(threads);
        if let Some(length) = length {
            options = options.filter(begin * PAGE, length * PAGE);
        }
        let mut sink = BufferSink::new();
        let summary = match dump(&guest, &mut sink, &options) {
            Err(Error::Refused(Refusal::EmptyFilter { .. })) => return Ok(()),
            result => result.unwrap(),
        };
        let vmcore = open(&sink.into_bytes()).unwrap();
        let inside = |gpa: u64| {
            length.is_none_or(|n| (begin..begin + n).contains(&(gpa / PAGE)))
        };
        let mut page = vec![0xa5; PAGE as usize];
        let mut pages = 0;
        for (gpa, expected) in guest.pages() {
            let read = vmcore.read(gpa, &mut page);
            if inside(gpa) {
                read.unwrap();
                prop_assert!(page == expected.bytes(), "{:#x}", gpa);
                pages += 1;
            } else {
                prop_assert!(read.is_err());
            }
        }
        prop_assert_eq!(summary.pages, pages);
        prop_assert_eq!(vmcore.pages(), pages);
        prop_assert_eq!(vmcore.raw_len(), summary.file_size);
        prop_assert_eq!(vmcore.cpus(), if format.is_windows() { 0 } else { 2 });
        prop_assert_eq!(vmcore.machine(), Some(Machine::X86_64));
        let report = vmcore.check(&Progress::new()).unwrap();
        prop_assert_eq!(report.zero_pages, summary.zero_pages);
        prop_assert_eq!(report.pages, summary.pages);
    }

    #[test]
    fn a_flattened_dump_rearranges_to_the_raw_one(
        guest in any_guest(),
        raw in prop::sample::select(
            Format::available().filter(|f| f.needs_positions()).collect::<Vec<_>>()
        ),
    ) {
        let expected = written(&guest, &options(raw));
        let mut stream = StreamSink::new(Vec::new());
        dump(&guest, &mut stream, &options(raw.streamable()).threads(2)).unwrap();
        let flattened = stream.into_inner();
        let mut sink = BufferSink::new();
        let len = rearrange(&mut &flattened[..], &mut sink, &Progress::new()).unwrap();
        prop_assert_eq!(len, expected.len() as u64);
        prop_assert!(sink.into_bytes() == expected);
    }

    #[test]
    fn reads_of_any_length_agree(
        guest in any_guest(),
        format in any_format(),
        at in any::<prop::sample::Index>(),
        len in 1usize..20_000,
    ) {
        let vmcore = open(&written(&guest, &options_of(&guest, format))).unwrap();
        let pages: Vec<u64> = guest.pages().map(|(gpa, _)| gpa).collect();
        let gpa = pages[at.index(pages.len())] + 77;
        let all_ram = (gpa / PAGE..=(gpa + len as u64 - 1) / PAGE)
            .all(|frame| guest.page(frame * PAGE).is_some());
        let mut bytes = vec![0; len];
        let read = vmcore.read(gpa, &mut bytes);
        prop_assert_eq!(read.is_ok(), all_ram);
        if all_ram {
            for (address, byte) in (gpa..).zip(bytes) {
                let page = guest.page(address).unwrap();
                if address % 97 == 0 {
                    prop_assert_eq!(byte, page.bytes()[(address % PAGE) as usize]);
                }
            }
        }
    }
}

/// A small guest with every kind of page.
fn small() -> PageMemory {
    use Page::{Random, Text, Untouched, Zero};
    PageMemory::new([
        (0x1000, vec![Text(1), Zero, Random(2), Untouched, Text(3)]),
        (0x10_0000, vec![Text(4), Zero]),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn damaged_dumps_never_panic(
        format in any_format(),
        changes in prop::collection::vec(
            (any::<prop::sample::Index>(), any::<bool>(), any::<u8>()), 1..8
        ),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        thread_local! {
            static DUMPS: Vec<(Format, Vec<u8>)> = Format::available()
                .map(|f| (f, written(&small(), &options(f))))
                .collect();
        }
        let mut bytes = DUMPS.with(|dumps| {
            dumps.iter().find(|(f, _)| *f == format).unwrap().1.clone()
        });
        for (at, in_headers, value) in changes {
            let len = if in_headers { bytes.len().min(6000) } else { bytes.len() };
            bytes[at.index(len)] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = rearrange(&mut &bytes[..], &mut BufferSink::new(), &Progress::new());
        let Ok(vmcore) = open(&bytes) else { return Ok(()) };
        let _ = vmcore.check(&Progress::new());
        let _ = vmcore.options(Format::Elf);
        let _ = (vmcore.vmcoreinfo(), vmcore.utsname(), vmcore.machine());
        let mut page = vec![0; PAGE as usize];
        for range in vmcore.ranges().iter().take(10) {
            let _ = vmcore.read(range.start(), &mut page);
            let _ = vmcore.next_populated(*range);
        }
    }
}

#[test]
fn metadata_survives() {
    for format in linux_formats() {
        let vmcore = open(&written(&small(), &options(format))).unwrap();
        assert_same_memory(&small(), &vmcore);
        assert!(vmcore.is_complete());
        let flattened = format != Format::Elf && !format.needs_positions();
        assert_eq!(vmcore.is_flattened(), flattened);
        assert_eq!(vmcore.vmcoreinfo().unwrap().osrelease(), "6.1.0");
        assert_eq!(vmcore.page_size(), Some(4096));
        let rips: Vec<_> = vmcore
            .notes()
            .flatten()
            .filter(|(_, n)| n.is(b"CORE", 1))
            .map(|(_, n)| decode_prstatus(n.desc).unwrap())
            .map(|(pid, r)| (pid, r.rip))
            .collect();
        assert_eq!(rips, [(1, 1), (2, 2)]);
        match vmcore.headers() {
            Headers::Elf {
                program_headers, ..
            } => assert_eq!(program_headers.len(), 3),
            Headers::Kdump { main, sub, .. } => {
                assert_eq!((main.nr_cpus, main.block_size), (2, 4096));
                assert_eq!(sub.max_mapnr_64, 0x102);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn converting_there_and_back_gives_the_same_bytes() {
    let elf = written(&small(), &options(Format::Elf));
    for format in linux_formats() {
        let source = open(&elf).unwrap();
        let converted = written(&source, &source.options(format).unwrap().threads(2));
        assert!(converted == written(&small(), &options(format)), "{format}");
        let source = open(&converted).unwrap();
        let back = written(&source, &source.options(Format::Elf).unwrap());
        assert!(back == elf, "{format}");
    }
}

#[test]
fn check_names_the_offset_of_what_is_wrong() {
    let raw = Format::available().find(|f| f.needs_positions()).unwrap();
    let good = written(&small(), &options(raw));
    let check = |bytes: &[u8]| open(bytes).and_then(|v| v.check(&Progress::new()));
    check(&good).unwrap();
    let descriptors = 0x2000 + 2 * 0x1000;
    let change = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        check(&bytes).unwrap_err()
    };
    // Flags that no codec has; the first page is text.
    assert_eq!(
        change(descriptors + 12, 0x40).offset(),
        Some(descriptors as u64)
    );
    // A size of more than a page.
    assert!(change(descriptors + 9, 0xff).offset().is_some());
    // Data in the headers.
    let error = change(descriptors + 1, 0);
    assert!(error.offset().is_some(), "{error}");
    // A page in the second bitmap that is not in the first.
    assert_eq!(change(0x3000 + 8, 1).offset(), Some(0x3008));
    // A note that reaches past the notes: n_descsz of the first one.
    assert_eq!(change(4200 + 6, 0xff).offset(), Some(4200));
    // The status says incomplete.
    assert!(matches!(change(424, 9), VmcoreError::Incomplete { .. }));
    // The last byte is missing.
    let cut = check(&good[..good.len() - 1]).unwrap_err();
    assert!(matches!(cut, VmcoreError::Truncated { .. }), "{cut}");
    let elf = written(&small(), &options(Format::Elf));
    let cut = check(&elf[..elf.len() - 1]).unwrap_err();
    assert!(matches!(cut, VmcoreError::Truncated { .. }), "{cut}");
}

#[test]
fn a_page_whose_data_is_damaged_is_found() {
    for raw in Format::available().filter(|f| f.needs_positions()) {
        let mut bytes = written(&small(), &options(raw));
        // The first page's data lies behind the stored zero page.
        let data = 0x4000 + 7 * 24 + 4096;
        bytes[data..data + 24].fill(0xff);
        let error = open(&bytes).unwrap().check(&Progress::new()).unwrap_err();
        match error {
            VmcoreError::Decompress { gpa, offset, .. } => {
                assert_eq!((gpa, offset), (0x1000, data as u64));
            }
            other => panic!("{raw}: {other}"),
        }
    }
}

#[test]
fn other_files_are_refused() {
    for bytes in [&b""[..], b"hello", b"\x7fELF", b"KDUMP   ", &[0; 5000]] {
        let error = open(bytes).unwrap_err();
        assert!(
            matches!(
                error,
                VmcoreError::NotADump(_) | VmcoreError::Damaged { .. }
            ),
            "{error}"
        );
    }
    let program = File::open("/proc/self/exe").unwrap();
    assert!(matches!(
        Vmcore::open(program),
        Err(VmcoreError::Unsupported(_))
    ));
}

#[test]
fn rearrange_refuses_what_it_cannot_do() {
    let flat = linux_formats().find(|f| f.streamable() == *f && *f != Format::Elf);
    let flattened = written(&small(), &options(flat.unwrap()));
    let progress = Progress::new();
    let to_buffer = |bytes: &[u8]| rearrange(&mut &bytes[..], &mut BufferSink::new(), &progress);
    assert!(matches!(
        to_buffer(b"hello"),
        Err(RearrangeError::NotFlattened)
    ));
    let cut = to_buffer(&flattened[..flattened.len() - 1]);
    assert!(matches!(cut, Err(RearrangeError::Truncated { .. })));
    let stream = rearrange(
        &mut &flattened[..],
        &mut StreamSink::new(Vec::new()),
        &progress,
    );
    assert!(matches!(stream, Err(RearrangeError::NeedsPositions)));
}

/// A file may claim sizes of any magnitude; memory is allocated for what is
/// really there.
#[test]
fn headers_that_claim_the_world_are_errors() {
    let raw = Format::available().find(|f| f.needs_positions()).unwrap();
    let good = written(&small(), &options(raw));
    // sub_hdr_size, bitmap_blocks; size_note, offset_note in the sub header.
    for (at, len) in [
        (432, 4),
        (436, 4),
        (4096 + 48, 8),
        (4096 + 56, 8),
        (4096 + 96, 8),
    ] {
        for value in [0x7f, 0xff] {
            let mut bytes = good.clone();
            bytes[at..at + len].fill(value);
            assert!(open(&bytes).is_err(), "{at}");
        }
    }
    let mut elf = written(&small(), &options(Format::Elf));
    elf[56..58].fill(0xff); // e_phnum: PN_XNUM, but there is no section
    assert!(open(&elf).is_err());
}

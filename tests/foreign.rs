//! The decoder on dumps that this crate does not write: every word size,
//! byte order and header version, what other writers do differently, and
//! files that claim more than they have.
#![cfg(feature = "zlib")]
#![allow(missing_docs, clippy::unwrap_used)]

use guestdump::abi::Abi;
use guestdump::kdump::flattened::FlattenedWriter;
use guestdump::read::{Vmcore, VmcoreError};
use guestdump::sink::BufferSink;
use guestdump::{ByteOrder, Format, GuestMemory, Machine, MemoryRange, Progress, dump};
use testkit::elf::Elf;
use testkit::kdump::{Kdump, flatten};
use testkit::peak::peak_memory;
use testkit::{LAYOUTS, LE64, LE64_ABI, TEXT, content, encodings, range, try_open as open};

fn read(vmcore: &Vmcore, gpa: u64, len: usize) -> Vec<u8> {
    let mut buf = vec![0xa5; len];
    vmcore.read(gpa, &mut buf).unwrap();
    buf
}

fn segments() -> Vec<(u64, Vec<u8>)> {
    vec![
        (0x10_0000, content(3, 0x3000)),
        (0x1000, content(1, 0x2000)),
        (0x3000, content(2, 0x1000)),
    ]
}

/// Page frames 2 to 7.
fn pages() -> Vec<(u64, Vec<u8>)> {
    (0..6u8)
        .map(|i| (u64::from(i) + 2, content(i, 4096)))
        .collect()
}

fn little_kdump() -> Kdump {
    Kdump::new(LE64_ABI, &pages())
}

#[test]
fn elf_of_every_encoding_is_read() {
    for encoding in encodings() {
        let raw = Elf::new(encoding, &segments()).build();
        for (bytes, flattened) in [(raw.clone(), false), (flatten(&raw), true)] {
            let vmcore = open(&bytes).unwrap();
            assert_eq!(vmcore.encoding(), encoding);
            assert_eq!(vmcore.is_flattened(), flattened);
            let expected = (encoding == LE64).then_some(Machine::X86_64);
            assert_eq!(vmcore.machine(), expected);
            let mut low = content(1, 0x2000);
            low.extend(content(2, 0x1000));
            assert_eq!(read(&vmcore, 0x1000, 0x3000), low);
            assert_eq!(read(&vmcore, 0x2ffe, 5), low[0x1ffe..0x2003]);
            for (gpa, len) in [(0, 1), (0x3fff, 2), (0x10_3000, 1), (u64::MAX, 1)] {
                assert!(vmcore.read(gpa, &mut vec![0; len]).is_err());
            }
            assert_eq!(vmcore.cpus(), 2);
            assert_eq!(vmcore.vmcoreinfo().unwrap().text(), TEXT);
            let report = vmcore.check(&Progress::new()).unwrap();
            assert_eq!((report.pages, report.zero_pages), (6, 0));
        }
    }
}

#[test]
fn elf_headers_are_where_the_header_says() {
    let mut elf = Elf::new(LE64, &segments());
    (elf.gap, elf.spacing, elf.xnum) = (100, 24, true);
    let vmcore = open(&elf.build()).unwrap();
    assert_eq!(read(&vmcore, 0x10_0000, 0x3000), content(3, 0x3000));
    vmcore.check(&Progress::new()).unwrap();
    let mut bytes = elf.build();
    bytes[54] = 55; // e_phentsize
    assert!(matches!(open(&bytes), Err(VmcoreError::Damaged { .. })));
    bytes[16] = 2; // e_type
    let error = open(&bytes).unwrap_err();
    assert!(matches!(error, VmcoreError::NotADump(Some(_))), "{error}");
}

#[test]
fn elf_memory_that_is_listed_twice_counts_once() {
    let mut elf = Elf::new(LE64, &segments());
    elf.aliases = vec![(0, 0x1000, 0x1000), (1, 0, 0x2000), (0, 0, 0x3000)];
    let vmcore = open(&elf.build()).unwrap();
    let ranges: u64 = vmcore.ranges().iter().map(MemoryRange::size).sum();
    assert_eq!(ranges, 0x6000);
    assert_eq!(read(&vmcore, 0x10_0000, 0x3000), content(3, 0x3000));
    // The same memory at another offset, with other bytes.
    let elf = Elf::new(
        LE64,
        &[(0x1000, content(1, 0x2000)), (0x2000, content(2, 0x2000))],
    );
    let error = open(&elf.build()).unwrap_err();
    assert!(
        matches!(error, VmcoreError::Conflict { gpa: 0x2000.., .. }),
        "{error}"
    );
}

#[test]
fn elf_segments_that_touch_inside_a_page_are_joined() {
    let all = content(1, 0x3000);
    let elf = Elf::new(
        LE64,
        &[
            (0x1000, all[..0x1800].to_vec()),
            (0x2800, all[0x1800..].to_vec()),
        ],
    );
    let vmcore = open(&elf.build()).unwrap();
    assert_eq!(read(&vmcore, 0x1000, 0x3000), all);
    // Pages at the edges are kept, with zeroes around the bytes.
    let elf = Elf::new(LE64, &[(0x1800, content(1, 0x2000))]);
    let vmcore = open(&elf.build()).unwrap();
    assert_eq!(vmcore.pages(), 3);
    assert_eq!(read(&vmcore, 0x1000, 0x800), [0; 0x800]);
    assert_eq!(read(&vmcore, 0x1800, 0x2000), content(1, 0x2000));
    assert_eq!(read(&vmcore, 0x3800, 0x800), [0; 0x800]);
}

#[test]
fn kdump_of_every_layout_order_and_version_is_read() {
    for (class, u64_align) in LAYOUTS {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            for version in 1..=6 {
                let abi = Abi {
                    class,
                    order,
                    u64_align,
                };
                let mut kdump = Kdump::new(abi, &pages());
                kdump.version = version;
                for bytes in [kdump.build(), flatten(&kdump.build())] {
                    let vmcore = open(&bytes).unwrap();
                    let encoding = vmcore.encoding();
                    assert_eq!(encoding, abi.encoding());
                    assert_eq!(vmcore.ranges(), [range(0x2000, 0x6000)]);
                    let report = vmcore.check(&Progress::new()).unwrap();
                    assert_eq!(report.pages, 6, "{abi:?} {version}");
                    for (frame, page) in pages() {
                        assert_eq!(read(&vmcore, frame * 4096, 4096), page);
                    }
                    let told = vmcore.vmcoreinfo().is_some();
                    assert_eq!(told, version >= 3, "{abi:?} {version}");
                    assert_eq!(vmcore.cpus(), if version >= 4 { 2 } else { 0 });
                }
            }
        }
    }
}

#[test]
fn a_file_of_a_split_dump_has_its_share() {
    let mut kdump = little_kdump();
    kdump.split = Some((3, 5));
    let vmcore = open(&kdump.build()).unwrap();
    assert_eq!(vmcore.ranges(), [range(0x3000, 0x2000)]);
    assert_eq!(read(&vmcore, 0x4000, 4096), pages()[2].1);
    let error = vmcore.check(&Progress::new()).unwrap_err();
    assert!(matches!(error, VmcoreError::Incomplete { .. }), "{error}");
}

#[test]
fn an_incomplete_kdump_has_what_it_has() {
    let mut kdump = little_kdump();
    kdump.pages[2].1 = None;
    let lost = open(&kdump.build()).unwrap();
    let error = lost.check(&Progress::new()).unwrap_err();
    assert!(matches!(error, VmcoreError::PageMissing { gpa: 0x4000 }));

    kdump.status |= 8;
    let vmcore = open(&kdump.build()).unwrap();
    assert!(!vmcore.is_complete());
    assert_eq!(
        vmcore.ranges(),
        [range(0x2000, 0x2000), range(0x5000, 0x3000)]
    );
    let error = vmcore.check(&Progress::new()).unwrap_err();
    assert!(matches!(error, VmcoreError::Incomplete { .. }), "{error}");
    let mut sink = BufferSink::new();
    let options = vmcore.options(Format::Elf).unwrap().keep_incomplete(true);
    let summary = dump(&vmcore, &mut sink, &options).unwrap();
    assert_eq!(summary.pages, 5);
    let elf = open(&sink.into_bytes()).unwrap();
    assert!(!elf.is_complete());
    assert_eq!(elf.ranges(), vmcore.ranges());
    assert_eq!(read(&elf, 0x5000, 4096), pages()[3].1);
}

#[test]
fn addresses_near_the_end_are_not_in_the_dump() {
    let kdump = open(&little_kdump().build()).unwrap();
    let elf = open(&Elf::new(LE64, &segments()).build()).unwrap();
    for vmcore in [kdump, elf] {
        for gpa in [u64::MAX, u64::MAX - 3, 1 << 63] {
            assert!(vmcore.read(gpa, &mut [0; 16]).is_err());
        }
    }
}

/// A flattened file of `pieces`, whose raw form is a tebibyte.
fn flattened(pieces: &[(u64, &[u8])]) -> Vec<u8> {
    let mut writer = FlattenedWriter::begin(Vec::new()).unwrap();
    for (offset, data) in pieces.iter().chain([&(1 << 40, &b"x"[..])]) {
        writer.write_at(*offset, data).unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn a_small_file_that_claims_a_tebibyte_takes_little_memory() {
    let mut notes = little_kdump().build();
    notes[4096 + 56..4096 + 64].copy_from_slice(&(2u64 << 30).to_le_bytes());
    assert!(open(&flattened(&[(0, &notes)])).is_err());

    let mut info = little_kdump().build();
    info[4096 + 40..4096 + 48].copy_from_slice(&(2u64 << 30).to_le_bytes());
    assert!(open(&flattened(&[(0, &info)])).is_err());

    // Program headers in a hole.
    let mut elf = Elf::new(LE64, &[(0x1000, content(1, 4096))]);
    elf.xnum = true;
    for count in [16_000_000, u32::MAX] {
        let mut bytes = elf.build();
        bytes[64 + 44..64 + 48].copy_from_slice(&count.to_le_bytes());
        let _ = open(&flattened(&[(0, &bytes)]));
    }
    assert!(peak_memory() < 400, "{} MiB", peak_memory());
}

#[test]
fn page_frames_past_the_address_space_are_refused() {
    let mut kdump = Kdump::new(LE64_ABI, &[]);
    kdump.page_size = 65536;
    kdump.max_mapnr = 1;
    let mut raw = kdump.build();
    let blocks = 0x7fff_fffe_u32;
    raw[436..440].copy_from_slice(&blocks.to_le_bytes()); // bitmap_blocks
    raw[440..444].copy_from_slice(&u32::MAX.to_le_bytes()); // max_mapnr
    let half = u64::from(blocks / 2) * 65536;
    let frames = half * 8;
    raw[65536 + 96..65536 + 104].copy_from_slice(&frames.to_le_bytes());
    let second = kdump.places().bitmaps + half;
    let last_bits = second + half - 1;
    let bytes = flattened(&[(0, &raw), (last_bits, &[1]), (second + half + 4096, &[1])]);
    assert!(matches!(open(&bytes), Err(VmcoreError::Damaged { .. })));
}

#[test]
fn conversion_takes_the_page_size_of_vmcoreinfo_before_the_block_size() {
    // VMCOREINFO says 4096.
    let mut kdump = Kdump::new(LE64_ABI, &[(1, content(1, 65536))]);
    kdump.page_size = 65536;
    let vmcore = open(&kdump.build()).unwrap();
    let options = vmcore.options(Format::KDUMP_RAW_ZLIB).unwrap();
    let mut sink = BufferSink::new();
    let summary = dump(&vmcore, &mut sink, &options).unwrap();
    assert_eq!((summary.page_size, summary.pages), (4096, 16));
    let converted = open(&sink.into_bytes()).unwrap();
    assert_eq!(read(&converted, 65536, 65536), content(1, 65536));
}

//! What is written, and how.

use std::sync::Mutex;
use std::time::Duration;

use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::guest::windows::BugcheckData;
use guestdump::sink::{PositionedSink, SinkAccess, StreamSink};
use guestdump::windmp::Header;
use guestdump::{
    Class, DumpOptions, DumpSink, Error, Fault, Format, GuestInfo, Machine, Progress, dump,
};
use testkit::windows::{HeaderBytes, given, header_32, header_64};
use testkit::{FaultySink, PAGE, PageMemory, SinkFault, slice_memory, slices, to_buffer};

use super::{FORMATS, guest, registers};

fn options(format: Format) -> DumpOptions {
    given(&*header_64(0x1000)).options(GuestInfo::new(Machine::X86_64), format)
}

#[test]
fn full_dump_has_the_documented_bytes() {
    let (bytes, summary) = to_buffer(&guest(), &options(Format::WIN_DMP));
    assert_eq!(&bytes[..8], b"PAGEDU64");
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    // NumberOfRuns, NumberOfPages, then page frame number and pages of each.
    assert_eq!((number(0x88), number(0x90)), (3, 575));
    let runs: Vec<_> = (0x98..0xc8).step_by(8).map(number).collect();
    assert_eq!(runs, [0, 152, 0x100, 420, 0x10_0000, 3]);
    assert_eq!(number(0xf98), 1);
    assert_eq!(number(0xfa0), 0x2000 + 575 * PAGE);
    let pages: Vec<u8> = guest().pages().flat_map(|(_, page)| page.bytes()).collect();
    assert!(bytes[0x2000..] == pages);
    assert_eq!((summary.pages, summary.vmcoreinfo.is_none()), (575, true));
}

#[test]
fn bitmap_dump_has_the_documented_bytes() {
    let (bytes, _) = to_buffer(&guest(), &options(Format::WIN_DMP_BITMAP));
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    assert_eq!(number(0xf98), 5);
    assert_eq!(&bytes[0x2000..0x2008], b"FDMPDUMP");
    // 0x100003 page frames, in whole words of 64 bits.
    let bits = 0x10_0040u64;
    let first = (0x2038 + bits / 8).next_multiple_of(PAGE);
    assert_eq!(
        [number(0x2020), number(0x2028), number(0x2030)],
        [first, 575, bits]
    );
    assert_eq!(bytes[0x2038..0x2038 + 19], [0xff; 19]);
    assert_eq!(bytes[0x2038 + 19], 0);
    assert_eq!(bytes[0x2038 + 0x10_0000 / 8], 0b111);
    let pages: Vec<u8> = guest().pages().flat_map(|(_, page)| page.bytes()).collect();
    assert!(bytes[first as usize..] == pages);
    assert_eq!(number(0xfa0), bytes.len() as u64);
}

#[test]
fn threads_sinks_and_kinds_of_memory_make_no_difference() {
    let guest = guest();
    let owned = slices(&guest);
    for format in FORMATS {
        let (one, _) = to_buffer(&guest, &options(format));
        let (three, _) = to_buffer(&slice_memory(&owned), &options(format).threads(3));
        assert!(one == three, "{format}");
        let mut stream = StreamSink::new(Vec::new());
        dump(&guest, &mut stream, &options(format).threads(2)).unwrap();
        assert!(one == stream.into_inner(), "{format}");
        let mut short = FaultySink {
            short_writes: true,
            ..FaultySink::default()
        };
        dump(&guest, &mut short, &options(format)).unwrap();
        assert!(one == short.into_bytes(), "{format}");
    }
}

#[test]
fn an_unfinished_dump_is_no_dump() {
    for format in FORMATS {
        let mut sink = FaultySink {
            fault: Some((3, SinkFault::Error(std::io::ErrorKind::StorageFull))),
            ..FaultySink::default()
        };
        dump(&guest(), &mut sink, &options(format)).unwrap_err();
        assert!(!sink.finished);
        let bytes = sink.into_bytes();
        assert_eq!(&bytes[..8], b"\0\0\0\0DU64", "{format}");
    }
}

/// Knows the byte that each write begins with, in order.
#[derive(Default)]
struct Order(Mutex<Vec<u64>>);

impl DumpSink for Order {
    fn access(&mut self) -> SinkAccess<'_> {
        SinkAccess::Positioned(self)
    }
    fn finish(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl PositionedSink for Order {
    fn write_at(&self, offset: u64, buf: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().push(offset);
        Ok(buf.len())
    }
    fn set_len(&self, _: u64) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_signature_comes_last() {
    for format in FORMATS {
        let mut sink = Order::default();
        dump(&guest(), &mut sink, &options(format).threads(4)).unwrap();
        let offsets = sink.0.into_inner().unwrap();
        assert!(offsets.len() > 2);
        assert_eq!((offsets[0], offsets[offsets.len() - 1]), (0, 0));
    }
}

#[test]
fn a_part_can_be_dumped() {
    for format in FORMATS {
        let (_, summary) = to_buffer(&guest(), &options(format).filter(0x9_7000, 0x6_a000));
        assert_eq!(summary.pages, 2, "{format}");
    }
}

#[test]
fn a_cancelled_dump_ends() {
    for format in FORMATS {
        let progress = Progress::new();
        progress.cancel();
        let mut sink = FaultySink::default();
        let error = dump(&guest(), &mut sink, &options(format).progress(progress)).unwrap_err();
        assert!(matches!(error, Error::Failed(Fault::Cancelled)), "{error}");
    }
}

fn decoded(bytes: &[u8], size: usize) -> Header {
    Header::decode(&bytes[..size]).unwrap()
}

#[test]
fn what_the_header_does_not_say_is_set() {
    // BugCheckCode is Windows's filler or 0: the guest lives.
    for code in [0x4547_4150, 0] {
        let mut header = header_64(0x1000);
        let parameters = [u64::from_le_bytes(*b"PAGEPAGE"); 4];
        header
            .set_bugcheck(BugcheckData { code, parameters })
            .unwrap();
        let options = given(&*header).options(
            GuestInfo::new(Machine::X86_64).timestamp(Duration::from_secs(1)),
            Format::WIN_DMP,
        );
        let (bytes, _) = to_buffer(&guest(), &options);
        let header = decoded(&bytes, Header::size(Class::Bits64));
        assert_eq!(header.bugcheck(), BugcheckData::LIVE);
        assert_eq!(header.system_time(), 116_444_736_010_000_000);
        assert_eq!(header.system_up_time(), 36_000_000_000);
    }
    // A crash that Hyper-V was told of.
    let data = BugcheckData::from_crash_registers([0xe2, 1, 2, 3, 4]);
    let windows = given(&*header_64(0x1000)).bugcheck(data);
    let options = windows.options(GuestInfo::new(Machine::X86_64), Format::WIN_DMP);
    let (bytes, _) = to_buffer(&guest(), &options);
    let bugcheck = decoded(&bytes, Header::size(Class::Bits64)).bugcheck();
    assert_eq!((bugcheck.code, bugcheck.parameters), (0xe2, [1, 2, 3, 4]));
    // A crash that the header tells of stays.
    let mut header = header_64(0x1000);
    let (code, parameters) = (0x7e, [4, 3, 2, 1]);
    header
        .set_bugcheck(BugcheckData { code, parameters })
        .unwrap();
    let options = given(&*header).options(GuestInfo::new(Machine::X86_64), Format::WIN_DMP);
    let (bytes, _) = to_buffer(&guest(), &options);
    let bugcheck = decoded(&bytes, Header::size(Class::Bits64)).bugcheck();
    assert_eq!((bugcheck.code, bugcheck.parameters), (0x7e, [4, 3, 2, 1]));
}

#[test]
fn dump_of_a_32_bit_guest_has_the_32_bit_header() {
    let mut guest = guest();
    guest.ranges.pop();
    for (format, dump_type) in FORMATS.into_iter().zip([1u32, 5]) {
        let options = given(&*header_32(0x1020))
            .extra_state([super::extra()])
            .options(GuestInfo::new(Machine::X86_64).cpus([registers()]), format);
        let (bytes, _) = to_buffer(&guest, &options);
        assert_eq!(&bytes[..8], b"PAGEDUMP");
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let runs: Vec<_> = (0x64..0x7c).step_by(4).map(number).collect();
        assert_eq!(runs, [2, 572, 0, 152, 0x100, 420]);
        assert_eq!(
            (number(0xf88), number(0xfa0)),
            (dump_type, bytes.len() as u32)
        );
        // CONTEXT: flags, DR7, SegGs, Edi, Eax, Eip, SegCs, Esp, SegSs; MXCSR
        // and XMM7 of the FXSAVE area.
        let context = |at: usize| number(0x320 + at);
        assert_eq!(context(0), 0x1_0037);
        assert_eq!((context(0x18), context(0x8c)), (0x400, 0x2d));
        assert_eq!((context(0x9c), context(0xb0)), (6, 1));
        assert_eq!((context(0xb8), context(0xbc)), (0x11, 0x10));
        assert_eq!((context(0xc4), context(0xc8)), (0x7000_0007, 0x18));
        assert_eq!(context(0xcc + 0x18), 0x1f80);
        assert_eq!(context(0xcc + 0xa0 + 7 * 16 + 8), 7);
        assert_eq!(context(0xcc + 0xa0 + 8 * 16), 0);
        let pages: Vec<u8> = guest.pages().flat_map(|(_, page)| page.bytes()).collect();
        assert!(bytes.ends_with(&pages));
        let size = Header::size(Class::Bits32);
        let header_and_bitmap = bytes.len() - pages.len();
        if format == Format::WIN_DMP {
            assert_eq!(header_and_bitmap, size);
        } else {
            assert_eq!(&bytes[size..size + 8], b"FDMPDUMP");
            assert_eq!(header_and_bitmap, 0x2000);
        }
    }
}

#[test]
fn registers_of_either_kind_of_cpu_make_the_same_32_bit_context() {
    use guestdump::arch::{i386, x86_64};
    let mut guest = guest();
    guest.ranges.pop();
    let wide = x86_64::Registers {
        rax: 1,
        rip: 0x8000_1234,
        rflags: 0x202,
        ..x86_64::Registers::default()
    };
    let narrow = i386::Registers {
        eax: 1,
        eip: 0x8000_1234,
        eflags: 0x202,
        ..i386::Registers::default()
    };
    let options = |guest| given(&*header_32(0x1000)).options(guest, Format::WIN_DMP);
    let wide = GuestInfo::new(Machine::X86_64).cpus([wide]);
    let narrow = GuestInfo::new(Machine::I386).cpus([narrow]);
    let (first, _) = to_buffer(&guest, &options(wide));
    let (second, _) = to_buffer(&guest, &options(narrow));
    assert!(first == second);
    assert_eq!(first[0x320 + 0xb8..][..4], 0x8000_1234u32.to_le_bytes());
}

#[test]
fn guest_memory_is_not_written() {
    use guestdump::guest::windows::ContextPlace;
    use guestdump::memory::FileMemory;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ram");
    let ram: Vec<u8> = (0..64u8).flat_map(|n| [n; 4096]).collect();
    std::fs::write(&path, &ram).unwrap();
    let modified = || std::fs::metadata(&path).unwrap().modified().unwrap();
    let before = modified();
    // Opened for reading only: a write would fail.
    let memory = FileMemory::flat(std::fs::File::open(&path).unwrap()).unwrap();
    let place = ContextPlace {
        cpu: 0,
        pieces: vec![(0x2f00, 0x100), (0x9000, 0x3d0)],
    };
    let windows = given(&*header_64(0x1000)).contexts([place]);
    let options = windows.options(
        GuestInfo::new(Machine::X86_64).cpus([registers()]),
        Format::WIN_DMP,
    );
    let (bytes, _) = to_buffer(&memory, &options);
    assert!(std::fs::read(&path).unwrap() == ram);
    assert_eq!(modified(), before);
    let differs = |(at, (a, b)): (usize, (&u8, &u8))| (a != b).then_some(at);
    let pairs = bytes[0x2000..].iter().zip(&ram);
    let differing: Vec<usize> = pairs.enumerate().filter_map(differs).collect();
    assert!(differing.len() > 0x400);
    let patched = |at: &usize| (0x2f00..0x3000).contains(at) || (0x9000..0x93d0).contains(at);
    assert!(differing.iter().all(patched));
}

/// The note of virtio-win's driver, as QEMU takes it: header and name of 24
/// bytes, then the dump's header.
fn note(header: &impl HeaderBytes) -> Vec<u8> {
    let desc = header.bytes();
    let mut note = Vec::new();
    for word in [11, desc.len() as u32, 0] {
        note.extend(word.to_le_bytes());
    }
    note.extend(b"VMCOREINFO\0\0");
    note.extend(desc);
    note
}

#[test]
fn the_header_comes_from_the_guests_note() {
    fn fw_cfg(format: u16, size: usize, gpa: u64) -> [u8; 16] {
        let mut entry = [0; 16];
        entry[2..4].copy_from_slice(&format.to_le_bytes());
        entry[4..8].copy_from_slice(&(size as u32).to_le_bytes());
        entry[8..].copy_from_slice(&gpa.to_le_bytes());
        entry
    }
    let cases = [note(&*header_64(0x1000)), note(&*header_32(0x1000))];
    for note in cases {
        let mut owned = slices(&PageMemory::new([(0x1000, vec![super::Page::Zero; 8])]));
        owned[0].1[0x1010..0x1010 + note.len()].copy_from_slice(&note);
        let memory = slice_memory(&owned);
        let size = note.len() as u64;
        let entry = fw_cfg(1, note.len(), 0x2010);
        for source in [
            VmcoreinfoSource::Bytes(note.clone()),
            VmcoreinfoSource::NoteAt { gpa: 0x2010, size },
            VmcoreinfoSource::FwCfg(entry),
            VmcoreinfoSource::FwCfgOrScan(entry),
        ] {
            let options = DumpOptions::new(
                GuestInfo::new(Machine::X86_64).vmcoreinfo(source),
                Format::WIN_DMP,
            );
            let (bytes, _) = to_buffer(&memory, &options);
            assert_eq!(&bytes[4..8], &note[28..32]);
            assert!(bytes.ends_with(&owned[0].1));
        }
    }
}

#[test]
fn a_scan_finds_the_note_of_this_guest() {
    // Notes with something else, and with the header of another guest.
    let mut nonsense = note(&*header_64(0x1000));
    nonsense[24..32].fill(0);
    let foreign = note(&*header_64(1 << 40));
    let ours = note(&*header_64(0x3000));
    let mut ram = vec![0; 0x2_0000];
    for (at, note) in [(0x4000, nonsense), (0x8000, foreign), (0x1_0000, ours)] {
        ram[at..at + note.len()].copy_from_slice(&note);
    }
    let owned = vec![(0, ram)];
    let memory = slice_memory(&owned);
    let lost = VmcoreinfoSource::FwCfgOrScan([0; 16]);
    for source in [VmcoreinfoSource::Scan, lost] {
        let options = DumpOptions::new(
            GuestInfo::new(Machine::X86_64).vmcoreinfo(source),
            Format::WIN_DMP,
        );
        let (bytes, _) = to_buffer(&memory, &options);
        let header = decoded(&bytes, Header::size(Class::Bits64));
        assert_eq!(header.directory_table_base(), 0x3000);
    }
}

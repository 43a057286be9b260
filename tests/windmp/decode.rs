//! Our own decoder: what was written is read back, and files that lie.

use guestdump::read::{Headers, Vmcore, VmcoreError};
use guestdump::windmp::{DUMP_TYPE_BITMAP_KERNEL, KERNEL_BITMAP};
use guestdump::{CpuState, Format, GuestInfo, GuestMemory, Machine, Progress, dump};
use testkit::options::With;
use testkit::windows::{Windows, given, header_32, header_64};
use testkit::{FaultySink, PageMemory, to_buffer, try_open as open};

use super::{FORMATS, guest, registers};

fn below_4g() -> PageMemory {
    let mut guest = guest();
    guest.ranges.pop();
    guest
}

/// A dump of each format and word size, with the memory in it.
fn dumps() -> Vec<(Format, Vec<u8>, PageMemory)> {
    let mut dumps = Vec::new();
    for format in FORMATS {
        let options = |header: Windows| header.options(GuestInfo::new(Machine::X86_64), format);
        let wide = options(given(&*header_64(0x1000)));
        dumps.push((format, to_buffer(&guest(), &wide).0, guest()));
        let narrow = options(given(&*header_32(0x1000)));
        dumps.push((format, to_buffer(&below_4g(), &narrow).0, below_4g()));
    }
    dumps
}

fn assert_same_memory(vmcore: &Vmcore, guest: &PageMemory) {
    assert_eq!(vmcore.ranges(), guest.ranges());
    for (gpa, page) in guest.pages() {
        let mut found = vec![0xa5; 4096];
        vmcore.read(gpa, &mut found).unwrap();
        assert!(found == page.bytes(), "{gpa:#x}");
    }
}

#[test]
fn what_was_written_is_read_back() {
    for (format, bytes, guest) in dumps() {
        let vmcore = open(&bytes).unwrap();
        assert_same_memory(&vmcore, &guest);
        assert!(vmcore.is_complete());
        assert_eq!(vmcore.page_size(), Some(4096));
        assert_eq!(vmcore.raw_len(), bytes.len() as u64);
        let Headers::WinDmp { header, bitmap } = vmcore.headers() else {
            panic!("another kind");
        };
        assert_eq!(bitmap.is_some(), format == Format::WIN_DMP_BITMAP);
        let machine = match header.bits() {
            64 => Machine::X86_64,
            _ => Machine::I386,
        };
        assert_eq!(vmcore.machine(), Some(machine));
        let report = vmcore.check(&Progress::new()).unwrap();
        assert_eq!(report.pages, guest.pages().count() as u64);
        assert_eq!(report.raw_pages, report.pages);
    }
}

#[test]
fn dumps_are_converted_to_every_format() {
    for (from, first, guest) in dumps() {
        let vmcore = open(&first).unwrap();
        for to in Format::available().filter(|to| to.streamable() == *to) {
            let (bytes, _) = to_buffer(&vmcore, &vmcore.options(to).unwrap());
            let again = open(&bytes).unwrap();
            assert_same_memory(&again, &guest);
            if from == to {
                assert!(first == bytes, "{from}");
            }
        }
    }
}

#[test]
fn the_crashed_cpus_registers_are_in_a_converted_dump() {
    let cases = [
        (given(&*header_64(0x1000)), guest(), registers().rip),
        (given(&*header_32(0x1000)), below_4g(), 0x11),
    ];
    for (windows, guest, rip) in cases {
        let options = windows.options(GuestInfo::new(Machine::X86_64), Format::WIN_DMP);
        // Without registers, the header's context is Windows's filler.
        let vmcore = open(&to_buffer(&guest, &options).0).unwrap();
        let (elf, _) = to_buffer(&vmcore, &vmcore.options(Format::Elf).unwrap());
        assert_eq!(open(&elf).unwrap().cpus(), 0);

        let (first, _) = to_buffer(
            &guest,
            &options.with_guest(|guest| guest.cpus([registers()])),
        );
        let vmcore = open(&first).unwrap();
        let (elf, _) = to_buffer(&vmcore, &vmcore.options(Format::Elf).unwrap());
        let elf = open(&elf).unwrap();
        let cpus = elf.machine().unwrap().decode_notes(elf.notes());
        match &cpus[..] {
            [CpuState::X86_64(r)] => {
                assert_eq!(
                    (r.rip, r.r15, r.cs.selector, r.cr3),
                    (rip, 16, 0x10, 0x1000)
                );
            }
            [CpuState::I386(r)] => {
                assert_eq!(
                    (r.eip.into(), r.edi, r.ss.selector, r.cr3),
                    (rip, 6, 0x18, 0x1000)
                );
            }
            other => panic!("{other:?}"),
        }
        let (again, _) = to_buffer(&vmcore, &vmcore.options(Format::WIN_DMP).unwrap());
        assert!(again == first);
    }
}

#[test]
fn an_unfinished_dump_says_so() {
    for (format, mut bytes, _) in dumps() {
        bytes[..4].fill(0);
        let vmcore = open(&bytes).unwrap();
        assert!(!vmcore.is_complete(), "{format}");
        let error = vmcore.check(&Progress::new()).unwrap_err();
        assert!(matches!(error, VmcoreError::Incomplete { .. }), "{error}");
    }
    // A stream that ends too early is shorter than its header says.
    let options =
        given(&*header_64(0x1000)).options(GuestInfo::new(Machine::X86_64), Format::WIN_DMP);
    let mut sink = FaultySink {
        stream: true,
        fault: Some((2, testkit::SinkFault::WroteNothing)),
        ..FaultySink::default()
    };
    dump(&guest(), &mut sink, &options).unwrap_err();
    let vmcore = open(&sink.into_bytes()).unwrap();
    let error = vmcore.check(&Progress::new()).unwrap_err();
    assert!(matches!(error, VmcoreError::Incomplete { .. }), "{error}");
    assert!(error.offset().is_some(), "{error}");
}

#[test]
fn a_kernel_bitmap_is_read_like_a_full_one() {
    let options =
        given(&*header_64(0x1000)).options(GuestInfo::new(Machine::X86_64), Format::WIN_DMP_BITMAP);
    let (mut bytes, _) = to_buffer(&guest(), &options);
    bytes[0xf98..0xf9c].copy_from_slice(&DUMP_TYPE_BITMAP_KERNEL.to_le_bytes());
    bytes[0x2000..0x2004].copy_from_slice(&KERNEL_BITMAP);
    assert_same_memory(&open(&bytes).unwrap(), &guest());
}

/// A full dump, or a bitmap dump, with the bytes at `at` changed.
fn changed(format: Format, at: usize, with: &[u8]) -> VmcoreError {
    let options = given(&*header_64(0x1000)).options(GuestInfo::new(Machine::X86_64), format);
    let (mut bytes, _) = to_buffer(&guest(), &options);
    bytes[at..at + with.len()].copy_from_slice(with);
    open(&bytes).unwrap_err()
}

#[test]
fn damaged_headers_are_named() {
    const FULL: Format = Format::WIN_DMP;
    const BITMAP: Format = Format::WIN_DMP_BITMAP;
    let huge = u64::MAX.to_le_bytes();
    let damaged = [
        (FULL, 0x88, &43u32.to_le_bytes()[..]),
        (FULL, 0xa0, &huge),
        (FULL, 0x98, &huge),
        // The second run begins in the first.
        (FULL, 0xa9, &[0]),
        (BITMAP, 0x2000, b"XDMP"),
        (BITMAP, 0x2004, b"XUMP"),
        (BITMAP, 0x2020, &[0; 8]),
        (BITMAP, 0x2020, &huge),
        (BITMAP, 0x2028, &[0; 8]),
    ];
    for (format, at, with) in damaged {
        let error = changed(format, at, with);
        assert!(
            matches!(error, VmcoreError::Damaged { .. }),
            "{at:#x}: {error}"
        );
    }
    let error = changed(BITMAP, 0x2030, &huge);
    assert!(matches!(error, VmcoreError::Truncated { .. }), "{error}");
    for (at, with) in [(0xf98, 2), (0x31, 0xab)] {
        let error = changed(FULL, at, &[with]);
        assert!(matches!(error, VmcoreError::Unsupported(_)), "{error}");
    }
    assert!(matches!(
        changed(FULL, 0, b"PAGF"),
        VmcoreError::NotADump(None)
    ));
}

#[test]
fn no_cut_makes_the_decoder_panic() {
    for (_, bytes, _) in dumps() {
        for len in (0..0x2100).step_by(61).chain([bytes.len() - 1]) {
            if let Ok(vmcore) = open(&bytes[..len]) {
                let error = vmcore.check(&Progress::new()).unwrap_err();
                assert!(matches!(error, VmcoreError::Incomplete { .. }), "{error}");
            }
        }
    }
}

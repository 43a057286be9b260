//! Bad input is refused before the first byte.

use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::guest::windows::{ContextPlace, HeaderSource, WinDmpError};
use guestdump::memory::OverlayError;
use guestdump::windmp::{Header, HeaderError};
use guestdump::{DumpOptions, Error, Format, GuestInfo, Machine, Refusal, dump};
use testkit::options::With;
use testkit::windows::Windows;
use testkit::windows::{given, header_32, header_64};
use testkit::{FaultySink, PAGE, Page, PageMemory};

use super::{FORMATS, guest, registers};

#[track_caller]
fn refused(options: &DumpOptions) -> WinDmpError {
    refused_of(&guest(), options)
}

#[track_caller]
fn refused_of(guest: &PageMemory, options: &DumpOptions) -> WinDmpError {
    let mut sink = FaultySink::default();
    let error = dump(guest, &mut sink, options).unwrap_err();
    assert!(error.is_refusal());
    assert_eq!(sink.len(), 0);
    match error {
        Error::Refused(Refusal::WinDmp(error)) => error,
        other => panic!("{other}"),
    }
}

#[track_caller]
fn refused_windows(windows: Windows) -> WinDmpError {
    refused(
        &windows
            .clone()
            .options(GuestInfo::new(Machine::X86_64), FORMATS[0]),
    );
    refused(&windows.options(GuestInfo::new(Machine::X86_64), FORMATS[1]))
}

fn refused_64(change: impl FnOnce(&mut Header)) -> WinDmpError {
    let mut header = header_64(0x1000);
    change(&mut header);
    refused_windows(given(&*header))
}

fn refused_32(change: impl FnOnce(&mut Header)) -> WinDmpError {
    let mut header = header_32(0x1000);
    change(&mut header);
    refused_windows(given(&*header))
}

/// With the bytes at `at` changed, which need not make a header.
fn refused_bytes(header: &Header, at: usize, with: &[u8]) -> WinDmpError {
    let mut bytes = header.as_bytes().to_vec();
    bytes[at..at + with.len()].copy_from_slice(with);
    refused_windows(Windows::new().header(HeaderSource::Given(bytes)))
}

#[test]
fn missing_or_foreign_header_is_refused() {
    for source in [VmcoreinfoSource::Scan, VmcoreinfoSource::None] {
        let options = DumpOptions::new(
            GuestInfo::new(Machine::X86_64).vmcoreinfo(source),
            Format::WIN_DMP,
        );
        assert_eq!(refused(&options), WinDmpError::NoCpuRegisters);
    }
    let mut note = Vec::new();
    note.extend([11u32, 8191, 0].map(u32::to_le_bytes).concat());
    note.extend(b"VMCOREINFO\0\0");
    note.resize(24 + 8191, 0);
    for bytes in [b"OSRELEASE=6.1.0\n".to_vec(), note, vec![]] {
        let len = bytes.len();
        let options = DumpOptions::new(
            GuestInfo::new(Machine::X86_64).vmcoreinfo(VmcoreinfoSource::Bytes(bytes)),
            Format::WIN_DMP,
        );
        assert_eq!(refused(&options), WinDmpError::NotANote { len });
    }
    let options = DumpOptions::new(
        GuestInfo::new(Machine::X86_64).vmcoreinfo(VmcoreinfoSource::FwCfg([0; 16])),
        Format::WIN_DMP,
    );
    let error = dump(&guest(), &mut FaultySink::default(), &options).unwrap_err();
    assert!(
        matches!(error, Error::Refused(Refusal::Vmcoreinfo(_))),
        "{error}"
    );
}

#[test]
fn headers_of_another_size_or_kind_are_refused() {
    for len in [0, 8, 4095, 8191, 8193] {
        let source = HeaderSource::Given(vec![b'P'; len]);
        let error = refused_windows(Windows::new().header(source));
        assert_eq!(error, WinDmpError::Header(HeaderError::Size { len }));
    }
    let signature = |error, len: usize| {
        let expected = matches!(
            error,
            WinDmpError::Header(HeaderError::Signature { len: l, .. }) if l == len
        );
        assert!(expected, "{error}");
    };
    let error = refused_bytes(&header_64(0x1000), 0, b"EGAP");
    assert!(error.to_string().contains("EGAPDU64"), "{error}");
    signature(error, 8192);
    signature(refused_bytes(&header_64(0x1000), 4, b"DUMP"), 8192);
    signature(refused_bytes(&header_32(0x1000), 4, b"DU64"), 4096);
    let error = refused_64(|h| h.set_machine_image_type(0xaa64));
    assert!(matches!(
        error,
        WinDmpError::MachineImageType { found: 0xaa64, .. }
    ));
    let error = refused_32(|h| h.set_machine_image_type(0x8664));
    assert!(matches!(
        error,
        WinDmpError::MachineImageType {
            expected: 0x14c,
            ..
        }
    ));
}

#[test]
fn machine_of_another_architecture_than_the_header_is_refused() {
    let wide = given(&*header_64(0x1000));
    let narrow = given(&*header_32(0x1000));
    let none = Windows::new();
    for &machine in Machine::ALL {
        for windows in [&wide, &narrow, &none] {
            let options = windows
                .clone()
                .options(GuestInfo::new(machine), Format::WIN_DMP);
            match machine {
                Machine::X86_64 | Machine::I386 => {}
                _ => assert_eq!(refused(&options), WinDmpError::NotX86 { machine }),
            }
        }
    }
    let machine = Machine::I386;
    let options = wide.options(GuestInfo::new(machine), Format::WIN_DMP);
    let bits = 64;
    assert_eq!(
        refused(&options),
        WinDmpError::WrongMachine { machine, bits }
    );
}

#[test]
fn header_fields_out_of_range_are_refused() {
    for count in [0, u32::MAX] {
        let error = refused_64(|h| h.set_number_processors(count));
        assert!(matches!(error, WinDmpError::NumberProcessors { count: c, .. } if c == count));
        let error = refused_32(|h| h.set_number_processors(count));
        assert!(matches!(error, WinDmpError::NumberProcessors { .. }));
    }
    for cr3 in [0xff000, 0x1_0000_3000, 1 << 63 | 0xff000, u64::MAX] {
        let error = refused_64(|h| h.set_directory_table_base(cr3).unwrap());
        assert!(
            matches!(error, WinDmpError::DirectoryTableBase { .. }),
            "{cr3:#x}"
        );
    }
    assert_eq!(
        refused_32(|h| h.set_pae_enabled(2)),
        WinDmpError::PaeEnabled(2)
    );
}

#[test]
fn runs_that_overlap_or_leave_ram_are_refused() {
    let runs_64 = |runs: &[(u64, u64)]| {
        let mut block = (runs.len() as u64).to_le_bytes().to_vec();
        block.extend([0; 8]);
        for (base, count) in runs {
            block.extend([base.to_le_bytes(), count.to_le_bytes()].concat());
        }
        refused_bytes(&header_64(0x1000), 0x88, &block)
    };
    let index = |error| match error {
        WinDmpError::RunOrder { index, .. } => (index, "order"),
        WinDmpError::RunOutsideRam { index, .. } => (index, "outside"),
        other => panic!("{other}"),
    };
    assert_eq!(index(runs_64(&[(0, 10), (9, 2)])), (1, "order"));
    assert_eq!(index(runs_64(&[(0x100, 10), (0, 2)])), (1, "order"));
    assert_eq!(index(runs_64(&[(0, 153)])), (0, "outside"));
    assert_eq!(index(runs_64(&[(0, 152), (0xff, 2)])), (1, "outside"));
    assert_eq!(index(runs_64(&[(0, u64::MAX)])), (0, "outside"));
    assert_eq!(index(runs_64(&[(1 << 60, 1)])), (0, "outside"));
    let error = refused_bytes(&header_64(0x1000), 0x88, &43u32.to_le_bytes());
    assert_eq!(error, WinDmpError::RunCount { count: 43, max: 42 });
    let error = refused_bytes(&header_32(0x1000), 0x64, &87u32.to_le_bytes());
    assert_eq!(error, WinDmpError::RunCount { count: 87, max: 86 });
    let block = [1, 0, u32::MAX, u32::MAX].map(u32::to_le_bytes).concat();
    let error = refused_bytes(&header_32(0x1000), 0x64, &block);
    assert_eq!(index(error), (0, "outside"));
}

#[test]
fn too_many_pieces_name_the_other_format() {
    let piece = |n: u64| (n << 32, vec![Page::Text(1); 2]);
    let guest = PageMemory::new((0..43).map(piece));
    let options =
        given(&*header_64(0x1000)).options(GuestInfo::new(Machine::X86_64), Format::WIN_DMP);
    let error = refused_of(&guest, &options);
    assert!(matches!(
        error,
        WinDmpError::Header(HeaderError::TooManyRuns {
            runs: 43,
            max: 42,
            ..
        })
    ));
    assert!(error.to_string().contains("win-dmp-bitmap"), "{error}");
}

#[test]
fn contexts_without_registers_or_ram_are_refused() {
    let place = |cpu, pieces| {
        let place = ContextPlace { cpu, pieces };
        let windows = given(&*header_64(0x1000)).contexts([place]);
        refused(&windows.options(
            GuestInfo::new(Machine::X86_64).cpus([registers()]),
            Format::WIN_DMP,
        ))
    };
    let size = 0x4d0;
    assert_eq!(
        place(1, vec![(0, size)]),
        WinDmpError::NoRegisters { cpu: 1 }
    );
    let error = place(0, vec![(0, 0x2cc)]);
    assert!(matches!(
        error,
        WinDmpError::ContextSize {
            expected: 0x4d0,
            ..
        }
    ));
    let error = place(0, vec![(0, usize::MAX), (0, size)]);
    assert!(matches!(error, WinDmpError::ContextSize { .. }));
    for gpa in [0x9_8000, 0x9_7f00, u64::MAX] {
        let error = place(0, vec![(gpa, size)]);
        assert!(
            matches!(error, WinDmpError::Patch(OverlayError::OutsideRam { .. })),
            "{gpa:#x}"
        );
    }
    let error = place(0, vec![(0, 0x400), (0x3ff, 0xd0)]);
    assert_eq!(
        error,
        WinDmpError::Patch(OverlayError::Overlap { gpa: 0x3ff })
    );
}

#[test]
fn other_page_size_and_too_high_memory_are_refused() {
    let options =
        given(&*header_64(0x1000)).options(GuestInfo::new(Machine::X86_64), Format::WIN_DMP);
    let guest = PageMemory::new([(0, vec![Page::Zero; 16])]);
    let error = refused_of(
        &guest,
        &options.with_guest(|guest| guest.page_size(4 * PAGE)),
    );
    assert_eq!(error, WinDmpError::PageSize(4 * PAGE));

    let high = PageMemory::new([(0x1000, vec![Page::Zero]), (1 << 44, vec![Page::Zero])]);
    for format in FORMATS {
        let options = given(&*header_32(0x1000)).options(GuestInfo::new(Machine::X86_64), format);
        let error = dump(&high, &mut FaultySink::default(), &options).unwrap_err();
        assert!(error.is_refusal());
        assert!(
            matches!(error, Error::Refused(Refusal::AddressTooHigh { .. })),
            "{error}"
        );
    }
}

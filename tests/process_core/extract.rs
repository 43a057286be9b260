//! RAM blocks at known host-virtual addresses.

use guestdump::demo::DemoGuest;
use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::memory::{MemoryRange, RangeError};
use guestdump::process_core::{Extracted, MissingReason, ProcessCore, ProcessCoreError, RamBlock};
use guestdump::sink::BufferSink;
use guestdump::{DumpOptions, Format, GuestInfo, GuestMemory, Machine, dump};
use testkit::LE64;
use testkit::core_file::{BE32, Core, Load, RX};

const MIB: u64 = 1 << 20;

fn block(gpa: u64, size: u64, hva: u64) -> RamBlock {
    RamBlock {
        range: MemoryRange::new(gpa, size).unwrap(),
        hva,
    }
}

fn dumped(memory: &dyn GuestMemory, guest: &DemoGuest, format: Format) -> Vec<u8> {
    let options = DumpOptions::new(
        GuestInfo::new(Machine::X86_64)
            .cpus(guest.cpus())
            .vmcoreinfo(VmcoreinfoSource::FwCfg(guest.fw_cfg_entry())),
        format,
    );
    let mut sink = BufferSink::new();
    dump(memory, &mut sink, &options).unwrap();
    sink.into_bytes()
}

#[test]
fn a_guest_in_a_core_is_dumped_like_the_guest_itself() {
    let guest = DemoGuest::new(16 * MIB).unwrap();
    let formats = [Format::Elf, Format::KDUMP_RAW_ZLIB, Format::KDUMP_ZLIB];
    let expected = formats.map(|format| dumped(&guest, &guest, format));
    for (encoding, base) in [(LE64, 0x7fb2_a7e0_0000), (BE32, 0x4000_0000)] {
        let mut blocks = Vec::new();
        // Not in the order of guest-physical addresses, with others between,
        // and the last one in two segments.
        let mut loads = vec![Load::filled(base - 0x1000, vec![0x5a; 0x1000])];
        for (i, range) in guest.ranges().iter().rev().enumerate() {
            let hva = base + i as u64 * 64 * MIB;
            let half = if i == 0 { 4 * MIB } else { range.size() };
            for (offset, size) in [(0, half), (half, range.size() - half)] {
                loads.push(Load::new(hva + offset, size).with(
                    &guest,
                    range.start() + offset,
                    size,
                    0,
                ));
            }
            loads.push(Load {
                flags: RX,
                ..Load::filled(hva + range.size(), vec![0xa5; 0x1000])
            });
            blocks.insert(0, block(range.start(), range.size(), hva));
        }
        let mut file = Core::new(loads);
        file.encoding = encoding;
        let core = ProcessCore::open(file.write()).unwrap();
        assert_eq!(core.encoding(), encoding);
        let found = core.extract(&blocks).unwrap();
        assert_eq!(found.missing, []);
        let memory = found.into_memory().unwrap();
        for (format, expected) in formats.iter().zip(&expected) {
            assert!(dumped(&memory, &guest, *format) == *expected, "{format}");
        }
    }
}

#[test]
fn holes_of_the_core_are_not_populated() {
    let mut load = Load::new(0x10_0000, 8 * MIB);
    load.data.push((4 * MIB, vec![7; 4096]));
    let core = ProcessCore::open(Core::new([load]).write()).unwrap();
    let found = core.extract(&[block(0, 8 * MIB, 0x10_0000)]).unwrap();
    let memory = found.into_memory().unwrap();
    let all = MemoryRange::new(0, 8 * MIB).unwrap();
    let extent = memory.next_populated(all).unwrap().unwrap();
    assert!(extent.contains(4 * MIB, 4096), "{extent}");
    assert!(extent.size() < MIB, "{extent}");
    let rest = MemoryRange::new(extent.end(), 8 * MIB - extent.end()).unwrap();
    // The end of the segment may share a page of the file with the notes.
    let rest = memory.next_populated(rest).unwrap();
    assert!(rest.is_none_or(|r| r.start() >= 8 * MIB - 4096));
}

/// What there is, by guest-physical range, and what is missing.
fn summary(found: &Extracted) -> Vec<String> {
    let regions = found.regions.iter().map(|r| (r.range, "there".to_owned()));
    let missing = found.missing.iter().map(|m| {
        let reason = match &m.reason {
            MissingReason::InFile { path, offset } => {
                format!("in {} at {offset:#x}", path.display())
            }
            other => other.name().to_owned(),
        };
        (m.range, reason)
    });
    let mut all: Vec<_> = regions.chain(missing).collect();
    all.sort_by_key(|(range, _)| range.start());
    all.iter().map(|(r, what)| format!("{r} {what}")).collect()
}

/// A core in which each kind of loss occurs.
fn lossy() -> Core {
    let mut core = Core::new([
        Load::filled(0x10_0000, vec![1; 0x4000]),
        // Part of it was left out.
        Load {
            memsz: 0x4000,
            ..Load::filled(0x10_4000, vec![2; 0x1000])
        },
        Load::left_out(0x10_8000, 0x4000),
        Load::filled(0x11_0000, vec![3; 0x4000]),
    ]);
    core.mapped_files = vec![(0x10_a000, 0x10_d000, 5, "/dev/shm/vm0")];
    core
}

const RANGE: u64 = 0x1_8000;

#[test]
fn what_was_left_out_is_missing_and_not_zero() {
    let core = ProcessCore::open(lossy().write()).unwrap();
    let found = core
        .extract(&[block(0x100_0000, RANGE, 0x10_0000)])
        .unwrap();
    assert_eq!(
        summary(&found),
        [
            "0x1000000..0x1004000 there",
            "0x1004000..0x1005000 there",
            "0x1005000..0x100a000 left_out",
            "0x100a000..0x100d000 in /dev/shm/vm0 at 0x5000",
            "0x100d000..0x1010000 no_segment",
            "0x1010000..0x1014000 there",
            "0x1014000..0x1018000 no_segment",
        ]
    );
    let at = found.missing[1].hva;
    assert_eq!(at, 0x10_a000);
    let memory = found.into_memory().unwrap();
    let mut byte = [0];
    memory.read(0x101_0000, &mut byte).unwrap();
    assert_eq!(byte, [3]);
    assert!(memory.read(0x100_5000, &mut byte).is_err());
    assert!(memory.read(0x100_a000, &mut byte).is_err());
}

#[test]
fn a_core_that_is_cut_short_gives_what_it_has() {
    let whole = lossy();
    // In the second page of the last segment.
    let cut = whole.notes_at() - 0x2800;
    let file = whole.write();
    file.set_len(cut).unwrap();
    let core = ProcessCore::open(file).unwrap();
    // The notes are behind the cut.
    assert_eq!(core.mapped_files(), []);
    let found = core.extract(&[block(0, RANGE, 0x10_0000)]).unwrap();
    assert_eq!(
        summary(&found),
        [
            "0x0..0x4000 there",
            "0x4000..0x5000 there",
            "0x5000..0xc000 left_out",
            "0xc000..0x10000 no_segment",
            "0x10000..0x11000 there",
            "0x11000..0x14000 cut_short",
            "0x14000..0x18000 no_segment",
        ]
    );
    assert!(found.into_memory().is_ok());
}

#[test]
fn a_core_without_any_of_it_says_why() {
    let why = |core: &Core, cut: Option<u64>, hva| {
        let file = core.write();
        if let Some(len) = cut {
            file.set_len(len).unwrap();
        }
        let core = ProcessCore::open(file).unwrap();
        let found = core.extract(&[block(0, 0x1000, hva)]).unwrap();
        let error = found.into_memory().unwrap_err();
        assert!(matches!(error, ProcessCoreError::NothingThere(_)));
        error.to_string()
    };
    for (hva, cut, words) in [
        (
            0x10_8000,
            None,
            &["0x108000", "dump-guest-core=off", "coredump_filter"][..],
        ),
        (0x10_a000, None, &["/dev/shm/vm0", "0x5000"]),
        (0x20_0000, None, &["no segment", "dump-excluded-mappings"]),
        (0x11_0000, Some(lossy().memory_at()), &["cut short"]),
    ] {
        let text = why(&lossy(), cut, hva);
        for word in words {
            assert!(text.contains(word), "'{word}' is not in: {text}");
        }
    }
}

#[test]
fn other_files_are_refused() {
    let open = |bytes: &[u8]| {
        use std::io::Write;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        ProcessCore::open(file).unwrap_err()
    };
    for bytes in [
        &b""[..],
        b"\x28\xb5\x2f\xfd of zstd",
        b"\x7fELF",
        &[0; 4096],
    ] {
        let error = open(bytes);
        assert!(matches!(error, ProcessCoreError::NotACore), "{error:?}");
        assert!(error.to_string().contains("decompress"), "{error}");
    }
    let core = ProcessCore::open(lossy().write()).unwrap();
    for bad in [block(0, 0x1000, 0x10_0800), block(0, 0x2000, !0xfff)] {
        let error = core.extract(&[bad]).unwrap_err();
        assert!(matches!(error, ProcessCoreError::BadAddress(_)), "{error}");
    }
    let twice = [
        block(0, 0x2000, 0x10_0000),
        block(0x1000, 0x1000, 0x10_0000),
    ];
    let error = core.extract(&twice).unwrap_err();
    assert!(
        matches!(error, ProcessCoreError::Range(RangeError::Overlap { .. })),
        "{error}"
    );
}

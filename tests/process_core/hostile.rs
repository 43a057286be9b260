//! Core files that lie.

use std::fs::File;
use std::os::unix::fs::FileExt;

use guestdump::elf::{ET_CORE, FileHeader, PN_XNUM, PT_LOAD, ProgramHeader};
use guestdump::memory::MemoryRange;
use guestdump::process_core::{ProcessCore, ProcessCoreError, RamBlock};
use guestdump::{Class, Encoding, Progress};
use proptest::prelude::*;
use testkit::core_file::{BE32, Core, Load};
use testkit::{LE64, PAGE};

/// A core of `len` bytes with these headers, and nothing else that is true.
fn core(encoding: Encoding, headers: &[ProgramHeader], phnum: u16, len: u64) -> File {
    let mut bytes = Vec::new();
    FileHeader {
        phoff: 64,
        phnum,
        ..FileHeader::new(encoding, ET_CORE, 62)
    }
    .encode(&mut bytes)
    .unwrap();
    bytes.resize(64, 0);
    let fitting = |number: u64| match encoding.class {
        Class::Bits32 => number & u64::from(u32::MAX),
        Class::Bits64 => number,
    };
    for header in headers {
        ProgramHeader {
            offset: fitting(header.offset),
            vaddr: fitting(header.vaddr),
            filesz: fitting(header.filesz),
            memsz: fitting(header.memsz),
            ..*header
        }
        .encode(encoding, &mut bytes)
        .unwrap();
    }
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    file.set_len(len.max(bytes.len() as u64)).unwrap();
    file
}

fn any_number() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0u64..64).prop_map(|n| n * PAGE),
        1 => (0u64..64).prop_map(|n| n * PAGE + n),
        1 => any::<u64>(),
        1 => (0u64..8).prop_map(|n| u64::MAX - n * PAGE),
    ]
}

fn any_header() -> impl Strategy<Value = ProgramHeader> {
    let numbers = (any_number(), any_number(), any_number(), any_number());
    (numbers, 0u32..6, 0u32..8).prop_map(|((offset, vaddr, filesz, memsz), kind, flags)| {
        ProgramHeader {
            kind: if kind == 0 { 4 } else { PT_LOAD },
            flags,
            offset,
            vaddr,
            filesz,
            memsz,
            ..ProgramHeader::default()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn all_of_a_block_is_either_there_or_missing(
        headers in prop::collection::vec(any_header(), 0..12),
        big in any::<bool>(),
        len in 0u64..64 * PAGE,
        hva in any_number(),
        pages in 1u64..80,
    ) {
        let encoding = if big { BE32 } else { LE64 };
        let file = core(encoding, &headers, headers.len() as u16, len);
        let end = file.metadata().unwrap().len();
        let core = ProcessCore::open(file).unwrap();
        for pair in core.segments().windows(2) {
            prop_assert!(pair[0].end() <= pair[1].hva);
        }
        let range = MemoryRange::new(0x10_0000, pages * PAGE).unwrap();
        let Ok(found) = core.extract(&[RamBlock { range, hva }]) else {
            prop_assert!(hva % PAGE != 0 || hva.checked_add(range.size()).is_none());
            return Ok(());
        };
        let mut parts: Vec<_> = found.missing.iter().map(|m| m.range).collect();
        for region in &found.regions {
            prop_assert!(region.offset + region.range.size() <= end);
            parts.push(region.range);
        }
        parts.sort_by_key(MemoryRange::start);
        prop_assert_eq!(parts.first().unwrap().start(), range.start());
        prop_assert_eq!(parts.last().unwrap().end(), range.end());
        for pair in parts.windows(2) {
            prop_assert_eq!(pair[0].end(), pair[1].start());
        }
        if let Ok(memory) = found.into_memory() {
            use guestdump::GuestMemory;
            for range in memory.ranges() {
                memory.read(range.start(), &mut vec![0; range.size() as usize]).unwrap();
            }
        }
        let _ = core.find_qemu_ram(None, &Progress::new()).unwrap_err();
    }
}

#[test]
fn the_lowest_of_overlapping_segments_counts() {
    let core = Core::new([
        Load::filled(0x2000, vec![2; 0x3000]),
        Load::filled(0x1000, vec![1; 0x2000]),
        Load::filled(0x1000, vec![9; 0x1000]),
    ]);
    let core = ProcessCore::open(core.write()).unwrap();
    let range = MemoryRange::new(0, 0x4000).unwrap();
    let found = core.extract(&[RamBlock { range, hva: 0x1000 }]).unwrap();
    let memory = found.into_memory().unwrap();
    let mut bytes = [0; 0x4000];
    guestdump::GuestMemory::read(&memory, 0, &mut bytes).unwrap();
    assert_eq!(
        bytes.chunks(0x1000).map(|c| c[0]).collect::<Vec<_>>(),
        [1, 1, 2, 2]
    );
}

#[test]
fn counts_that_lie_are_errors() {
    let one = [ProgramHeader::default()];
    for phnum in [2, 1000, PN_XNUM] {
        let error = ProcessCore::open(core(LE64, &one, phnum, 0)).unwrap_err();
        assert!(matches!(error, ProcessCoreError::Headers(_)), "{error:?}");
    }
}

#[test]
fn more_segments_than_e_phnum_can_count_are_read() {
    const SEGMENTS: u64 = 70_000;
    let loads = (0..SEGMENTS).map(|i| Load::new(0x10_0000 + i * PAGE, PAGE));
    let mut file = Core::new(loads);
    let last = file.loads.last_mut().unwrap();
    last.data.push((0, vec![7; PAGE as usize]));
    let core = ProcessCore::open(file.write()).unwrap();
    assert_eq!(core.segments().len() as u64, SEGMENTS);
    let range = MemoryRange::new(0, SEGMENTS * PAGE).unwrap();
    let hva = 0x10_0000;
    let found = core.extract(&[RamBlock { range, hva }]).unwrap();
    assert_eq!(found.missing, []);
    let memory = found.into_memory().unwrap();
    let mut byte = [0];
    guestdump::GuestMemory::read(&memory, (SEGMENTS - 1) * PAGE, &mut byte).unwrap();
    assert_eq!(byte, [7]);
}

//! ELF headers and notes that lie.

use guestdump::elf::Note;
use guestdump::elf::{
    ET_CORE, FileHeader, PN_XNUM, PT_LOAD, PT_NOTE, ProgramHeader, SectionHeader,
};
use guestdump::read::{Vmcore, VmcoreError};
use guestdump::{ByteOrder, Format, GuestMemory, Progress};
use testkit::LE64;

use crate::meter::{Cost, Meter, alone, file};

/// Where the program headers begin.
const HEADERS: u64 = 128;

/// An ELF header, a section header 0 that counts `count` program headers, and
/// those that there are.
pub(crate) fn head(count: u32, headers: &[ProgramHeader]) -> Vec<u8> {
    let mut bytes = Vec::new();
    FileHeader {
        encoding: LE64,
        e_type: ET_CORE,
        machine: 62,
        flags: 0,
        ehsize: 64,
        phoff: HEADERS,
        phentsize: 56,
        phnum: PN_XNUM,
        shoff: 64,
        shentsize: 64,
        shnum: 1,
        shstrndx: 0,
    }
    .encode(&mut bytes)
    .unwrap();
    let zero = SectionHeader::zero(count);
    zero.encode(LE64, &mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, HEADERS);
    for header in headers {
        header.encode(LE64, &mut bytes).unwrap();
    }
    bytes
}

fn open(meter: &Meter, name: &str, bytes: &[u8], len: u64) -> (Result<Vmcore, VmcoreError>, Cost) {
    let file = file(bytes, len);
    meter.measure(name, || Vmcore::open(file))
}

#[test]
fn four_thousand_million_program_headers_are_refused() {
    let Some(meter) = alone!() else {
        return;
    };
    for (count, len) in [
        (u32::MAX, 0),
        (u32::MAX, 1 << 40),
        ((1 << 24) + 1, 1 << 40),
        (1 << 24, 0),
    ] {
        let (result, cost) = open(&meter, "2^32 program headers", &head(count, &[]), len);
        let error = result.unwrap_err();
        assert!(error.offset().is_some(), "{error}");
        assert!(cost.heap < 64 << 10 && cost.read < 64 << 10, "{cost:?}");
    }
}

/// A table in a hole of the file is read and leaves nothing.
#[test]
fn a_million_program_headers_in_a_hole_leave_no_ranges() {
    let Some(meter) = alone!() else {
        return;
    };
    let bytes = head(1_000_000, &[]);
    let (result, cost) = open(&meter, "a million absent headers", &bytes, 1 << 30);
    let vmcore = result.unwrap();
    assert!(vmcore.ranges().is_empty());
    assert!(cost.heap < 1 << 20, "{cost:?}");
    assert!(cost.read < 57_000_000, "{cost:?}");
}

/// All of them claim the same page, all pages, or the end of the world.
#[test]
fn overlapping_program_headers_become_ranges_that_do_not_overlap() {
    const COUNT: u64 = 100_000;
    let Some(meter) = alone!() else {
        return;
    };
    /// Offset, address and size of the n-th.
    type Kind = fn(u64) -> (u64, u64, u64);
    let kinds: [Kind; 4] = [
        |_| (0, 0, u64::MAX),
        |n| (n % 7, n << 12, 1 << 40),
        |n| (u64::MAX - n, u64::MAX - n, n),
        |n| (n << 12, 0, 4096 * (n + 1)),
    ];
    for kind in kinds {
        let headers: Vec<_> = (0..COUNT)
            .map(|n| {
                let (offset, paddr, filesz) = kind(n);
                ProgramHeader {
                    kind: PT_LOAD,
                    offset,
                    paddr,
                    vaddr: paddr,
                    filesz,
                    memsz: filesz,
                    ..ProgramHeader::default()
                }
            })
            .collect();
        let bytes = head(COUNT as u32, &headers);
        let given = bytes.len() as u64;
        let (result, cost) = open(&meter, "100,000 that overlap", &bytes, 64 << 20);
        let vmcore = match result {
            Ok(vmcore) => vmcore,
            // More memory than a file of this length may state, or different bytes of it.
            Err(VmcoreError::Damaged { .. } | VmcoreError::Conflict { .. }) => {
                assert!(cost.heap < 12 * given + (1 << 20), "{cost:?} of {given}");
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        let ranges = vmcore.ranges();
        for pair in ranges.windows(2) {
            assert!(pair[0].end() <= pair[1].start());
        }
        let size: u64 = ranges.iter().map(|range| range.size()).sum();
        assert!(size <= (64 << 20) * 7 + (1 << 40), "{size}");
        assert!(cost.heap < 6 * given + (1 << 20), "{cost:?} of {given}");
        assert!(cost.read < given + (1 << 20), "{cost:?}");
    }
}

/// Notes of any size that is claimed: what is believed has a limit, however
/// often the same bytes are claimed.
#[test]
fn notes_that_claim_the_world_are_refused() {
    let Some(meter) = alone!() else {
        return;
    };
    let note = |offset, filesz| ProgramHeader {
        kind: PT_NOTE,
        offset,
        filesz,
        ..ProgramHeader::default()
    };
    for (headers, limit) in [
        (vec![note(0, u64::MAX)], 64 << 10),
        (vec![note(4096, 1 << 40)], 64 << 10),
        (vec![note(4096, (128 << 20) + 1)], 64 << 10),
        // 4 GiB of a page, 4096 times: all of the 128 MiB is used.
        (vec![note(4096, 1 << 20); 4096], 400 << 20),
    ] {
        let bytes = head(headers.len() as u32, &headers);
        let (result, cost) = open(&meter, "notes that claim much", &bytes, 1 << 41);
        let error = result.unwrap_err();
        let is_limit = matches!(error, VmcoreError::Unsupported(_));
        assert!(is_limit || error.offset().is_some(), "{error}");
        assert!(cost.heap < limit, "{cost:?}");
    }
}

/// Sizes in the notes themselves.
#[test]
fn notes_that_lie_about_their_sizes_end_the_notes() {
    let Some(meter) = alone!() else {
        return;
    };
    let good = |name: &[u8], desc: &[u8]| {
        let mut bytes = Vec::new();
        let kind = 1;
        Note { name, kind, desc }
            .encode(ByteOrder::Little, &mut bytes)
            .unwrap();
        bytes
    };
    let first = good(b"CORE", &[0; 336]);
    for (name_size, desc_size) in [
        (u32::MAX, 0),
        (0, u32::MAX),
        (u32::MAX, u32::MAX),
        (5, 1 << 31),
        (1 << 31, 1 << 31),
        (5, 4000),
    ] {
        let mut lie = good(b"CORE", &[0; 336]);
        lie[..4].copy_from_slice(&u32::to_le_bytes(name_size));
        lie[4..8].copy_from_slice(&u32::to_le_bytes(desc_size));
        let notes = [&first[..], &lie, &first].concat();
        let header = ProgramHeader {
            kind: PT_NOTE,
            offset: HEADERS + 56,
            filesz: notes.len() as u64,
            ..ProgramHeader::default()
        };
        let mut bytes = head(1, &[header]);
        bytes.extend(&notes);
        let vmcore = open(&meter, "a note that lies", &bytes, 0).0.unwrap();
        let (result, cost) = meter.measure("reading it", || {
            assert_eq!(vmcore.cpus(), 1);
            assert!(vmcore.vmcoreinfo().is_none());
            let registers = vmcore.machine().unwrap().decode_notes(vmcore.notes());
            assert_eq!(registers.len(), 1);
            vmcore.options(Format::Elf).unwrap();
            vmcore.check(&Progress::new())
        });
        let at = HEADERS + 56 + first.len() as u64;
        assert_eq!(result.unwrap_err().offset(), Some(at));
        assert!(cost.heap < 2 << 20, "{cost:?}");
    }
}

#[test]
fn as_many_notes_as_fit_take_bounded_memory() {
    const COUNT: usize = 200_000;
    let Some(meter) = alone!() else {
        return;
    };
    let header = ProgramHeader {
        kind: PT_NOTE,
        offset: HEADERS + 56,
        filesz: 12 * COUNT as u64,
        ..ProgramHeader::default()
    };
    let mut bytes = head(1, &[header]);
    // A name and a descriptor of no bytes, and type 1.
    bytes.extend([0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0].repeat(COUNT));
    let given = bytes.len() as u64;
    let (result, cost) = open(&meter, "200,000 empty notes", &bytes, 0);
    let vmcore = result.unwrap();
    assert!(cost.heap < 3 * given, "{cost:?} of {given}");
    let ((), cost) = meter.measure("looking for CPUs in them", || {
        assert_eq!(vmcore.notes().count(), COUNT);
        assert_eq!(vmcore.cpus(), 0);
        assert!(vmcore.machine().is_some());
    });
    assert!(cost.heap < 1 << 20, "{cost:?}");
    let (_, cost) = meter.measure("taking them along", || vmcore.options(Format::Elf));
    assert!(cost.heap < 4 * given, "{cost:?} of {given}");
}

/// Section headers of 64 KiB each, and contents of 1 TiB, in holes of the file.
#[test]
fn sections_in_holes_of_the_file_take_bounded_memory() {
    let Some(meter) = alone!() else {
        return;
    };
    for (shentsize, size) in [(u16::MAX, 0), (64, 1 << 40), (64, 200 << 20)] {
        let load = ProgramHeader {
            kind: PT_LOAD,
            offset: 4096,
            filesz: 4096,
            memsz: 4096,
            ..ProgramHeader::default()
        };
        let mut bytes = Vec::new();
        FileHeader {
            encoding: LE64,
            e_type: ET_CORE,
            machine: 62,
            flags: 0,
            ehsize: 64,
            phoff: 64,
            phentsize: 56,
            phnum: 1,
            shoff: 8192,
            shentsize,
            shnum: u16::MAX,
            shstrndx: 0,
        }
        .encode(&mut bytes)
        .unwrap();
        load.encode(LE64, &mut bytes).unwrap();
        bytes.resize(8192, 0);
        for kind in [3, 1, 1, 1] {
            SectionHeader {
                kind,
                offset: 1 << 20,
                size,
                ..SectionHeader::default()
            }
            .encode(LE64, &mut bytes)
            .unwrap();
        }
        let vmcore = open(&meter, "sections", &bytes, 1 << 41).0.unwrap();
        let (_, cost) = meter.measure("sections that are not there", || {
            vmcore.options(Format::Elf).unwrap()
        });
        // 65,535 decoded headers, and 200 MiB if that much is claimed.
        assert!(cost.heap < 300 << 20, "{cost:?}");
        assert!(cost.read < 300 << 20, "{cost:?}");
    }
}

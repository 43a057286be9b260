//! ELF cores of other writers: `/proc/vmcore`, makedumpfile -E, `/proc/kcore`, processes.

use guestdump::elf::{ET_CORE, FileHeader, Note, PF_RWX, PT_LOAD, PT_NOTE, ProgramHeader};
use guestdump::memory::Lack;
use guestdump::read::{Headers, Vmcore, VmcoreError};
use guestdump::{ByteOrder, Class, Encoding, Format, GuestMemory, Progress};

use super::source::PAGE;
use super::{assert_refused, converted};

const ENCODING: Encoding = Encoding {
    class: Class::Bits64,
    order: ByteOrder::Little,
};

/// A PT_LOAD: virtual and physical address, bytes in the file, and bytes in memory.
struct Load {
    vaddr: u64,
    paddr: u64,
    bytes: Vec<u8>,
    memsz: u64,
}

fn load(vaddr: u64, paddr: u64, bytes: Vec<u8>) -> Load {
    Load {
        memsz: bytes.len() as u64,
        vaddr,
        paddr,
        bytes,
    }
}

fn core(loads: &[Load], notes: &[Note<'_>]) -> Vec<u8> {
    core_with_flags(loads, notes, 0)
}

fn core_with_flags(loads: &[Load], notes: &[Note<'_>], flags: u32) -> Vec<u8> {
    let mut note_bytes = Vec::new();
    for note in notes {
        note.encode(ENCODING.order, &mut note_bytes).unwrap();
    }
    let mut header = FileHeader::new(ENCODING, ET_CORE, 62);
    header.phoff = header.ehsize.into();
    header.phnum = 1 + loads.len() as u16;
    header.flags = flags;
    let mut bytes = Vec::new();
    header.encode(&mut bytes).unwrap();
    let notes_at =
        header.phoff + u64::from(header.phnum) * ProgramHeader::size(Class::Bits64) as u64;
    let mut offset = (notes_at + note_bytes.len() as u64).next_multiple_of(PAGE);
    let note = ProgramHeader {
        kind: PT_NOTE,
        offset: notes_at,
        filesz: note_bytes.len() as u64,
        ..ProgramHeader::default()
    };
    note.encode(ENCODING, &mut bytes).unwrap();
    let mut memory = Vec::new();
    for load in loads {
        let header = ProgramHeader {
            kind: PT_LOAD,
            flags: PF_RWX,
            offset,
            vaddr: load.vaddr,
            paddr: load.paddr,
            filesz: load.bytes.len() as u64,
            memsz: load.memsz,
            align: 0,
        };
        header.encode(ENCODING, &mut bytes).unwrap();
        memory.push((offset, &load.bytes));
        offset = (offset + load.bytes.len() as u64).next_multiple_of(PAGE);
    }
    bytes.extend(note_bytes);
    for (offset, part) in memory {
        bytes.resize(offset as usize, 0);
        bytes.extend(part);
    }
    bytes
}

fn byte(memory: &dyn GuestMemory, gpa: u64) -> Option<u8> {
    let mut byte = [0];
    memory.read(gpa, &mut byte).ok().map(|()| byte[0])
}

fn addresses(vmcore: &Vmcore) -> Vec<(u64, u64, u64)> {
    let Headers::Elf {
        program_headers, ..
    } = vmcore.headers()
    else {
        panic!("no ELF");
    };
    let loads = program_headers.iter().filter(|h| h.kind == PT_LOAD);
    loads.map(|h| (h.vaddr, h.paddr, h.filesz)).collect()
}

const TEXT: u64 = 0xffff_ffff_8100_0000;
const DIRECT: u64 = 0xffff_8880_0000_0000;

/// As the kernel lays out `/proc/vmcore`: kernel text by its own address, then RAM in the direct
/// mapping, of which the first range ends inside a page.
fn proc_vmcore() -> Vec<u8> {
    let ram: Vec<u8> = (0..8).flat_map(|n| [0x20 + n; PAGE as usize]).collect();
    let text = ram[2 * PAGE as usize..4 * PAGE as usize].to_vec();
    core(
        &[
            load(TEXT, 0x10_2000, text),
            load(DIRECT + 0x1000, 0x1000, vec![0x11; 0x1c00]),
            load(DIRECT + 0x10_0000, 0x10_0000, ram),
        ],
        &[],
    )
}

#[test]
fn guest_virtual_addresses_of_proc_vmcore_are_kept() {
    let vmcore = Vmcore::open(proc_vmcore()).unwrap();
    vmcore.check(&Progress::new()).unwrap();
    let other = converted(&vmcore, Format::Elf);
    let found = addresses(&other);
    for expected in [
        (TEXT, 0x10_2000, 2 * PAGE),
        (DIRECT + 0x1000, 0x1000, 0x1c00),
        (DIRECT + 0x10_0000, 0x10_0000, 8 * PAGE),
        (0x1000, 0x1000, 2 * PAGE),
        (0x10_0000, 0x10_0000, 8 * PAGE),
    ] {
        assert!(found.contains(&expected), "{expected:x?} in {found:x?}");
    }
    let again = converted(&other, Format::Elf);
    assert_eq!(addresses(&again), found);
}

#[test]
fn a_page_that_is_there_in_part_is_kept() {
    let vmcore = Vmcore::open(proc_vmcore()).unwrap();
    for memory in [&vmcore, &converted(&vmcore, Format::KDUMP_RAW_ZLIB)] {
        assert_eq!(byte(memory, 0x2bff), Some(0x11));
        assert_eq!(byte(memory, 0x2c00), Some(0));
        assert_eq!(byte(memory, 0x3000), None);
        assert_eq!(byte(memory, 0x10_3000), Some(0x23));
    }
}

#[test]
fn memory_behind_bytes_is_zero_and_memory_without_bytes_is_absent() {
    let mut with_zeroes = load(0, 0x1000, vec![7; PAGE as usize]);
    with_zeroes.memsz = 4 * PAGE;
    let mut not_dumped = load(0, 0x10_0000, Vec::new());
    not_dumped.memsz = 2 * PAGE;
    let vmcore = Vmcore::open(core(&[with_zeroes, not_dumped], &[])).unwrap();
    for format in [Format::Elf, Format::KDUMP_ZLIB] {
        let other = converted(&vmcore, format);
        for memory in [&vmcore, &other] {
            assert_eq!(memory.pages(), 4);
            assert_eq!(byte(memory, 0x1fff), Some(7));
            assert_eq!(byte(memory, 0x4fff), Some(0));
            assert_eq!(byte(memory, 0x10_0000), None);
            assert_eq!(memory.coverage().absent_bytes(), 2 * PAGE);
            assert!(memory.is_complete());
        }
    }
}

#[test]
fn a_claim_of_much_memory_takes_none() {
    for filesz in [0, 1] {
        let mut load = load(0, 0, vec![1; filesz]);
        load.memsz = 1 << 60;
        let error = Vmcore::open(core(&[load], &[])).unwrap_err();
        assert!(matches!(error, VmcoreError::Damaged { .. }), "{error}");
    }
}

#[test]
fn different_bytes_of_one_address_are_a_conflict() {
    let loads = [
        load(0x40_0000, 0, vec![1; 4 * PAGE as usize]),
        load(0x50_0000, 0, vec![2; 2 * PAGE as usize]),
    ];
    let error = Vmcore::open(core(&loads, &[])).unwrap_err();
    assert!(
        matches!(error, VmcoreError::Conflict { gpa: 0, .. }),
        "{error}"
    );
}

#[test]
fn the_core_of_a_process_is_refused() {
    for kind in [6, 0x4649_4c45] {
        let note = Note {
            name: b"CORE",
            kind,
            desc: &[0; 16],
        };
        let loads = [load(0x40_0000, 0, vec![1; PAGE as usize])];
        let error = Vmcore::open(core(&loads, &[note])).unwrap_err();
        assert!(matches!(error, VmcoreError::ProcessCore), "{error}");
    }
}

#[test]
fn segments_without_a_physical_address_make_a_core_incomplete() {
    let loads = [
        load(DIRECT, 0, vec![1; PAGE as usize]),
        load(0xffff_c900_0000_0000, u64::MAX, vec![2; 2 * PAGE as usize]),
    ];
    let vmcore = Vmcore::open(core(&loads, &[])).unwrap();
    let (segments, bytes) = (1, 2 * PAGE);
    assert_eq!(
        vmcore.coverage().lacks,
        [Lack::NoAddress { segments, bytes }]
    );
    assert_refused(&vmcore);
}

#[test]
fn a_core_without_memory_is_not_good() {
    let vmcore = Vmcore::open(core(&[], &[])).unwrap();
    let error = vmcore.check(&Progress::new()).unwrap_err();
    assert!(matches!(error, VmcoreError::NoMemory), "{error}");
}

#[test]
fn flags_of_the_architecture_survive_and_the_mark_is_the_writers() {
    let flags = |vmcore: &Vmcore| match vmcore.headers() {
        Headers::Elf { header, .. } => header.flags,
        _ => panic!("no ELF"),
    };
    let loads = || [load(0, 0, vec![1; PAGE as usize])];
    for (before, after) in [(0x10, 0x10), (0x11, 0x11), (1, 1)] {
        let vmcore = Vmcore::open(core_with_flags(&loads(), &[], before)).unwrap();
        assert_eq!(vmcore.is_complete(), before & 1 == 0);
        assert_eq!(flags(&converted(&vmcore, Format::Elf)), after);
    }
}

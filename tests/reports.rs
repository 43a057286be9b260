//! Dumps that people reported to the projects that write or read them. docs/testing.md, "Public
//! reports that were tried", lists the reports and who says what is right.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs::File;

use guestdump::abi::Abi;
use guestdump::elf::note::{CORE, NT_PRSTATUS};
use guestdump::elf::{
    FileHeader, Note, Notes, PT_NOTE, ProgramHeader, SHT_PROGBITS, SHT_STRTAB, SectionHeader,
};
use guestdump::kdump::{DUMP_DH_EXCLUDED_VMEMMAP, DumpHeaders, MainHeader, PageDescriptor};
use guestdump::memory::Lack;
use guestdump::read::{Vmcore, VmcoreError};
use guestdump::sink::BufferSink;
use guestdump::{
    ByteOrder, Class, DumpOptions, Encoding, Error, Format, GuestMemory, Machine, Progress,
    Refusal, dump,
};
use testkit::elf::Elf;
use testkit::kdump::Kdump;
use testkit::{LE64, LE64_ABI, TEXT, content, file, notes, open, range, try_open, written};

const BE64: Encoding = Encoding {
    class: Class::Bits64,
    order: ByteOrder::Big,
};

/// Offset of the first program header in [`Elf`], which is that of its notes.
const PHDR: usize = 128;
/// Offset of `utsname` in kdump's main header.
const UTSNAME: usize = 12;

fn page(seed: u8) -> Vec<u8> {
    content(seed, 4096)
}

/// Pages at two frames.
fn pages() -> Vec<(u64, Vec<u8>)> {
    vec![(1, page(1)), (5, page(5))]
}

/// The same pages as segments.
fn segments() -> Vec<(u64, Vec<u8>)> {
    vec![(0x1000, page(1)), (0x5000, page(5))]
}

#[track_caller]
fn assert_pages(vmcore: &Vmcore) {
    let mut buf = vec![0; 4096];
    for (frame, bytes) in pages() {
        vmcore.read(frame * 4096, &mut buf).unwrap();
        assert_eq!(buf, bytes, "frame {frame}");
    }
    assert_eq!(vmcore.pages(), 2);
}

fn note(name: &[u8], kind: u32, desc: &[u8], order: ByteOrder) -> Vec<u8> {
    let mut bytes = Vec::new();
    let note = Note { name, kind, desc };
    note.encode(order, &mut bytes).unwrap();
    bytes
}

/// A CPU's note with a descriptor of `size` bytes.
fn cpu(size: usize, order: ByteOrder) -> Vec<u8> {
    note(CORE, NT_PRSTATUS, &vec![7; size], order)
}

/// Replaces the notes of a kdump of [`Kdump`]. Zeroes fill the rest of their place.
fn with_notes(kdump: &Kdump, new: &[u8]) -> Vec<u8> {
    let mut bytes = kdump.build();
    let at = kdump.places().notes as usize;
    let place = &mut bytes[at..at + notes(kdump.abi.order, 2).len()];
    place.fill(0);
    place[..new.len()].copy_from_slice(new);
    bytes
}

/// Changes a kdump's main header.
fn with_header(
    mut bytes: Vec<u8>,
    encoding: Encoding,
    change: impl Fn(&mut MainHeader),
) -> Vec<u8> {
    let mut header = MainHeader::decode(encoding, &bytes).unwrap();
    change(&mut header);
    let mut encoded = Vec::new();
    header.encode(encoding, &mut encoded).unwrap();
    bytes[..encoded.len()].copy_from_slice(&encoded);
    bytes
}

/// Changes a program header of [`Elf`].
fn with_program_header(
    mut bytes: Vec<u8>,
    index: usize,
    change: impl Fn(&mut ProgramHeader),
) -> Vec<u8> {
    let encoding = FileHeader::decode(&bytes).unwrap().encoding;
    let size = ProgramHeader::size(encoding.class);
    let at = PHDR + index * size;
    let mut header = ProgramHeader::decode(encoding, &bytes[at..at + size]).unwrap();
    change(&mut header);
    let mut encoded = Vec::new();
    header.encode(encoding, &mut encoded).unwrap();
    bytes[at..at + size].copy_from_slice(&encoded);
    bytes
}

fn converted(vmcore: &Vmcore, format: Format) -> Vec<u8> {
    written(vmcore, &vmcore.options(format).unwrap())
}

fn conversion_fails(vmcore: &Vmcore, options: &DumpOptions) -> Error {
    dump(vmcore, &mut BufferSink::new(), options).unwrap_err()
}

#[track_caller]
fn assert_unsupported(result: Result<Vmcore, VmcoreError>, part: &str) {
    match result {
        Err(VmcoreError::Unsupported(what)) => assert!(what.contains(part), "{what}"),
        other => panic!("{other:?}"),
    }
}

fn names(vmcore: &Vmcore) -> Vec<String> {
    let notes = vmcore.notes().flatten();
    notes
        .map(|(_, note)| String::from_utf8_lossy(note.name).into_owned())
        .collect()
}

#[test]
fn utsname_four_bytes_late() {
    let mut bytes = Kdump::new(LE64_ABI, &pages()).build();
    bytes.copy_within(UTSNAME + 4..UTSNAME + 390, UTSNAME);
    let vmcore = open(&bytes);
    assert_eq!(vmcore.machine(), Some(Machine::X86_64));
    assert_eq!(vmcore.utsname(), None);
    assert_pages(&vmcore);
    assert_pages(&open(&converted(&vmcore, Format::KDUMP_RAW_ZLIB)));
}

#[test]
fn a_lost_name_does_not_make_a_guest_arm() {
    // 32-bit Arm counts page frames from its RAM's begin, if the header names it.
    let abi = Machine::Arm.abi();
    let mut kdump = Kdump::new(abi, &pages());
    kdump.machine = "armv7l";
    let mut bytes = with_notes(&kdump, &cpu(Machine::Arm.prstatus_size(), abi.order));
    bytes.copy_within(UTSNAME + 4..UTSNAME + 390, UTSNAME);
    assert_eq!(open(&bytes).machine(), None);
}

#[test]
fn machine_in_capital_letters() {
    let mut kdump = Kdump::new(Abi::aligned(BE64), &pages());
    kdump.machine = "S390X";
    kdump.version = 5;
    let vmcore = open(&kdump.build());
    assert_eq!(vmcore.machine(), Some(Machine::S390x));
    assert_pages(&vmcore);
}

#[test]
fn a_32_bit_guest_of_a_64_bit_qemu() {
    for abi in [Machine::I386.abi(), LE64_ABI] {
        let kdump = Kdump::new(abi, &pages());
        let vmcore = open(&with_notes(&kdump, &cpu(144, abi.order)));
        assert_eq!(vmcore.machine(), Some(Machine::I386), "{abi:?}");
        assert_pages(&vmcore);
        let elf = converted(&vmcore, Format::Elf);
        assert_eq!(FileHeader::decode(&elf).unwrap().machine, 3);
    }
}

#[test]
fn riscv64_of_a_qemu_that_knows_no_name() {
    let mut kdump = Kdump::new(LE64_ABI, &pages());
    kdump.machine = "Unknown";
    let vmcore = open(&with_notes(&kdump, &cpu(376, ByteOrder::Little)));
    assert_eq!(vmcore.machine(), Some(Machine::Riscv64));
    assert_pages(&vmcore);
}

#[test]
fn header_of_a_later_version() {
    let mut kdump = Kdump::new(LE64_ABI, &pages());
    kdump.version = 7;
    assert_unsupported(try_open(&kdump.build()), "header version 7");
}

#[test]
fn notes_at_an_odd_offset() {
    let mut elf = Elf::new(LE64, &segments());
    elf.gap = 1;
    let vmcore = open(&elf.build());
    assert_eq!(vmcore.cpus(), 2);
    assert_eq!(vmcore.vmcoreinfo().unwrap().text(), TEXT);
    assert_pages(&vmcore);
}

#[test]
fn notes_of_any_alignment() {
    let by_four = notes(ByteOrder::Little, 2);
    // Each header is 12 bytes, a name with its NUL follows.
    let mut by_eight = Vec::new();
    for (_, note) in Notes::new(&by_four, ByteOrder::Little).flatten() {
        by_eight.extend_from_slice(&(note.name.len() as u32 + 1).to_le_bytes());
        by_eight.extend_from_slice(&(note.desc.len() as u32).to_le_bytes());
        by_eight.extend_from_slice(&note.kind.to_le_bytes());
        by_eight.extend_from_slice(note.name);
        by_eight.push(0);
        by_eight.resize(by_eight.len().next_multiple_of(8), 0);
        by_eight.extend_from_slice(note.desc);
        by_eight.resize(by_eight.len().next_multiple_of(8), 0);
    }
    assert_ne!(by_four, by_eight);
    for (align, notes) in [(0, &by_four), (1, &by_four), (8, &by_four), (8, &by_eight)] {
        let mut elf = Elf::new(LE64, &segments());
        elf.notes.clone_from(notes);
        let vmcore = open(&with_program_header(elf.build(), 0, |h| h.align = align));
        assert_eq!(names(&vmcore), ["CORE", "CORE", "VMCOREINFO"], "{align}");
        assert_eq!(vmcore.vmcoreinfo().unwrap().text(), TEXT, "{align}");
        assert!(vmcore.coverage().is_complete(), "{align}");
    }
}

#[test]
fn device_dumps_are_kept() {
    const NT_VMCOREDD: u32 = 0x700;
    let mut elf = Elf::new(LE64, &segments());
    let device = vec![0xa5; 3 * 4096];
    elf.notes
        .extend_from_slice(&note(b"LINUX", NT_VMCOREDD, &device, ByteOrder::Little));
    for format in [Format::Elf, Format::KDUMP_RAW_ZLIB] {
        let vmcore = open(&converted(&open(&elf.build()), format));
        let mut notes = vmcore.notes().flatten();
        let kept = notes.find(|(_, note)| note.is(b"LINUX", NT_VMCOREDD));
        assert_eq!(kept.unwrap().1.desc, device, "{format}");
    }
}

#[test]
fn device_dumps_past_the_limit_are_no_damage() {
    const LEN: u64 = 200 << 20;
    let bytes = with_program_header(Elf::new(LE64, &segments()).build(), 0, |h| {
        h.offset = 0x10000;
        h.filesz = LEN;
    });
    let file = file(&bytes);
    file.set_len(0x10000 + LEN).unwrap();
    assert_unsupported(Vmcore::open(file), "at most 134217728");
}

#[test]
fn memory_beyond_the_file_is_zeroes() {
    let mut elf = Elf::new(LE64, &segments());
    elf.segments[0].2 += 0x400;
    let vmcore = open(&elf.build());
    let mut buf = [1; 4096];
    vmcore.read(0x2000, &mut buf).unwrap();
    assert_eq!(buf, [0; 4096]);
    assert!(vmcore.coverage().is_complete());
    assert_eq!(vmcore.pages(), 3);
}

#[test]
fn a_segment_with_more_bytes_than_memory_keeps_its_bytes() {
    let mut elf = Elf::new(LE64, &segments());
    elf.segments[0].2 = 0x400;
    assert_pages(&open(&elf.build()));
}

#[test]
fn zeroes_behind_the_notes() {
    for zeroes in [4, 24, 4096] {
        let mut elf = Elf::new(LE64, &segments());
        elf.notes.resize(elf.notes.len() + zeroes, 0);
        let vmcore = open(&elf.build());
        let found = vmcore.check(&Progress::new()).unwrap();
        assert_eq!(found.notes, 3, "{zeroes}");
        let again = open(&converted(&vmcore, Format::Elf));
        assert_eq!(names(&again), ["CORE", "CORE", "VMCOREINFO"], "{zeroes}");
    }
    let kdump = Kdump::new(LE64_ABI, &pages());
    let vmcore = open(&with_notes(&kdump, &cpu(336, ByteOrder::Little)));
    assert_eq!(vmcore.check(&Progress::new()).unwrap().notes, 1);
}

#[test]
fn zeroes_between_two_segments_of_notes() {
    let mut elf = Elf::new(LE64, &segments());
    let first = cpu(336, ByteOrder::Little);
    let len = first.len() as u64;
    elf.notes = first;
    elf.notes.resize(len as usize + 100, 0);
    let second = elf.notes.len() as u64;
    elf.notes.extend_from_slice(&notes(ByteOrder::Little, 1));
    let all = elf.notes.len() as u64;
    // The second segment of notes takes the place of the last one of memory.
    elf.segments.push((0x9000, page(9), 4096));
    let bytes = elf.build();
    let at = ProgramHeader::decode(LE64, &bytes[PHDR..]).unwrap().offset;
    let bytes = with_program_header(bytes, 0, |h| h.filesz = second);
    let bytes = with_program_header(bytes, 3, |h| {
        h.kind = PT_NOTE;
        h.offset = at + second;
        h.filesz = all - second;
    });
    let vmcore = open(&bytes);
    assert_eq!(names(&vmcore), ["CORE", "CORE", "VMCOREINFO"]);
    assert_pages(&vmcore);
}

#[test]
fn rubbish_behind_the_notes_is_a_lack() {
    let mut elf = Elf::new(LE64, &segments());
    let at = elf.notes.len() as u64;
    elf.notes.extend_from_slice(b"rubbish!rubbish!");
    let bytes = elf.build();
    let begin = ProgramHeader::decode(LE64, &bytes[PHDR..]).unwrap().offset;
    let vmcore = open(&bytes);
    let lack = Lack::DamagedNotes { offset: begin + at };
    assert_eq!(vmcore.coverage().lacks, [lack]);
    let error = vmcore.check(&Progress::new()).unwrap_err();
    assert_eq!(error.offset(), Some(begin + at));
    let options = vmcore.options(Format::Elf).unwrap();
    let error = conversion_fails(&vmcore, &options);
    assert!(matches!(
        error,
        Error::Refused(Refusal::IncompleteSource { .. })
    ));
    let kept = open(&written(&vmcore, &options.keep_incomplete(true)));
    assert_eq!(names(&kept), ["CORE", "CORE", "VMCOREINFO"]);
    assert_eq!(kept.coverage().lacks, [Lack::Marked]);

    let kdump = Kdump::new(LE64_ABI, &pages());
    let vmcore = open(&with_notes(&kdump, b"rubbish!rubbish!"));
    assert!(matches!(
        *vmcore.coverage().lacks,
        [Lack::DamagedNotes { .. }]
    ));
}

#[test]
fn a_segment_without_bytes_is_not_cut_short() {
    let mut elf = Elf::new(LE64, &segments());
    elf.segments.push((0x8000, Vec::new(), 0));
    let vmcore = open(&with_program_header(elf.build(), 3, |h| {
        h.offset = 0x7fff_0000
    }));
    assert!(vmcore.coverage().is_complete());
    assert_pages(&vmcore);
}

#[test]
fn no_section_headers_are_none_that_are_missing() {
    let mut bytes = Elf::new(LE64, &segments()).build();
    bytes[40..48].copy_from_slice(&0x7fff_ffff_u64.to_le_bytes()); // e_shoff
    bytes[60..62].fill(0); // e_shnum
    let vmcore = open(&bytes);
    assert!(vmcore.coverage().is_complete());
    assert_pages(&vmcore);
}

#[test]
fn a_count_in_no_section_header() {
    let mut elf = Elf::new(LE64, &segments());
    elf.xnum = true;
    let mut bytes = elf.build();
    bytes[40..48].fill(0); // e_shoff
    assert!(matches!(try_open(&bytes), Err(VmcoreError::Damaged { .. })));
}

#[test]
fn a_segment_at_no_multiple_of_its_alignment() {
    let bytes = Elf::new(LE64, &segments()).build();
    let vmcore = open(&with_program_header(bytes, 1, |h| h.align = 2 << 20));
    assert_pages(&vmcore);
}

#[test]
fn a_core_of_freebsd() {
    let mut bytes = Elf::new(LE64, &segments()).build();
    bytes[7] = 9; // EI_OSABI
    assert_pages(&open(&bytes));
}

#[test]
fn excluded_page_structures_stay_marked() {
    let mut kdump = Kdump::new(LE64_ABI, &pages());
    kdump.status |= DUMP_DH_EXCLUDED_VMEMMAP;
    let vmcore = open(&kdump.build());
    assert!(vmcore.coverage().vmemmap_excluded);
    assert!(vmcore.coverage().is_complete());
    let elf = open(&converted(&vmcore, Format::Elf));
    assert!(elf.coverage().vmemmap_excluded);
    for source in [vmcore, elf] {
        let kdump = converted(&source, Format::KDUMP_RAW_ZLIB);
        let status = DumpHeaders::decode(&kdump).unwrap().main.status;
        assert_eq!(status, 1 | DUMP_DH_EXCLUDED_VMEMMAP);
    }
    // Other dumps are not marked.
    let vmcore = open(&Kdump::new(LE64_ABI, &pages()).build());
    let elf = open(&converted(&vmcore, Format::Elf));
    assert_eq!(names(&elf), ["CORE", "CORE", "VMCOREINFO"]);
    assert!(!elf.coverage().vmemmap_excluded);
}

/// A firmware-assisted dump of big-endian ppc64.
fn fadump() -> Elf {
    let mut elf = Elf::new(BE64, &segments());
    elf.machine = 21;
    elf.flags = 1;
    elf.notes = cpu(504, ByteOrder::Big);
    elf
}

#[test]
fn flags_of_big_endian_ppc64_are_an_abi() {
    let vmcore = open(&fadump().build());
    assert_eq!(vmcore.machine(), Some(Machine::Ppc64));
    assert!(vmcore.coverage().is_complete());
    assert_pages(&vmcore);
    let again = open(&converted(&vmcore, Format::Elf));
    assert!(again.coverage().is_complete());
    // Elsewhere, the bit says that the dump is incomplete.
    let mut elf = Elf::new(LE64, &segments());
    elf.flags = 1;
    assert_eq!(open(&elf.build()).coverage().lacks, [Lack::Marked]);
}

#[test]
fn an_incomplete_dump_of_big_endian_ppc64_stays_incomplete() {
    let whole = fadump().build();
    let cut = &whole[..whole.len() - 100];
    let vmcore = open(cut);
    let lacks = vmcore.coverage().lacks;
    assert!(matches!(*lacks, [Lack::Marked, Lack::CutShort { .. }]));
    let options = vmcore.options(Format::Elf).unwrap().keep_incomplete(true);
    let kept = open(&written(&vmcore, &options));
    assert_eq!(kept.coverage().lacks, [Lack::Marked]);
    // makedumpfile leaves the headers unused that it has not come to.
    let unused = with_program_header(whole, 2, |h| *h = ProgramHeader::default());
    assert_eq!(open(&unused).coverage().lacks, [Lack::Marked]);
}

#[test]
fn ppc64_with_large_blocks() {
    let pages = [(0, content(3, 65536)), (2, content(4, 65536))];
    let mut kdump = Kdump::new(Abi::aligned(BE64), &pages);
    kdump.page_size = 65536;
    kdump.machine = "ppc64";
    let vmcore = open(&with_notes(&kdump, &cpu(504, ByteOrder::Big)));
    assert_eq!(vmcore.machine(), Some(Machine::Ppc64));
    let mut buf = vec![0; 65536];
    vmcore.read(0x20000, &mut buf).unwrap();
    assert_eq!(buf, pages[1].1);
}

#[test]
fn aarch64_with_large_blocks_far_up() {
    let pages = [(0x8000, content(3, 65536)), (0x20_0000, content(4, 65536))];
    let mut kdump = Kdump::new(LE64_ABI, &pages);
    kdump.page_size = 65536;
    kdump.machine = "aarch64";
    let vmcore = open(&with_notes(&kdump, &cpu(392, ByteOrder::Little)));
    assert_eq!(vmcore.machine(), Some(Machine::Aarch64));
    let mut buf = vec![0; 65536];
    vmcore.read(0x20_0000 << 16, &mut buf).unwrap();
    assert_eq!(buf, pages[1].1);
}

#[test]
fn an_encrypted_s390x_guest_keeps_what_decrypts_it() {
    let mut elf = Elf::new(BE64, &segments());
    elf.machine = 22;
    for name in [&b"pv_compl"[..], b"pv_mem_meta", b"of a user"] {
        let mut bytes = elf.build();
        let names = [b"\0", name, b"\0"].concat();
        let names_at = bytes.len();
        bytes.extend_from_slice(&names);
        let headers_at = bytes.len() as u64;
        for (kind, name, offset, size) in [
            (SHT_PROGBITS, 1, names_at, 1),
            (SHT_STRTAB, 0, names_at, names.len()),
        ] {
            let mut header = SectionHeader::zero(0);
            header.kind = kind;
            header.name = name;
            header.offset = offset as u64;
            header.size = size as u64;
            header.encode(BE64, &mut bytes).unwrap();
        }
        bytes[40..48].copy_from_slice(&headers_at.to_be_bytes()); // e_shoff
        bytes[60..62].copy_from_slice(&2_u16.to_be_bytes()); // e_shnum
        bytes[62..64].copy_from_slice(&1_u16.to_be_bytes()); // e_shstrndx
        let vmcore = open(&bytes);
        let kdump = vmcore.options(Format::KDUMP_RAW_ZLIB);
        match (name, kdump) {
            (b"of a user", kdump) => assert!(kdump.is_ok()),
            (_, Err(VmcoreError::Unsupported(what))) => assert!(what.contains("zgetdump -k")),
            (_, other) => panic!("{other:?}"),
        }
        // ELF has the sections too.
        let elf = converted(&vmcore, Format::Elf);
        assert!(elf.windows(name.len()).any(|bytes| bytes == name));
    }
}

#[test]
fn vmcoreinfo_that_is_filled_with_nuls() {
    let mut elf = Elf::new(LE64, &segments());
    let mut text = TEXT.to_vec();
    text.resize(4096, 0);
    elf.notes = note(b"VMCOREINFO", 0, &text, ByteOrder::Little);
    assert_eq!(open(&elf.build()).vmcoreinfo().unwrap().text(), TEXT);
}

#[test]
fn one_bad_page_costs_no_other() {
    let kdump = Kdump::new(LE64_ABI, &pages());
    let at = kdump.places().descriptors as usize;
    // A page without data, and one whose data does not decompress.
    for bad in [true, false] {
        let mut bytes = kdump.build();
        let descriptor = &mut bytes[at..at + PageDescriptor::SIZE];
        if bad {
            descriptor[8..12].fill(0); // size
        } else {
            let offset = u64::from_le_bytes(*descriptor.first_chunk().unwrap()) as usize;
            bytes[offset + 2..offset + 40].fill(0xff);
        }
        let vmcore = open(&bytes);
        let mut buf = [0; 4096];
        assert!(vmcore.read(0x1000, &mut buf).is_err());
        vmcore.read(0x5000, &mut buf).unwrap();
        assert_eq!(buf[..], page(5));
        assert!(vmcore.check(&Progress::new()).is_err());
    }
}

#[test]
fn pages_of_several_codecs() {
    let kdump = Kdump::new(LE64_ABI, &pages());
    let at = kdump.places().descriptors as usize;
    let mut bytes = kdump.build();
    let plain = PageDescriptor {
        offset: bytes.len() as u64,
        size: 4096,
        flags: 0,
        page_flags: 0xdead_beef,
    };
    bytes.extend_from_slice(&page(1));
    let mut encoded = Vec::new();
    plain.encode(ByteOrder::Little, &mut encoded);
    bytes[at..at + encoded.len()].copy_from_slice(&encoded);
    // The header names one codec, which is that of neither.
    let bytes = with_header(bytes, LE64, |header| header.status = 2);
    assert_pages(&open(&bytes));
}

#[test]
fn no_cpus() {
    let bytes = with_header(Kdump::new(LE64_ABI, &pages()).build(), LE64, |header| {
        header.nr_cpus = 0;
    });
    assert_pages(&open(&bytes));
}

/// Writes a header of a Windows dump of this type, with runs, into a file.
fn windows(dump_type: u32, runs: &[(u64, u64)]) -> File {
    let mut header = b"PAGE".repeat(2048);
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"PAGEDU64");
    put(0x30, &0x8664_u32.to_le_bytes());
    put(0x34, &1_u32.to_le_bytes());
    let pages: u64 = runs.iter().map(|(_, count)| count).sum();
    put(0x88, &(runs.len() as u32).to_le_bytes());
    put(0x90, &pages.to_le_bytes());
    for (at, (base, count)) in (0x98..).step_by(16).zip(runs) {
        put(at, &base.to_le_bytes());
        put(at + 8, &count.to_le_bytes());
    }
    put(0xf98, &dump_type.to_le_bytes());
    put(0xfa0, &(0x2000 + pages * 4096).to_le_bytes());
    let file = file(&header);
    file.set_len(0x2000 + pages * 4096).unwrap();
    file
}

#[test]
fn a_small_dump_of_windows_says_where_the_memory_is() {
    assert_unsupported(Vmcore::open(windows(4, &[(1, 1)])), "MEMORY.DMP");
}

#[test]
fn windows_server_with_64_gib() {
    let runs = [
        (0x10, 0x90),
        (0x100, 0xb63fe),
        (0xb68fe, 0x28b),
        (0xb6d8a, 0x1936),
        (0xb8a44, 0x4044),
        (0xbcab8, 0x38),
        (0x10_0000, 0xf4_0000),
    ];
    let vmcore = Vmcore::open(windows(1, &runs)).unwrap();
    let found: Vec<_> = vmcore.ranges();
    let wanted = runs.map(|(base, count)| range(base << 12, count << 12));
    assert_eq!(found, wanted);
}

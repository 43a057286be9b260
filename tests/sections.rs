//! Sections of ELF dumps.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use guestdump::elf::{FileHeader, PN_XNUM, SHT_PROGBITS, SHT_STRTAB, SectionHeader};
use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::memory::{MemoryRange, SliceMemory};
use guestdump::read::{Vmcore, VmcoreError};
use guestdump::sink::{BufferSink, StreamSink};
use guestdump::write::{Section, SectionsError};
use guestdump::{
    DumpOptions, ElfOptions, Error, Format, GuestInfo, GuestMemory, Machine, Progress, Refusal,
    dump,
};
use testkit::{range, to_buffer};

const RAM: [u8; 8192] = [0x5a; 8192];

fn options(machine: Machine, sections: impl IntoIterator<Item = Section>) -> DumpOptions {
    DumpOptions::new(
        GuestInfo::new(machine)
            .page_size(4096)
            .vmcoreinfo(VmcoreinfoSource::None),
        ElfOptions::new().sections(sections),
    )
}

fn dumped(memory: &dyn GuestMemory, options: &DumpOptions) -> Vec<u8> {
    let (bytes, summary) = to_buffer(memory, options);
    assert_eq!(summary.file_size, bytes.len() as u64);
    bytes
}

fn memory() -> SliceMemory<'static> {
    SliceMemory::new([(0, &RAM[..])]).unwrap()
}

/// All section headers, and each one's name and contents but for the first.
fn sections(bytes: &[u8]) -> (Vec<SectionHeader>, Vec<(String, Vec<u8>)>) {
    let header = FileHeader::decode(bytes).unwrap();
    let table = &bytes[header.shoff as usize..];
    let headers: Vec<_> = table
        .chunks(header.shentsize.into())
        .take(header.shnum.into())
        .map(|bytes| SectionHeader::decode(header.encoding, bytes).unwrap())
        .collect();
    let contents = |h: &SectionHeader| &bytes[h.offset as usize..][..h.size as usize];
    let names = contents(&headers[usize::from(header.shstrndx)]);
    let named = headers[1..].iter().map(|header| {
        let name = names[header.name as usize..].split(|b| *b == 0).next();
        let name = String::from_utf8(name.unwrap().to_vec()).unwrap();
        (name, contents(header).to_vec())
    });
    let named = named.collect();
    (headers, named)
}

fn two() -> [Section; 2] {
    [
        Section::new("pv_mem_meta", [7; 33]),
        Section::new("pv_compl", *b"complete"),
    ]
}

#[test]
fn sections_come_back_in_every_class_and_byte_order() {
    for machine in Machine::ALL {
        let bytes = dumped(&memory(), &options(*machine, two()));
        let (headers, named) = sections(&bytes);
        assert_eq!(headers[0], SectionHeader::default());
        assert_eq!(headers[1].kind, SHT_PROGBITS);
        assert_eq!(headers[3].kind, SHT_STRTAB);
        let shstrtab = b"\0pv_mem_meta\0pv_compl\0.shstrtab\0".to_vec();
        let expected = [
            ("pv_mem_meta".to_owned(), vec![7; 33]),
            ("pv_compl".to_owned(), b"complete".to_vec()),
            (".shstrtab".to_owned(), shstrtab),
        ];
        assert_eq!(named, expected, "{machine}");
        // Memory is where it was.
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        let vmcore = Vmcore::open(file).unwrap();
        vmcore.check(&Progress::new()).unwrap();
        let mut page = [0; 4096];
        vmcore.read(4096, &mut page).unwrap();
        assert_eq!(page, RAM[..4096]);
    }
}

/// QEMU writes a section header in the byte order of its host, so readelf
/// complains of dumps of s390x guests.
#[test]
fn s390x_section_headers_are_in_the_guests_byte_order() {
    let bytes = dumped(&memory(), &options(Machine::S390x, two()));
    let header = FileHeader::decode(&bytes).unwrap();
    let names = &bytes[header.shoff as usize + 3 * 64..][..64];
    assert_eq!(names[..8], [0, 0, 0, 22, 0, 0, 0, 3]);
    assert_eq!(names[32..40], [0, 0, 0, 0, 0, 0, 0, 32]);
    // Without sections, which QEMU's dumps always have.
    let header = FileHeader::decode(&dumped(&memory(), &options(Machine::S390x, []))).unwrap();
    let (shoff, shnum) = (header.shoff, header.shnum);
    assert_eq!((shoff, shnum, header.shstrndx), (0, 0, 0));
}

#[test]
fn a_stream_gets_the_same_bytes() {
    let options = options(Machine::S390x, two());
    let mut stream = Vec::new();
    dump(&memory(), &mut StreamSink::new(&mut stream), &options).unwrap();
    assert_eq!(stream, dumped(&memory(), &options));
}

/// RAM of very many pages, each a range of its own; none was ever touched.
struct Comb(u64);

impl GuestMemory for Comb {
    fn ranges(&self) -> Vec<MemoryRange> {
        (0..self.0).map(|i| range(i * 8192, 4096)).collect()
    }

    fn read(&self, gpa: u64, _: &mut [u8]) -> io::Result<()> {
        panic!("{gpa:#x} was never touched")
    }

    fn next_populated(&self, _: MemoryRange) -> io::Result<Option<MemoryRange>> {
        Ok(None)
    }
}

#[test]
fn sections_and_more_program_headers_than_e_phnum_can_say_are_read() {
    // One more is PT_NOTE.
    for (ranges, phnum, info) in [(65_533, 65_534, 0), (65_534, PN_XNUM, 65_535)] {
        let bytes = dumped(&Comb(ranges), &options(Machine::X86_64, two()));
        assert_eq!(FileHeader::decode(&bytes).unwrap().phnum, phnum);
        let (headers, named) = sections(&bytes);
        assert_eq!(headers[0].info, info);
        assert_eq!(named[1].1, b"complete");
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        assert_eq!(Vmcore::open(file).unwrap().ranges().len() as u64, ranges);
    }
}

#[test]
fn late_contents_are_asked_for_when_all_memory_is_written() {
    let progress = Progress::new();
    let done = Arc::new(AtomicU64::new(0));
    let (seen, at) = (Arc::clone(&done), progress.clone());
    let late = Section::late("pv_compl", move || {
        seen.store(at.snapshot().done, Relaxed);
        Ok(vec![1, 2, 3])
    });
    let options = options(Machine::S390x, [late]).progress(progress);
    let (_, named) = sections(&dumped(&memory(), &options));
    assert_eq!(named[0], ("pv_compl".to_owned(), vec![1, 2, 3]));
    assert_eq!(done.load(Relaxed), RAM.len() as u64);
}

#[test]
fn late_contents_that_cannot_be_had_fail_the_dump() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dump");
    let late = Section::late("pv_compl", || Err(io::Error::other("the guest is gone")));
    let options = options(Machine::S390x, [late]);
    let sink = guestdump::sink::FileSink::create(&path, Default::default());
    let error = dump(&memory(), &mut sink.unwrap(), &options).unwrap_err();
    assert!(matches!(&error, Error::Section { name, .. } if name == "pv_compl"));
    assert!(!error.is_refusal());
    assert!(File::open(path).is_err());
}

#[test]
fn sections_that_a_dump_cannot_have_are_refused() {
    let refused = |sections: Vec<Section>| {
        let options = options(Machine::X86_64, sections);
        let error = dump(&memory(), &mut BufferSink::new(), &options).unwrap_err();
        assert!(error.is_refusal());
        match error {
            Error::Refused(Refusal::Sections(error)) => error,
            other => panic!("{other:?}"),
        }
    };
    for name in ["", "a\0b"] {
        let error = refused(vec![Section::new(name, [])]);
        assert_eq!(error, SectionsError::Name(name.into()));
    }
    let error = refused(vec![Section::new("x", []); 65_279]);
    assert_eq!(error, SectionsError::TooMany(65_279));
}

#[test]
fn sections_stay_in_a_converted_dump_and_damaged_ones_do_no_harm() {
    let open = |bytes: &[u8]| {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(bytes, 0).unwrap();
        Vmcore::open(file).unwrap()
    };
    let bytes = dumped(&memory(), &options(Machine::S390x, two()));
    let vmcore = open(&bytes);
    let again = dumped(&vmcore, &vmcore.options(Format::Elf).unwrap());
    assert!(again == bytes);
    for format in Format::available().filter(|f| f.codec().is_some()) {
        // Memory without what decrypts it is of no use.
        let error = vmcore.options(format).unwrap_err();
        assert!(matches!(error, VmcoreError::Unsupported(_)), "{error}");
    }

    // Every byte of the headers in turn; those of a dump are what they say.
    let header = FileHeader::decode(&bytes).unwrap();
    let (shoff, end) = (header.shoff as usize, bytes.len() - RAM.len());
    for at in (40..48).chain(58..64).chain(shoff..end) {
        for value in [0, 1, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] = value;
            let vmcore = open(&bytes);
            let options = vmcore.options(Format::Elf).unwrap();
            let written = dumped(&vmcore, &options.keep_incomplete(true));
            assert!(written.len() <= 2 * bytes.len());
        }
    }
}

/// QEMU's own section header 1 of an s390x guest, and gdb's sections of
/// memory.
#[test]
fn sections_that_are_not_the_writers_own_are_left_out() {
    let bytes = dumped(&memory(), &options(Machine::S390x, two()));
    let shoff = FileHeader::decode(&bytes).unwrap().shoff as usize;
    for (at, change) in [
        (shoff + 64 + 4, [1, 0, 0, 0]),
        (shoff + 64 + 12, [0, 0, 0, 2]),
    ] {
        let mut bytes = bytes.clone();
        bytes[at..at + 4].copy_from_slice(&change);
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        let vmcore = Vmcore::open(file).unwrap();
        let written = dumped(&vmcore, &vmcore.options(Format::Elf).unwrap());
        let (_, named) = sections(&written);
        assert_eq!(named[0].0, "pv_compl");
    }
}

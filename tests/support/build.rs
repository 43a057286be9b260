//! A tiny builder of dumps in every layout, also those that this crate does
//! not write.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

use std::fs::File;
use std::io::Write;

use guestdump::abi::{Abi, U64Align, Utsname};
use guestdump::bitmap;
use guestdump::codec::Codec;
use guestdump::elf::Note;
use guestdump::elf::{
    ET_CORE, FileHeader, PF_RWX, PN_XNUM, PT_LOAD, PT_NOTE, ProgramHeader, SectionHeader,
};
use guestdump::kdump::flattened::FlattenedWriter;
use guestdump::kdump::layout::Layout;
use guestdump::kdump::{MainHeader, PageDescriptor, SubHeader, codec_flag};
use guestdump::{ByteOrder, Class, Encoding};

pub const TEXT: &[u8] = b"OSRELEASE=6.1.0\nPAGESIZE=4096\nNUMBER(phys_base)=4096\n";

pub const LE64: Encoding = Encoding {
    class: Class::Bits64,
    order: ByteOrder::Little,
};

/// 64-bit words, little-endian.
pub const LE64_ABI: Abi = Abi::aligned(LE64);

/// The three layouts of kdump's headers.
pub const LAYOUTS: [(Class, U64Align); 3] = [
    (Class::Bits32, U64Align::Four),
    (Class::Bits32, U64Align::Eight),
    (Class::Bits64, U64Align::Eight),
];

pub fn encodings() -> impl Iterator<Item = Encoding> {
    [Class::Bits32, Class::Bits64]
        .into_iter()
        .flat_map(|class| {
            [ByteOrder::Little, ByteOrder::Big].map(|order| Encoding { class, order })
        })
}

pub fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// `len` bytes that differ from page to page.
pub fn content(seed: u8, len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| (i / 7) as u8 ^ seed ^ (i >> 9) as u8)
        .collect()
}

pub fn notes(order: ByteOrder, cpus: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let prstatus = Note {
        name: b"CORE",
        kind: 1,
        desc: &[7; 336],
    };
    (0..cpus).for_each(|_| prstatus.encode(order, &mut bytes).unwrap());
    let info = Note {
        name: b"VMCOREINFO",
        kind: 0,
        desc: TEXT,
    };
    info.encode(order, &mut bytes).unwrap();
    bytes
}

/// Cuts raw bytes into records, the second half first.
pub fn flatten(raw: &[u8]) -> Vec<u8> {
    let mut writer = FlattenedWriter::begin(Vec::new()).unwrap();
    let (low, high) = raw.split_at(raw.len() / 2);
    for (start, half) in [(low.len(), high), (0, low)] {
        for (at, part) in (start..).step_by(1000).zip(half.chunks(1000)) {
            writer.write_at(at as u64, part).unwrap();
        }
    }
    writer.finish().unwrap()
}

/// An ELF core file.
pub struct Elf {
    pub encoding: Encoding,
    pub machine: u16,
    pub flags: u32,
    /// Bytes between the ELF header and the program headers.
    pub gap: usize,
    /// Bytes from one program header to the next, beyond its size.
    pub spacing: usize,
    /// The number of program headers goes into section header 0.
    pub xnum: bool,
    pub notes: Vec<u8>,
    /// Guest-physical address, bytes in the file, bytes in memory.
    pub segments: Vec<(u64, Vec<u8>, u64)>,
    /// More PT_LOADs of segment n: its index, offset in it, length.
    pub aliases: Vec<(usize, u64, u64)>,
}

impl Elf {
    pub fn new(encoding: Encoding, segments: &[(u64, Vec<u8>)]) -> Self {
        Self {
            encoding,
            machine: 62,
            flags: 0,
            gap: 0,
            spacing: 0,
            xnum: false,
            notes: notes(encoding.order, 2),
            segments: segments
                .iter()
                .map(|(gpa, bytes)| (*gpa, bytes.clone(), bytes.len() as u64))
                .collect(),
            aliases: Vec::new(),
        }
    }

    pub fn build(&self) -> Vec<u8> {
        let class = self.encoding.class;
        let shoff = FileHeader::size(class) + self.gap;
        let phoff = shoff + SectionHeader::size(class);
        let phentsize = ProgramHeader::size(class) + self.spacing;
        let phnum = 1 + self.segments.len() + self.aliases.len();
        let mut next = phoff + phnum * phentsize;
        let mut place = |len: usize| {
            next += len;
            (next - len) as u64
        };
        let mut headers = vec![ProgramHeader {
            kind: PT_NOTE,
            offset: place(self.notes.len()),
            filesz: self.notes.len() as u64,
            ..ProgramHeader::default()
        }];
        for (gpa, bytes, memsz) in &self.segments {
            headers.push(ProgramHeader {
                kind: PT_LOAD,
                flags: PF_RWX,
                offset: place(bytes.len()),
                paddr: *gpa,
                filesz: bytes.len() as u64,
                memsz: *memsz,
                ..ProgramHeader::default()
            });
        }
        for &(segment, at, len) in &self.aliases {
            let of = headers[1 + segment];
            headers.push(ProgramHeader {
                vaddr: 0x7000_0000 + at,
                offset: of.offset + at,
                paddr: of.paddr + at,
                filesz: len,
                memsz: len,
                ..of
            });
        }
        let mut out = Vec::new();
        FileHeader {
            encoding: self.encoding,
            e_type: ET_CORE,
            machine: self.machine,
            flags: self.flags,
            ehsize: FileHeader::size(class) as u16,
            phoff: phoff as u64,
            phentsize: phentsize as u16,
            phnum: if self.xnum { PN_XNUM } else { phnum as u16 },
            shoff: shoff as u64,
            shentsize: SectionHeader::size(class) as u16,
            shnum: 1,
            shstrndx: 0,
        }
        .encode(&mut out)
        .unwrap();
        out.resize(shoff, 0xcc);
        let zero = SectionHeader::zero(phnum as u32);
        zero.encode(self.encoding, &mut out).unwrap();
        for header in headers {
            header.encode(self.encoding, &mut out).unwrap();
            out.resize(out.len() + self.spacing, 0xcc);
        }
        out.extend_from_slice(&self.notes);
        for (_, bytes, _) in &self.segments {
            out.extend_from_slice(bytes);
        }
        out
    }
}

/// A kdump-compressed file.
pub struct Kdump {
    pub abi: Abi,
    pub version: u32,
    pub page_size: u64,
    pub codec: Option<Codec>,
    pub status: u32,
    pub machine: &'static str,
    pub max_mapnr: u64,
    /// Page frame numbers and contents, ascending; `None` for a page that is
    /// missing.
    pub pages: Vec<(u64, Option<Vec<u8>>)>,
    /// Only descriptors for these page frames.
    pub split: Option<(u64, u64)>,
}

impl Kdump {
    pub fn new(abi: Abi, pages: &[(u64, Vec<u8>)]) -> Self {
        Self {
            abi,
            version: 6,
            page_size: 4096,
            codec: Some(Codec::Zlib),
            status: 1,
            machine: "x86_64",
            max_mapnr: pages.iter().map(|(pfn, _)| pfn + 1).max().unwrap_or(0) + 5,
            pages: pages
                .iter()
                .map(|(pfn, page)| (*pfn, Some(page.clone())))
                .collect(),
            split: None,
        }
    }

    pub fn places(&self) -> Layout {
        let in_file = self.pages.iter().filter(|(pfn, _)| self.has(*pfn)).count();
        let notes_len = notes(self.abi.order, 2).len() as u64;
        Layout::new(
            self.abi,
            self.page_size,
            notes_len,
            self.max_mapnr,
            in_file as u64,
        )
        .unwrap()
    }

    fn has(&self, pfn: u64) -> bool {
        self.split
            .is_none_or(|(from, to)| (from..to).contains(&pfn))
    }

    pub fn build(&self) -> Vec<u8> {
        let places = self.places();
        let notes = notes(self.abi.order, 2);
        let text = notes.windows(TEXT.len()).position(|w| w == TEXT).unwrap() as u64;
        let mut out = Vec::new();
        let name = Utsname::field;
        MainHeader {
            header_version: self.version,
            utsname: Utsname {
                sysname: name("Linux"),
                release: name("6.1.0"),
                version: name("#1"),
                machine: name(self.machine),
                ..Utsname::default()
            },
            timestamp_sec: 1_700_000_000,
            timestamp_usec: 4096,
            status: self.status,
            block_size: self.page_size as u32,
            sub_hdr_size: places.sub_hdr_blocks as u32,
            bitmap_blocks: places.bitmap_blocks() as u32,
            max_mapnr: self.max_mapnr as u32,
            total_ram_blocks: 0,
            device_blocks: 0,
            written_blocks: 0,
            current_cpu: 0,
            nr_cpus: 2,
        }
        .encode(self.abi.encoding(), &mut out)
        .unwrap();
        out.resize(places.sub_header as usize, 0);
        let (start_pfn, end_pfn) = self.split.unwrap_or_default();
        SubHeader {
            phys_base: 0x1234,
            dump_level: 0,
            split: self.split.is_some().into(),
            start_pfn,
            end_pfn,
            offset_vmcoreinfo: places.notes + text,
            size_vmcoreinfo: TEXT.len() as u64,
            offset_note: places.notes,
            size_note: notes.len() as u64,
            start_pfn_64: start_pfn,
            end_pfn_64: end_pfn,
            max_mapnr_64: self.max_mapnr,
            ..SubHeader::default()
        }
        .encode(self.abi, &mut out)
        .unwrap();
        out.extend_from_slice(&notes);
        out.resize(places.bitmaps as usize, 0);
        let mut frames = vec![0; places.bitmap_size as usize];
        for (pfn, _) in &self.pages {
            bitmap::set(&mut frames, *pfn..pfn + 1);
        }
        out.extend_from_slice(&frames);
        out.extend_from_slice(&frames);
        let mut data = Vec::new();
        let zero = self.store(&vec![0; self.page_size as usize], places.data, &mut data);
        for (pfn, page) in &self.pages {
            if !self.has(*pfn) {
                continue;
            }
            let descriptor = match page {
                None => PageDescriptor::default(),
                Some(page) if page.iter().all(|b| *b == 0) => zero,
                Some(page) => self.store(page, places.data + data.len() as u64, &mut data),
            };
            descriptor.encode(self.abi.order, &mut out);
        }
        assert_eq!(out.len() as u64, places.data);
        out.extend_from_slice(&data);
        out
    }

    fn store(&self, page: &[u8], offset: u64, data: &mut Vec<u8>) -> PageDescriptor {
        let before = data.len();
        let compressor = self.codec.and_then(|codec| codec.compressor().ok());
        let flags = match compressor.map(|mut c| c.compress(page, data).unwrap()) {
            Some(true) => codec_flag(self.codec.unwrap()),
            _ => {
                data.extend_from_slice(page);
                0
            }
        };
        PageDescriptor {
            offset,
            size: (data.len() - before) as u32,
            flags,
            page_flags: 0,
        }
    }
}

//! A builder of ELF core files in every layout, also those that this crate does not
//! write.

use guestdump::Encoding;
use guestdump::elf::{
    ET_CORE, FileHeader, PF_RWX, PN_XNUM, PT_LOAD, PT_NOTE, ProgramHeader, SectionHeader,
};

use crate::parts::notes;

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

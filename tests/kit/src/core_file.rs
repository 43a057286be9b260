//! A builder of core files of a process.

use std::fs::File;
use std::os::unix::fs::FileExt;

use guestdump::elf::note::{CORE, Note};
use guestdump::elf::{
    ET_CORE, FileHeader, PN_XNUM, PT_LOAD, PT_NOTE, ProgramHeader, SectionHeader,
};
use guestdump::{ByteOrder, Class, Encoding, GuestMemory};

use crate::LE64;

/// 32-bit words, big-endian.
pub const BE32: Encoding = Encoding {
    class: Class::Bits32,
    order: ByteOrder::Big,
};

/// `p_flags` of data and of code.
pub const RW: u32 = 6;
pub const RX: u32 = 5;

/// Host-virtual address of [`linux_guest`].
pub const LINUX_HVA: u64 = 0x7fb2_a7e0_0000;
/// Guest-physical address of the demo guest's page table of the direct map,
/// in which each entry is a GiB.
pub const DIRECT_MAP: u64 = 0x60_0000;
const MIB: u64 = 1 << 20;

/// A segment of the process's memory.
#[derive(Debug, Clone, Default)]
pub struct Load {
    pub hva: u64,
    pub memsz: u64,
    /// How many of these bytes are in the core file.
    pub filesz: u64,
    pub flags: u32,
    /// Offsets in the segment and their bytes. The rest is a hole of the file.
    pub data: Vec<(u64, Vec<u8>)>,
}

impl Load {
    pub fn new(hva: u64, size: u64) -> Self {
        Self {
            hva,
            memsz: size,
            filesz: size,
            flags: RW,
            data: Vec::new(),
        }
    }

    pub fn left_out(hva: u64, size: u64) -> Self {
        Self {
            filesz: 0,
            ..Self::new(hva, size)
        }
    }

    pub fn filled(hva: u64, bytes: Vec<u8>) -> Self {
        Self {
            data: vec![(0, bytes.clone())],
            ..Self::new(hva, bytes.len() as u64)
        }
    }

    /// Adds the populated memory of `guest` from `gpa` on at `offset`.
    pub fn with(mut self, guest: &dyn GuestMemory, gpa: u64, size: u64, offset: u64) -> Self {
        let mut rest = guestdump::MemoryRange::new(gpa, size).ok();
        while let Some(part) = rest {
            let Some(extent) = guest.next_populated(part).unwrap() else {
                break;
            };
            let mut bytes = vec![0; extent.size() as usize];
            guest.read(extent.start(), &mut bytes).unwrap();
            self.data.push((offset + extent.start() - gpa, bytes));
            rest = guestdump::MemoryRange::new(extent.end(), part.end() - extent.end()).ok();
        }
        self
    }
}

/// A core file.
#[derive(Debug, Clone)]
pub struct Core {
    pub encoding: Encoding,
    pub loads: Vec<Load>,
    /// Start, end, file offset in pages and name.
    pub mapped_files: Vec<(u64, u64, u64, &'static str)>,
}

impl Core {
    pub fn new(loads: impl IntoIterator<Item = Load>) -> Self {
        Self {
            encoding: LE64,
            loads: loads.into_iter().collect(),
            mapped_files: Vec::new(),
        }
    }

    /// The file offset of the first segment's bytes.
    pub fn memory_at(&self) -> u64 {
        let class = self.encoding.class;
        let headers = FileHeader::size(class) + SectionHeader::size(class);
        let headers = headers + (self.loads.len() + 1) * ProgramHeader::size(class);
        // As in gdb's cores, page boundaries of the file are not memory's.
        (headers as u64).next_multiple_of(4096) + 0xdc0
    }

    /// The file offset of the notes, which follow the memory as in gdb's cores.
    pub fn notes_at(&self) -> u64 {
        self.memory_at() + self.loads.iter().map(|load| load.filesz).sum::<u64>()
    }

    pub fn write(&self) -> File {
        let file = tempfile::tempfile().unwrap();
        self.write_to(&file);
        file
    }

    pub fn write_to(&self, file: &File) {
        let class = self.encoding.class;
        let notes = self.notes();
        let phnum = self.loads.len() + 1;
        let mut head = Vec::new();
        FileHeader {
            phoff: (FileHeader::size(class) + SectionHeader::size(class)) as u64,
            phnum: u16::try_from(phnum).unwrap_or(PN_XNUM),
            shoff: FileHeader::size(class) as u64,
            shentsize: SectionHeader::size(class) as u16,
            shnum: 1,
            ..FileHeader::new(self.encoding, ET_CORE, 62)
        }
        .encode(&mut head)
        .unwrap();
        let zero = SectionHeader::zero(phnum as u32);
        zero.encode(self.encoding, &mut head).unwrap();
        ProgramHeader {
            kind: PT_NOTE,
            offset: self.notes_at(),
            filesz: notes.len() as u64,
            ..ProgramHeader::default()
        }
        .encode(self.encoding, &mut head)
        .unwrap();
        let mut offset = self.memory_at();
        for load in &self.loads {
            ProgramHeader {
                kind: PT_LOAD,
                flags: load.flags,
                offset,
                vaddr: load.hva,
                filesz: load.filesz,
                memsz: load.memsz,
                align: 1,
                ..ProgramHeader::default()
            }
            .encode(self.encoding, &mut head)
            .unwrap();
            for (at, bytes) in &load.data {
                assert!(at + bytes.len() as u64 <= load.filesz);
                file.write_all_at(bytes, offset + at).unwrap();
            }
            offset += load.filesz;
        }
        file.write_all_at(&head, 0).unwrap();
        file.set_len(offset).unwrap();
        file.write_all_at(&notes, offset).unwrap();
    }

    /// Returns `NT_FILE` and a note that no reader needs.
    fn notes(&self) -> Vec<u8> {
        let word = |n: u64| match (self.encoding.class, self.encoding.order) {
            (Class::Bits64, ByteOrder::Little) => n.to_le_bytes().to_vec(),
            (Class::Bits64, ByteOrder::Big) => n.to_be_bytes().to_vec(),
            (Class::Bits32, ByteOrder::Little) => (n as u32).to_le_bytes().to_vec(),
            (Class::Bits32, ByteOrder::Big) => (n as u32).to_be_bytes().to_vec(),
        };
        let mut desc = [word(self.mapped_files.len() as u64), word(4096)].concat();
        for (start, end, page, _) in &self.mapped_files {
            desc.extend([word(*start), word(*end), word(*page)].concat());
        }
        for (.., name) in &self.mapped_files {
            desc.extend_from_slice(name.as_bytes());
            desc.push(0);
        }
        let mut bytes = Vec::new();
        for (kind, desc) in [(6, &[0; 16][..]), (0x4649_4c45, &desc)] {
            Note {
                name: CORE,
                kind,
                desc,
            }
            .encode(self.encoding.order, &mut bytes)
            .unwrap();
        }
        bytes
    }
}

/// Size of the demo guest that [`linux_guest`] needs, in bytes.
pub const DEMO_SIZE: u64 = 64 * MIB;

/// Returns QEMU's RAM block of a guest with 32 MiB. It is the lower half of `demo`, a demo
/// guest of [`DEMO_SIZE`] bytes. The kernel in it does not know the other half.
pub fn linux_guest(demo: &dyn GuestMemory) -> Load {
    let mut load = Load::new(LINUX_HVA, 32 * MIB)
        .with(demo, 0, 0xa_0000, 0)
        .with(demo, MIB, 31 * MIB, MIB);
    map_gib(&mut load, 4, false);
    // The first GiB's part that is there, in pages of 2 MiB.
    let table = 31 * MIB;
    let entries = (0..16).flat_map(|n| u64::to_le_bytes(n << 21 | 0xe3));
    load.data
        .push((table, entries.chain([0; 4096 - 16 * 8]).collect()));
    set_gib(&mut load, 0, table | 0x63);
    load
}

/// Makes the direct map's entry of a GiB present or not.
pub fn map_gib(load: &mut Load, gib: u64, present: bool) {
    set_gib(load, gib, if present { gib << 30 | 0xe3 } else { 0 });
}

/// Sets the direct map's entry of a GiB.
pub fn set_gib(load: &mut Load, gib: u64, value: u64) {
    let table = DIRECT_MAP + gib * 8;
    let (at, bytes) = load
        .data
        .iter_mut()
        .find(|(at, bytes)| (*at..at + bytes.len() as u64).contains(&table))
        .unwrap();
    let entry = &mut bytes[(table - *at) as usize..][..8];
    assert_ne!(entry, value.to_le_bytes());
    entry.copy_from_slice(&value.to_le_bytes());
}

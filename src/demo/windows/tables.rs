//! The guest's page tables, and the pages that they map. Frames are assigned in scattered order, so
//! that memory that is contiguous for the kernel is not contiguous physically.
//!
//! Source: Intel SDM volume 3, chapter "Paging", sections "32-Bit Paging", "PAE Paging" and
//! "4-Level Paging". The entry by which a kernel maps its tables to themselves is where volatility3
//! `framework/automagic/windows.py` looks for it.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use crate::demo::layout::PAGE;
use crate::demo::windows::kind::WindowsKind;
use crate::memory::MIN_PAGE_SIZE;

/// Guest-physical address of the first frame for tables and pages.
const FRAMES: u64 = 0x20_0000;
pub(super) const FRAMES_END: u64 = 0x60_0000;

/// The flags of an entry for a table: present, writable, accessed, dirty.
const TABLE: u64 = 0x63;
/// The flags of an entry for a page: those of [`TABLE`], and global, because all address spaces
/// share it.
const LEAF: u64 = 0x163;
/// The bits of an entry that contain an address: 51 to 12.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

type Page = Box<[u8; PAGE]>;

/// The shape of the tables.
struct Shape {
    /// Guest-physical address of the first table.
    root: u64,
    /// The levels, beginning with the first table. Each gives the lowest bit of its index in a
    /// virtual address, and the number of bits of the index.
    levels: &'static [(u32, u32)],
    /// Size of an entry in bytes.
    entry: u64,
}

impl Shape {
    const fn of(kind: WindowsKind) -> Self {
        match kind {
            WindowsKind::X86_64 => Self {
                root: 0x1a_d000,
                levels: &[(39, 9), (30, 9), (21, 9), (12, 9)],
                entry: 8,
            },
            WindowsKind::I386 => Self {
                root: 0x18_5000,
                levels: &[(30, 2), (21, 9), (12, 9)],
                entry: 8,
            },
            WindowsKind::I386NoPae => Self {
                root: 0x18_5000,
                levels: &[(22, 10), (12, 10)],
                entry: 4,
            },
        }
    }

    /// Returns the guest-physical address of the entry for `vaddr` in a table of this level.
    const fn entry_at(&self, table: u64, vaddr: u64, (shift, bits): (u32, u32)) -> u64 {
        table + (vaddr >> shift & ((1 << bits) - 1)) * self.entry
    }
}

/// Returns CR3 of the system process.
pub(super) const fn root(kind: WindowsKind) -> u64 {
    Shape::of(kind).root
}

/// The only flag that an entry of the first table with PAE sets: present.
const PRESENT: u64 = 1;

/// The kernel's memory, with its page tables.
pub(super) struct Tables {
    kind: WindowsKind,
    /// The pages, by guest-physical address.
    pages: BTreeMap<u64, Page>,
    frames: u64,
}

impl Tables {
    pub(super) fn new(kind: WindowsKind) -> Self {
        let mut tables = Self {
            kind,
            pages: BTreeMap::new(),
            frames: 0,
        };
        tables.map_tables();
        tables
    }

    pub(super) const fn kind(&self) -> WindowsKind {
        self.kind
    }

    /// Maps the tables to themselves: one entry of a table points to the table, and the kernel
    /// reaches all tables through it.
    fn map_tables(&mut self) {
        let root = root(self.kind);
        match self.kind {
            // Since Windows 10 1607 the entry differs after each start.
            WindowsKind::X86_64 => self.write(root + 0x1ed * 8, &(root | TABLE).to_le_bytes()),
            WindowsKind::I386NoPae => {
                let entry = (root | TABLE) as u32;
                self.write(root + 0x300 * 4, &entry.to_le_bytes());
            }
            // Four tables of the second level follow the first table. The last one maps all of
            // them, at 0xc0000000.
            WindowsKind::I386 => {
                let seconds = [1u64, 2, 3, 4].map(|n| root + n * MIN_PAGE_SIZE);
                for (n, second) in (0..).zip(seconds) {
                    self.write(root + n * 8, &(second | PRESENT).to_le_bytes());
                    self.write(seconds[3] + n * 8, &(second | TABLE).to_le_bytes());
                }
            }
        }
    }

    pub(super) fn page(&self, gpa: u64) -> Option<&[u8; PAGE]> {
        self.pages.get(&gpa).map(|page| &**page)
    }

    /// Takes the next free frame and returns its guest-physical address.
    fn frame(&mut self) -> u64 {
        const COUNT: u64 = (FRAMES_END - FRAMES) / MIN_PAGE_SIZE;
        // The step and the count have no common divisor.
        const STEP: u64 = 389;
        debug_assert!(self.frames < COUNT);
        let frame = self.frames * STEP % COUNT;
        self.frames += 1;
        FRAMES + frame * MIN_PAGE_SIZE
    }

    /// Returns the table entry at `gpa`.
    fn entry(&self, gpa: u64) -> u64 {
        let at = (gpa % MIN_PAGE_SIZE) as usize;
        let size = Shape::of(self.kind).entry as usize;
        let mut entry = [0; 8];
        if let Some(page) = self.pages.get(&(gpa - at as u64)) {
            entry[..size].copy_from_slice(&page[at..at + size]);
        }
        u64::from_le_bytes(entry)
    }

    fn write(&mut self, gpa: u64, bytes: &[u8]) {
        let at = (gpa % MIN_PAGE_SIZE) as usize;
        let page = self.pages.entry(gpa - at as u64);
        let page = page.or_insert_with(|| Box::new([0; PAGE]));
        page[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub(super) fn translate(&self, vaddr: u64) -> Option<u64> {
        let shape = Shape::of(self.kind);
        let mut table = shape.root;
        for level in shape.levels {
            let entry = self.entry(shape.entry_at(table, vaddr, *level));
            if entry == 0 {
                return None;
            }
            table = entry & ADDRESS;
        }
        Some(table + vaddr % MIN_PAGE_SIZE)
    }

    /// Maps the page with `vaddr` if it is not mapped. Returns the byte's guest-physical address.
    pub(super) fn map(&mut self, vaddr: u64) -> u64 {
        let shape = Shape::of(self.kind);
        let mut table = shape.root;
        for level in shape.levels {
            let at = shape.entry_at(table, vaddr, *level);
            let mut entry = self.entry(at);
            if entry == 0 {
                let is_last = level.0 == 12;
                entry = self.frame() | if is_last { LEAF } else { TABLE };
                self.write(at, &entry.to_le_bytes()[..shape.entry as usize]);
            }
            table = entry & ADDRESS;
        }
        table + vaddr % MIN_PAGE_SIZE
    }

    /// Writes `bytes` from the virtual address `vaddr` on, and maps pages where needed.
    pub(super) fn put(&mut self, mut vaddr: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = PAGE - (vaddr % MIN_PAGE_SIZE) as usize;
            let (here, behind) = bytes.split_at(bytes.len().min(room));
            let gpa = self.map(vaddr);
            self.write(gpa, here);
            vaddr += here.len() as u64;
            bytes = behind;
        }
    }

    /// Writes words of the kernel's size.
    pub(super) fn put_words(&mut self, vaddr: u64, words: &[u64]) {
        let size = self.kind.width().word();
        for (word, at) in words.iter().zip((vaddr..).step_by(size)) {
            self.put(at, &word.to_le_bytes()[..size]);
        }
    }
}

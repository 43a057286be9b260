//! The guest's page tables, and the pages that they map: the frames are given
//! out in no order, so that what is contiguous for the kernel is not so in
//! physical memory.
//!
//! Source: Intel SDM volume 3, chapter 5, "4-Level Paging".
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use crate::demo::PAGE;
use crate::memory::MIN_PAGE_SIZE;

/// Guest-physical address of the first table.
pub(super) const ROOT: u64 = 0x1a_d000;
/// Page frames for tables and pages, guest-physical.
const FRAMES: u64 = 0x20_0000;
pub(super) const FRAMES_END: u64 = 0x60_0000;

/// Present, writable, accessed, dirty.
const TABLE: u64 = 0x63;
/// The same, of a page that all address spaces share.
const LEAF: u64 = 0x163;
/// Bits 51 to 12.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

type Page = Box<[u8; PAGE]>;

/// Index of the first table's entry for itself, by which the kernel reaches
/// its tables; since Windows 10 1607 another one after each start.
const SELF_MAP: u64 = 0x1ed;

/// The kernel's memory.
pub(super) struct Tables {
    /// By guest-physical address.
    pages: BTreeMap<u64, Page>,
    frames: u64,
}

impl Tables {
    pub(super) fn new() -> Self {
        let mut tables = Self {
            pages: BTreeMap::new(),
            frames: 0,
        };
        tables.write(ROOT + SELF_MAP * 8, &(ROOT | TABLE).to_le_bytes());
        tables
    }

    pub(super) fn page(&self, gpa: u64) -> Option<&[u8; PAGE]> {
        self.pages.get(&gpa).map(|page| &**page)
    }

    /// Guest-physical address of the next free frame.
    fn frame(&mut self) -> u64 {
        const COUNT: u64 = (FRAMES_END - FRAMES) / MIN_PAGE_SIZE;
        // Has no divisor in common with the count.
        const STEP: u64 = 389;
        debug_assert!(self.frames < COUNT);
        let frame = self.frames * STEP % COUNT;
        self.frames += 1;
        FRAMES + frame * MIN_PAGE_SIZE
    }

    fn word(&self, gpa: u64) -> u64 {
        let at = (gpa % MIN_PAGE_SIZE) as usize;
        let page = self.pages.get(&(gpa - at as u64));
        let bytes = page.and_then(|page| page[at..].first_chunk());
        bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    fn write(&mut self, gpa: u64, bytes: &[u8]) {
        let at = (gpa % MIN_PAGE_SIZE) as usize;
        let page = self.pages.entry(gpa - at as u64);
        let page = page.or_insert_with(|| Box::new([0; PAGE]));
        page[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Guest-physical address of the entry for `vaddr` in the table of
    /// `level`, 0 for the last.
    fn entry(table: u64, vaddr: u64, level: u32) -> u64 {
        table + (vaddr >> (12 + 9 * level)) % 512 * 8
    }

    pub(super) fn translate(&self, vaddr: u64) -> Option<u64> {
        let mut table = ROOT;
        for level in (0..4).rev() {
            let entry = self.word(Self::entry(table, vaddr, level));
            if entry == 0 {
                return None;
            }
            table = entry & ADDRESS;
        }
        Some(table + vaddr % MIN_PAGE_SIZE)
    }

    /// Maps the page with `vaddr`, if it is not; returns the byte's
    /// guest-physical address.
    pub(super) fn map(&mut self, vaddr: u64) -> u64 {
        let mut table = ROOT;
        for level in (0..4).rev() {
            let at = Self::entry(table, vaddr, level);
            let mut entry = self.word(at);
            if entry == 0 {
                entry = self.frame() | if level == 0 { LEAF } else { TABLE };
                self.write(at, &entry.to_le_bytes());
            }
            table = entry & ADDRESS;
        }
        table + vaddr % MIN_PAGE_SIZE
    }

    /// Writes `bytes` from the virtual address `vaddr` on, which is mapped
    /// where it is not.
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

    pub(super) fn put_words(&mut self, vaddr: u64, words: &[u64]) {
        for (word, at) in words.iter().zip((vaddr..).step_by(8)) {
            self.put(at, &word.to_le_bytes());
        }
    }
}

//! A tiny builder of page tables in guest memory.

use std::cell::Cell;
use std::io;

use guestdump::Progress;
use guestdump::guest::paging::{AddressSpace, Budget, Mapping, Mappings, TranslateError, mappings};
use guestdump::memory::MemoryRange;

/// RAM from guest-physical address 0 on, with page tables in it.
pub(crate) struct Guest {
    pub(crate) ram: Vec<u8>,
    /// Reads so far.
    pub(crate) reads: Cell<u64>,
    /// Bytes read so far.
    pub(crate) bytes: Cell<u64>,
}

impl Guest {
    pub(crate) fn new(size: usize) -> Self {
        Self {
            ram: vec![0; size],
            reads: Cell::new(0),
            bytes: Cell::new(0),
        }
    }

    /// Writes the 8-byte entry `index` of the table at `table`.
    pub(crate) fn set(&mut self, table: u64, index: usize, entry: u64) {
        let at = table as usize + index * 8;
        self.ram[at..at + 8].copy_from_slice(&entry.to_le_bytes());
    }

    /// Writes the 8-byte big-endian entry `index` of the table at `table`.
    pub(crate) fn set_be(&mut self, table: u64, index: usize, entry: u64) {
        self.set(table, index, entry.swap_bytes());
    }

    /// Writes the 4-byte entry `index` of the table at `table`.
    pub(crate) fn set32(&mut self, table: u64, index: usize, entry: u32) {
        let at = table as usize + index * 4;
        self.ram[at..at + 4].copy_from_slice(&entry.to_le_bytes());
    }

    pub(crate) fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        self.reads.set(self.reads.get() + 1);
        self.bytes.set(self.bytes.get() + buf.len() as u64);
        let bytes = usize::try_from(gpa).ok().and_then(|at| self.ram.get(at..));
        let bytes = bytes.and_then(|rest| rest.get(..buf.len()));
        buf.copy_from_slice(bytes.ok_or(io::ErrorKind::InvalidInput)?);
        Ok(())
    }

    pub(crate) fn translate(&self, space: &AddressSpace, vaddr: u64) -> Option<u64> {
        match space.translate(&|gpa, buf: &mut [u8]| self.read(gpa, buf), vaddr) {
            Ok(gpa) => Some(gpa),
            Err(TranslateError::NotMapped { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// All mappings to anywhere below 2^52.
    pub(crate) fn mappings(&self, space: &AddressSpace) -> Vec<(u64, u64, u64)> {
        let all = [MemoryRange::new(0, 1 << 52).unwrap()];
        let found = self.walk(&[*space], &all, Budget::default());
        assert!(!found.is_partial());
        assert_eq!(found.unreadable_tables, 0);
        triples(&found.list)
    }

    pub(crate) fn walk(
        &self,
        spaces: &[AddressSpace],
        ram: &[MemoryRange],
        budget: Budget,
    ) -> Mappings {
        let read = |gpa, buf: &mut [u8]| self.read(gpa, buf);
        mappings(spaces, &read, ram, budget, &Progress::new()).unwrap()
    }
}

pub(crate) fn triples(list: &[Mapping]) -> Vec<(u64, u64, u64)> {
    list.iter().map(|m| (m.vaddr, m.gpa, m.size)).collect()
}

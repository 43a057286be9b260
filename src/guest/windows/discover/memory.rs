//! Reads the guest's memory by virtual addresses, with a limit on the work.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::io;

use zerocopy::{FromBytes, IntoBytes};

use crate::abi::ByteOrder;
use crate::guest::paging::{AddressSpace, X86};
use crate::guest::reader::Guest;
use crate::guest::windows::discover::format::{ListEntry, ListEntry32};
use crate::guest::windows::discover::width::Width;
use crate::memory::{MIN_PAGE_SIZE, is_ram};

/// The most reads of guest memory in one search. A page table's entry counts as
/// one. An honest guest needs some hundred thousand.
pub(crate) const MAX_READS: u64 = 1 << 20;
/// The most bytes of guest memory that one search may read. An honest guest
/// needs some 30 MiB.
pub(crate) const MAX_BYTES: u64 = 256 << 20;

/// The remaining work that a search may do.
#[derive(Debug)]
pub(crate) struct Work {
    reads: Cell<u64>,
    bytes: Cell<u64>,
}

impl Work {
    pub(crate) const fn new() -> Self {
        Self::of(MAX_READS, MAX_BYTES)
    }

    /// Returns work of so many reads, of so many bytes together.
    pub(crate) const fn of(reads: u64, bytes: u64) -> Self {
        Self {
            reads: Cell::new(reads),
            bytes: Cell::new(bytes),
        }
    }

    /// Gives `search` at most `reads` reads of `bytes` bytes of this work. `None` if nothing remains.
    /// The second result says whether that was too little.
    pub(crate) fn lend<T>(
        &self,
        reads: u64,
        bytes: u64,
        search: impl FnOnce(&Self) -> T,
    ) -> Option<(T, bool)> {
        let reads = reads.min(self.reads.get());
        let bytes = bytes.min(self.bytes.get());
        (reads > 0).then_some(())?;
        let part = Self::of(reads, bytes);
        let result = search(&part);
        self.reads.set(self.reads.get() - reads + part.reads.get());
        self.bytes.set(self.bytes.get() - bytes + part.bytes.get());
        Some((result, part.is_used_up()))
    }

    /// Subtracts a read of `len` bytes. It returns `false` if too little work
    /// remains.
    fn take(&self, len: usize) -> bool {
        let reads = self.reads.get().checked_sub(1);
        let bytes = self.bytes.get().checked_sub(len as u64);
        let (Some(reads), Some(bytes)) = (reads, bytes) else {
            // All further reads fail, so the search comes to its end.
            self.reads.set(0);
            return false;
        };
        self.reads.set(reads);
        self.bytes.set(bytes);
        true
    }

    pub(crate) fn is_used_up(&self) -> bool {
        self.reads.get() == 0
    }
}

/// The guest's memory as its page tables map it.
#[derive(Clone, Copy)]
pub(crate) struct VirtualMemory<'a> {
    pub(crate) guest: Guest<'a>,
    pub(crate) tables: X86,
    pub(crate) work: &'a Work,
}

impl VirtualMemory<'_> {
    /// Returns the word size of a kernel with these page tables.
    pub(crate) const fn width(&self) -> Width {
        Width::of(self.tables.mode)
    }

    pub(crate) fn read_physical(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        if !self.work.take(buf.len()) {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        self.guest.read(gpa, buf)
    }

    /// Returns the guest-physical address of the byte at `vaddr`.
    pub(crate) fn translate(&self, vaddr: u64) -> Option<u64> {
        let read = |gpa, buf: &mut [u8]| self.read_physical(gpa, buf);
        AddressSpace::X86(self.tables).translate(&read, vaddr).ok()
    }

    /// Returns where the `len` bytes at `vaddr` lie: guest-physical address and
    /// length of each piece. It returns `None` unless all bytes are mapped to
    /// RAM.
    pub(crate) fn pieces(&self, vaddr: u64, len: usize) -> Option<Vec<(u64, usize)>> {
        let mut pieces = Vec::new();
        let mut done = 0;
        while done < len {
            let at = vaddr.checked_add(done as u64)?;
            let room = (MIN_PAGE_SIZE - at % MIN_PAGE_SIZE) as usize;
            let here = room.min(len - done);
            let gpa = self.translate(at)?;
            is_ram(self.guest.ranges, gpa, here as u64).then_some(())?;
            pieces.push((gpa, here));
            done += here;
        }
        Some(pieces)
    }

    /// Fills `buf` from `vaddr` on. It returns `None` if a byte cannot be read.
    pub(crate) fn read(&self, vaddr: u64, buf: &mut [u8]) -> Option<()> {
        let mut rest = buf;
        for (gpa, len) in self.pieces(vaddr, rest.len())? {
            let (here, behind) = rest.split_at_mut(len);
            self.read_physical(gpa, here).ok()?;
            rest = behind;
        }
        Some(())
    }

    /// Reads the structure at `vaddr`.
    pub(crate) fn read_struct<T: FromBytes + IntoBytes>(&self, vaddr: u64) -> Option<T> {
        let mut value = T::new_zeroed();
        self.read(vaddr, value.as_mut_bytes())?;
        Some(value)
    }

    pub(crate) fn read_u32(&self, vaddr: u64) -> Option<u32> {
        let mut bytes = [0; 4];
        self.read(vaddr, &mut bytes)?;
        ByteOrder::Little.read(&bytes)
    }

    /// Reads a word of the kernel's size, for example a pointer.
    pub(crate) fn read_word(&self, vaddr: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        let word = &mut bytes[..self.width().word()];
        self.read(vaddr, word)?;
        Some(ByteOrder::Little.number(word))
    }

    /// Reads the `N` words from `vaddr` on.
    pub(crate) fn read_words<const N: usize>(&self, vaddr: u64) -> Option<[u64; N]> {
        let size = self.width().word();
        let mut bytes = vec![0; N * size];
        self.read(vaddr, &mut bytes)?;
        let mut words = [0; N];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(size)) {
            *word = ByteOrder::Little.number(bytes);
        }
        Some(words)
    }

    /// Reads the `LIST_ENTRY` at `vaddr`.
    pub(crate) fn read_list_entry(&self, vaddr: u64) -> Option<ListEntry> {
        match self.width() {
            Width::Bits32 => self.read_struct::<ListEntry32>(vaddr).map(Into::into),
            Width::Bits64 => self.read_struct(vaddr),
        }
    }

    /// Returns whether `vaddr` may belong to the kernel.
    pub(crate) fn is_kernel_address(&self, vaddr: u64) -> bool {
        self.width().is_kernel_address(vaddr)
    }
}

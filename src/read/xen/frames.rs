//! The list of page frame numbers in a dump-core.
#![forbid(unsafe_code)]

use crate::abi::ByteOrder;
use crate::memory::MemoryRange;
use crate::read::stored::{Extent, StoredMemory};
use crate::read::{Input, VmcoreError};
use crate::xen::INVALID_FRAME;

/// Bytes of the list that are read at once; a multiple of each entry's size.
const READ_AT_ONCE: u64 = 64 << 10;

/// Where the list of page frame numbers and the pages are.
#[derive(Debug, Clone, Copy)]
pub(super) struct PageList {
    /// Offset of the list in the dump.
    pub(super) at: u64,
    /// Numbers in an entry: 1, or 2 in the list of a paravirtualized guest. The
    /// first one is the guest's page frame number.
    pub(super) numbers: usize,
    /// Number of pages, invalid ones included.
    pub(super) count: u64,
    /// Offset of the first page in the dump.
    pub(super) pages_at: u64,
    /// Bytes of a page.
    pub(super) page_size: u64,
}

impl PageList {
    /// Bytes of the list.
    pub(super) fn size(&self) -> Option<u64> {
        self.count.checked_mul(8 * self.numbers as u64)
    }

    /// Bytes of all pages.
    pub(super) fn pages_size(&self) -> Option<u64> {
        self.count.checked_mul(self.page_size)
    }

    /// Reads the list. A page with an invalid number is not in the memory. Returns
    /// also the pages that are listed, and after the end of the file.
    ///
    /// The list has any order ("There is no rule about the order", Xen `docs/misc/dump-core-format.txt`).
    /// A list in a hole of the file has page frame 0 again and again. It is refused at once, and the
    /// extents are in proportion to the bytes that are in the file.
    pub(super) fn memory(
        &self,
        input: &Input,
        order: ByteOrder,
    ) -> Result<(StoredMemory, Vec<MemoryRange>), VmcoreError> {
        let entry_size = 8 * self.numbers;
        let mut extents: Vec<Extent> = Vec::new();
        let mut absent: Vec<Extent> = Vec::new();
        let mut last = None;
        let mut buf = Vec::new();
        let mut index = 0;
        while index < self.count {
            let n = (self.count - index).min(READ_AT_ONCE / entry_size as u64);
            buf.resize(n as usize * entry_size, 0);
            let at = self.at + index * entry_size as u64;
            input.read_at(at, &mut buf)?;
            for (entry, at) in buf.chunks_exact(entry_size).zip((at..).step_by(entry_size)) {
                let is_invalid = |number: &[u8]| order.number(number) == INVALID_FRAME;
                if !entry.chunks_exact(8).any(is_invalid) {
                    let page = self.page(order.number(&entry[..8]), index, at)?;
                    if last.replace(page.range) == Some(page.range) {
                        return Err(twice(page.range.start(), at));
                    }
                    let is_there = input.holds(page.offset, self.page_size);
                    add(if is_there { &mut extents } else { &mut absent }, page);
                }
                index += 1;
            }
        }
        extents.sort_unstable_by_key(start);
        absent.sort_unstable_by_key(start);
        self.check_distinct(&extents, &absent)?;
        let absent = absent.iter().map(|extent| extent.range).collect();
        Ok((StoredMemory::new(extents), absent))
    }

    /// Refuses a page that is listed twice. Both lists ascend by address.
    fn check_distinct(&self, extents: &[Extent], absent: &[Extent]) -> Result<(), VmcoreError> {
        let mut all = [extents, absent].concat();
        all.sort_by_key(start);
        let mut pairs = all.iter().zip(all.iter().skip(1));
        match pairs.find(|(one, next)| one.range.end() > next.range.start()) {
            None => Ok(()),
            Some((_, next)) => {
                let index = (next.offset - self.pages_at) / self.page_size;
                let at = self.at + index * 8 * self.numbers as u64;
                Err(twice(next.range.start(), at))
            }
        }
    }

    /// The page `index`, whose page frame number `pfn` is at `at`.
    fn page(&self, pfn: u64, index: u64, at: u64) -> Result<Extent, VmcoreError> {
        let range = pfn
            .checked_mul(self.page_size)
            .and_then(|start| MemoryRange::new(start, self.page_size).ok());
        let range = range.ok_or_else(|| {
            VmcoreError::damaged(at, format!("page frame {pfn:#x} is beyond all memory"))
        })?;
        Ok(Extent {
            range,
            offset: self.pages_at + index * self.page_size,
        })
    }
}

/// The error for a page whose number is at `at` for the second time.
fn twice(gpa: u64, at: u64) -> VmcoreError {
    VmcoreError::damaged(at, format!("the page at {gpa:#x} is listed twice"))
}

fn start(extent: &Extent) -> u64 {
    extent.range.start()
}

/// Appends a page, to the last extent if it continues that.
fn add(extents: &mut Vec<Extent>, page: Extent) {
    if let Some(last) = extents.last_mut()
        && last.range.end() == page.range.start()
        && last.offset + last.range.size() == page.offset
    {
        let size = last.range.size() + page.range.size();
        if let Ok(joined) = MemoryRange::new(last.range.start(), size) {
            last.range = joined;
            return;
        }
    }
    extents.push(page);
}

//! Guest memory in whole pages, even if only a part of a page is RAM.
#![forbid(unsafe_code)]

use std::io;

use crate::memory::{Coverage, GuestMemory, MemoryRange};

/// Guest memory in which the parts of pages that are not RAM are zeroes.
pub(crate) struct WholePages<'a> {
    memory: &'a dyn GuestMemory,
    ram: &'a [MemoryRange],
}

impl<'a> WholePages<'a> {
    /// Wraps `memory`, whose ranges are `ram`.
    pub(crate) fn new(memory: &'a dyn GuestMemory, ram: &'a [MemoryRange]) -> Self {
        Self { memory, ram }
    }

    /// Iterates over the parts of `range` that are RAM.
    fn ram_in(&self, range: MemoryRange) -> impl Iterator<Item = MemoryRange> {
        let first = self.ram.partition_point(|ram| ram.end() <= range.start());
        self.ram[first..]
            .iter()
            .map_while(move |ram| ram.intersection(&range))
    }
}

impl GuestMemory for WholePages<'_> {
    fn ranges(&self) -> Vec<MemoryRange> {
        self.ram.to_vec()
    }

    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        let Ok(range) = MemoryRange::new(gpa, buf.len() as u64) else {
            return self.memory.read(gpa, buf);
        };
        buf.fill(0);
        for part in self.ram_in(range) {
            let at = (part.start() - gpa) as usize;
            let buf = &mut buf[at..at + part.size() as usize];
            self.memory.read(part.start(), buf)?;
        }
        Ok(())
    }

    fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
        for part in self.ram_in(range) {
            if let Some(extent) = self.memory.next_populated(part)? {
                return Ok(extent.intersection(&part));
            }
        }
        Ok(None)
    }

    fn as_slice(&self, range: MemoryRange) -> Option<&[u8]> {
        let part = self.ram_in(range).next()?;
        self.memory.as_slice(Some(range).filter(|r| *r == part)?)
    }

    fn coverage(&self) -> Coverage {
        self.memory.coverage()
    }
}

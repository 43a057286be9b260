//! Reading a piece of guest memory that may be populated in part.

use std::io;

use crate::fault::Fault;
use crate::memory::{GuestMemory, MIN_PAGE_SIZE, MemoryRange, read_populated, slice};

/// A piece of one run of page frames. It consists of whole pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) range: MemoryRange,
    /// Whether anything in it may be populated. If not, it is zeroes.
    pub(crate) populated: bool,
    /// The extent that is known to be populated. Nothing before it in `range` is
    /// populated. After it, up to the end of the guest's page, something may be.
    pub(super) known: Option<MemoryRange>,
}

impl Part {
    /// The bytes in place, if the memory can give them.
    ///
    /// # Errors
    ///
    /// [`Fault::SliceLength`] if the memory gives too few or too many.
    pub(crate) fn in_place<'m>(
        &self,
        memory: &'m dyn GuestMemory,
    ) -> Result<Option<&'m [u8]>, Fault> {
        match self.known {
            Some(known) if known == self.range => slice(memory, known),
            _ => Ok(None),
        }
    }

    /// The part in pieces of `size` bytes, whole pages, and what is left over.
    pub(crate) fn pieces(self, size: u64) -> impl Iterator<Item = Self> {
        let mut rest = Some(self.range);
        std::iter::from_fn(move || {
            let (range, behind) = rest?.split_at(size);
            rest = behind;
            Some(Self {
                range,
                known: self.known.and_then(|known| known.intersection(&range)),
                ..self
            })
        })
    }

    /// Reads what is populated into `buf`, which has the size of the range;
    /// the rest becomes zeroes.
    pub(crate) fn read(&self, memory: &dyn GuestMemory, buf: &mut [u8]) -> Result<(), Fault> {
        let start = self.range.start();
        let known = self.known.map_or(start..start, |k| k.start()..k.end());
        let (before, rest) = buf.split_at_mut((known.start - start) as usize);
        let (inside, behind) = rest.split_at_mut((known.end - known.start) as usize);
        before.fill(0);
        let result = match inside {
            [] => Ok(()),
            inside => memory.read(known.start, inside),
        };
        result
            .and_then(|()| match behind {
                [] => Ok(()),
                behind => read_populated(memory, self.range, known.end, behind),
            })
            .map_err(|source| self.read_error(memory, source))
    }

    /// The error for a part that cannot be read, of the first page that
    /// cannot, if that can be told.
    fn read_error(&self, memory: &dyn GuestMemory, source: io::Error) -> Fault {
        let mut page = [0; MIN_PAGE_SIZE as usize];
        let starts = (self.range.start()..self.range.end()).step_by(page.len());
        for gpa in starts {
            let here = MemoryRange::of_frames(gpa / MIN_PAGE_SIZE, 1, MIN_PAGE_SIZE);
            if let Err(source) = read_populated(memory, here, gpa, &mut page) {
                let len = MIN_PAGE_SIZE;
                return Fault::Read { gpa, len, source };
            }
        }
        Fault::Read {
            gpa: self.range.start(),
            len: self.range.size(),
            source,
        }
    }
}

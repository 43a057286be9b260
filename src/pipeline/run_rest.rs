//! The walk through one run of page frames.
//!
//! The memory is asked for its extents in one pass over each run: on tmpfs the
//! answer can take as long as the extent is large.

use std::io;

use crate::fault::Fault;
use crate::memory::{GuestMemory, MemoryRange};
use crate::selection::{FrameRun, Selection};

/// The rest of a run: the pages that no chunk has yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct RunRest {
    pub(super) range: MemoryRange,
    stretch: Stretch,
    ahead: Ahead,
}

/// The pages from the beginning of a rest on that are all dumped or all excluded.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    is_excluded: bool,
    /// The guest-physical address after the last page.
    end: u64,
}

/// The memory's answer about the rest.
#[derive(Debug, Clone, Copy)]
enum Ahead {
    /// The memory was not asked since the last extent ended.
    NotAsked,
    /// The first populated extent, and the guest's pages that it touches.
    Extent {
        known: MemoryRange,
        pages: MemoryRange,
    },
    /// The rest has no populated extent.
    Nothing,
}

/// The pages from the beginning of a rest on that are all alike.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beginning {
    /// The guest-physical address after the last page.
    pub(super) end: u64,
    /// The extent that is known to be populated; `None` if the pages are not
    /// populated.
    pub(super) known: Option<MemoryRange>,
}

impl Stretch {
    fn at_beginning(of: MemoryRange, selection: &Selection) -> Self {
        let page_size = selection.page_size;
        let (start, end) = (of.start() / page_size, of.end() / page_size);
        let (is_excluded, until) = selection.left_out.next_change(start, end);
        Self {
            is_excluded,
            end: until * page_size,
        }
    }
}

impl RunRest {
    /// All of `run`.
    pub(super) fn of_run(run: &FrameRun, selection: &Selection) -> Self {
        let range = run.range(selection.page_size);
        Self {
            range,
            stretch: Stretch::at_beginning(range, selection),
            ahead: Ahead::NotAsked,
        }
    }

    /// Whether the first page is excluded from the dump.
    pub(super) fn begins_excluded(&self) -> bool {
        self.stretch.is_excluded
    }

    /// The rest after the excluded pages at the beginning.
    pub(super) fn after_excluded(self, selection: &Selection) -> Option<Self> {
        self.advanced_to(self.range.starting_at(self.stretch.end), selection)
    }

    /// The rest after a chunk has taken all before `range`; `None` at the end
    /// of the run.
    pub(super) fn advanced_to(
        self,
        range: Option<MemoryRange>,
        selection: &Selection,
    ) -> Option<Self> {
        let range = range?;
        let stretch = if range.start() < self.stretch.end {
            self.stretch
        } else {
            Stretch::at_beginning(range, selection)
        };
        let ahead = match self.ahead {
            Ahead::Extent { pages, .. } if pages.end() <= range.start() => Ahead::NotAsked,
            ahead => ahead,
        };
        Some(Self {
            range,
            stretch,
            ahead,
        })
    }

    /// The pages at the beginning. Excluded pages count as not populated, so the
    /// memory is not asked for them.
    pub(super) fn beginning(
        &mut self,
        memory: &dyn GuestMemory,
        selection: &Selection,
    ) -> Result<Beginning, Fault> {
        if self.stretch.is_excluded {
            return Ok(Beginning {
                end: self.stretch.end,
                known: None,
            });
        }
        if let Ahead::NotAsked = self.ahead {
            self.ahead = self.ask(memory, selection)?;
        }
        let (end, known) = match self.ahead {
            Ahead::Extent { pages, .. } if pages.start() > self.range.start() => {
                (pages.start(), None)
            }
            Ahead::Extent { known, pages } => (pages.end(), Some(known)),
            Ahead::NotAsked | Ahead::Nothing => (self.range.end(), None),
        };
        Ok(Beginning {
            end: end.min(self.stretch.end),
            known,
        })
    }

    fn ask(&self, memory: &dyn GuestMemory, selection: &Selection) -> Result<Ahead, Fault> {
        let range = self.range;
        let failed = |source| Fault::Read {
            gpa: range.start(),
            len: range.size(),
            source,
        };
        let Some(found) = memory.next_populated(range).map_err(failed)? else {
            return Ok(Ahead::Nothing);
        };
        // Ignoring an extent outside the range would turn memory into zeroes.
        let known = found.intersection(&range).ok_or_else(|| {
            failed(io::Error::other(format!(
                "the memory names the populated extent {found}, which is not in {range}"
            )))
        })?;
        // Extents consist of the host's pages, the dump of the guest's.
        let pages = known.expand_to(selection.page_size, &range);
        Ok(Ahead::Extent { known, pages })
    }
}

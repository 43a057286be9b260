//! Guest memory that lacks pages.

use std::io;

use guestdump::memory::{Coverage, Lack};
use guestdump::{GuestInfo, GuestMemory, Machine, MemoryRange};

pub(crate) const PAGE: u64 = 4096;

/// A page of a [`Source`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Page {
    /// It is RAM, and not in the source.
    Absent,
    /// It is a hole.
    Hole,
    /// All bytes have this value.
    Filled(u8),
}

/// Guest memory of ranges of pages.
#[derive(Debug, Clone, Default)]
pub(crate) struct Source {
    /// The first page frame and the pages of each range.
    pub(crate) ram: Vec<(u64, Vec<Page>)>,
    pub(crate) level: u32,
    pub(crate) lacks: Vec<Lack>,
}

impl Source {
    fn pages(&self) -> impl Iterator<Item = (u64, Page)> {
        let frames = |(start, pages): &(u64, Vec<Page>)| (*start..).zip(pages.clone());
        self.ram.iter().flat_map(frames)
    }

    fn page(&self, gpa: u64) -> Option<Page> {
        let mut pages = self.pages();
        let (_, page) = pages.find(|(frame, _)| *frame == gpa / PAGE)?;
        Some(page)
    }

    /// Runs of pages of one kind.
    fn runs(&self, is_in: impl Fn(Page) -> bool) -> Vec<MemoryRange> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for (frame, _) in self.pages().filter(|(_, page)| is_in(*page)) {
            match runs.last_mut() {
                Some((start, count)) if *start + *count == frame => *count += 1,
                _ => runs.push((frame, 1)),
            }
        }
        let range = |(start, count)| MemoryRange::new(start * PAGE, count * PAGE).unwrap();
        runs.into_iter().map(range).collect()
    }

    pub(crate) fn guest() -> GuestInfo {
        GuestInfo::new(Machine::X86_64)
    }

    /// Asserts that `memory` has the pages of this source, and lacks the same.
    pub(crate) fn assert_same(&self, memory: &dyn GuestMemory) {
        let joined = |ranges: Vec<MemoryRange>| {
            let mut frames: Vec<u64> = ranges
                .iter()
                .flat_map(|range| range.start() / PAGE..range.end() / PAGE)
                .collect();
            frames.sort_unstable();
            frames
        };
        assert_eq!(joined(memory.ranges()), joined(self.ranges()));
        let coverage = memory.coverage();
        assert_eq!(joined(coverage.absent), joined(self.coverage().absent));
        assert_eq!(coverage.dump_level, self.level);
        for (frame, page) in self.pages() {
            let mut bytes = [0xa5; PAGE as usize];
            let result = memory.read(frame * PAGE, &mut bytes);
            let expected = match page {
                Page::Absent => {
                    assert!(result.is_err(), "{frame:#x}");
                    continue;
                }
                Page::Hole => 0,
                Page::Filled(byte) => byte,
            };
            result.unwrap();
            assert!(bytes.iter().all(|byte| *byte == expected), "{frame:#x}");
        }
    }
}

impl GuestMemory for Source {
    fn ranges(&self) -> Vec<MemoryRange> {
        self.runs(|page| page != Page::Absent)
    }

    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        let mut at = gpa;
        let mut rest = buf;
        while !rest.is_empty() {
            let n = (PAGE - at % PAGE).min(rest.len() as u64);
            let (here, after) = rest.split_at_mut(n as usize);
            match self.page(at) {
                Some(Page::Filled(byte)) => here.fill(byte),
                Some(Page::Hole) => panic!("{at:#x} is a hole"),
                _ => return Err(io::Error::other("not in the source")),
            }
            at += n;
            rest = after;
        }
        Ok(())
    }

    fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
        let filled = self.runs(|page| matches!(page, Page::Filled(_)));
        let found = filled.iter().find_map(|run| run.intersection(&range));
        // As most memories, it cannot tell of pages that it does not contain.
        let asked = range.start()..found.map_or(range.end(), |found| found.start());
        let absent = self.runs(|page| page == Page::Absent);
        if absent
            .iter()
            .any(|run| run.start() < asked.end && asked.start < run.end())
        {
            return Err(io::Error::other("not in the source"));
        }
        Ok(found)
    }

    fn coverage(&self) -> Coverage {
        let mut coverage = Coverage::complete();
        coverage.absent = self.runs(|page| page == Page::Absent);
        coverage.dump_level = self.level;
        coverage.lacks.clone_from(&self.lacks);
        coverage
    }
}

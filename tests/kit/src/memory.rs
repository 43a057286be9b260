//! Guests of explicit pages, some of which cannot be read.

use std::io;

use guestdump::GuestMemory;
use guestdump::memory::{MemoryRange, SliceMemory};

use crate::random::Random;

pub const PAGE: u64 = 4096;

/// Returns the range of `size` bytes from `start` on.
pub fn range(start: u64, size: u64) -> MemoryRange {
    MemoryRange::new(start, size).unwrap()
}

/// The contents of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    Zero,
    /// Never populated. Reading it is a panic, unless the guest is lenient.
    Untouched,
    Text(u8),
    Random(u8),
    /// Zero except for one byte, whose place this number chooses.
    Nearly(u16),
}

impl Page {
    pub fn bytes(self) -> Vec<u8> {
        let mut bytes = vec![0; PAGE as usize];
        self.fill(&mut bytes);
        bytes
    }

    /// Fills `page` with these contents.
    pub fn fill(self, page: &mut [u8]) {
        page.fill(0);
        match self {
            Self::Zero | Self::Untouched => {}
            Self::Text(seed) => {
                let text = format!("page {seed} of a guest that likes to repeat itself; ");
                for (byte, letter) in page.iter_mut().zip(text.bytes().cycle()) {
                    *byte = letter;
                }
            }
            Self::Random(seed) => {
                Random::new(0x9e37_79b9_7f4a_7c15 ^ (u64::from(seed) << 20)).fill(page);
            }
            Self::Nearly(at) => page[usize::from(at) % page.len()] = 1,
        }
    }
}

/// A guest of explicit pages.
#[derive(Debug, Clone, Default)]
pub struct PageMemory {
    /// Guest-physical address and pages of each range.
    pub ranges: Vec<(u64, Vec<Page>)>,
    /// Reading this guest-physical address fails.
    pub poisoned: Option<u64>,
    /// Reading this guest-physical address panics.
    pub explosive: Option<u64>,
    /// Untouched pages read as zeroes.
    pub lenient: bool,
}

impl PageMemory {
    pub fn new(ranges: impl IntoIterator<Item = (u64, Vec<Page>)>) -> Self {
        Self {
            ranges: ranges.into_iter().collect(),
            ..Self::default()
        }
    }

    pub fn page(&self, gpa: u64) -> Option<Page> {
        self.ranges.iter().find_map(|(start, pages)| {
            let index = gpa.checked_sub(*start)? / PAGE;
            pages.get(index as usize).copied()
        })
    }

    /// All pages with their guest-physical addresses.
    pub fn pages(&self) -> impl Iterator<Item = (u64, Page)> {
        self.ranges
            .iter()
            .flat_map(|(start, pages)| (*start..).step_by(PAGE as usize).zip(pages.iter().copied()))
    }
}

impl GuestMemory for PageMemory {
    fn ranges(&self) -> Vec<MemoryRange> {
        self.ranges
            .iter()
            .map(|(start, pages)| range(*start, pages.len() as u64 * PAGE))
            .collect()
    }

    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        let all = gpa..gpa.saturating_add(buf.len() as u64);
        if self.poisoned.is_some_and(|bad| all.contains(&bad)) {
            return Err(io::Error::other("poisoned page"));
        }
        assert!(
            !self.explosive.is_some_and(|bad| all.contains(&bad)),
            "explosive page"
        );
        let mut bytes = [0; PAGE as usize];
        let mut done = 0;
        while done < buf.len() {
            let at = gpa + done as u64;
            let page = self
                .page(at)
                .ok_or_else(|| io::Error::other(format!("{at:#x} is not RAM")))?;
            let touched = page != Page::Untouched;
            assert!(touched || self.lenient, "{at:#x} was never touched");
            page.fill(&mut bytes);
            let from = (at % PAGE) as usize;
            let n = (PAGE as usize - from).min(buf.len() - done);
            buf[done..done + n].copy_from_slice(&bytes[from..from + n]);
            done += n;
        }
        Ok(())
    }

    fn next_populated(&self, within: MemoryRange) -> io::Result<Option<MemoryRange>> {
        let populated = |gpa: u64| self.page(gpa).is_some_and(|page| page != Page::Untouched);
        let mut pages = (within.start()..within.end()).step_by(PAGE as usize);
        let Some(first) = pages.find(|gpa| populated(*gpa)) else {
            return Ok(None);
        };
        let end = pages.find(|gpa| !populated(*gpa)).unwrap_or(within.end());
        Ok(Some(range(first, end - first)))
    }
}

/// Returns the pages of `memory` as bytes, with the address of each range.
pub fn slices(memory: &PageMemory) -> Vec<(u64, Vec<u8>)> {
    memory
        .ranges
        .iter()
        .map(|(start, pages)| (*start, pages.iter().flat_map(|p| p.bytes()).collect()))
        .collect()
}

pub fn slice_memory(slices: &[(u64, Vec<u8>)]) -> SliceMemory<'_> {
    SliceMemory::new(slices.iter().map(|(start, bytes)| (*start, &bytes[..]))).unwrap()
}

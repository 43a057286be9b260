//! Any guest: ranges of pages of some kinds, some of which cannot be read.

use std::collections::BTreeSet;
use std::io;

use arbitrary::{Result, Unstructured};
use guestdump::GuestMemory;
use guestdump::memory::{MIN_PAGE_SIZE as PAGE, MemoryRange};

/// About as many pages has a guest at most: two chunks.
const MAX_PAGES: usize = 300;

/// What a page holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    Zero,
    /// Never populated.
    Untouched,
    Text(u8),
    Random(u8),
    /// Zero but for one byte.
    Nearly(u16),
}

impl Page {
    fn any(u: &mut Unstructured<'_>) -> Result<Self> {
        Ok(match u.int_in_range(0..=4)? {
            0 => Self::Zero,
            1 => Self::Untouched,
            2 => Self::Text(u.arbitrary()?),
            3 => Self::Random(u.arbitrary()?),
            _ => Self::Nearly(u.arbitrary()?),
        })
    }

    pub fn fill(self, page: &mut [u8]) {
        page.fill(0);
        match self {
            Self::Zero | Self::Untouched => {}
            Self::Nearly(at) => page[usize::from(at) % page.len()] = 1,
            Self::Text(seed) => {
                for (byte, n) in page.iter_mut().zip(0usize..) {
                    *byte = seed ^ (n / 7 % 13) as u8;
                }
            }
            Self::Random(seed) => {
                let mut state = 0x9e37_79b9_7f4a_7c15u64 ^ (u64::from(seed) << 20);
                for byte in page {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    *byte = (state >> 56) as u8;
                }
            }
        }
    }
}

pub struct Guest {
    /// Guest-physical address and pages of each range, in ascending order.
    ranges: Vec<(u64, Vec<Page>)>,
    /// Guest-physical addresses of pages whose reading fails.
    pub bad: BTreeSet<u64>,
    /// Reading what was never populated is a panic.
    strict: bool,
}

impl Guest {
    pub fn any(u: &mut Unstructured<'_>, strict: bool) -> Result<Self> {
        let mut at = *u.choose(&[0, 1 << 20, 1 << 30, 2 << 30, (4 << 30) - 0x3000, 1 << 40])?;
        let (mut ranges, mut total) = (Vec::new(), 0);
        for _ in 0..u.int_in_range(1..=5)? {
            at += match u.int_in_range(0..=9)? {
                0 => 1 << 30,
                1 => 1 << 32,
                pages => (pages - 2) * PAGE,
            };
            let mut pages = Vec::new();
            for _ in 0..u.int_in_range(1..=12)? {
                let page = Page::any(u)?;
                // Runs, so that there is more than one chunk.
                let count = if u.ratio(1, 4)? { u.arbitrary()? } else { 1u8 };
                let room = MAX_PAGES.saturating_sub(total);
                let count = usize::from(count).clamp(1, room.max(1));
                total += count;
                pages.extend(vec![page; count]);
            }
            let len = pages.len() as u64 * PAGE;
            ranges.push((at, pages));
            at += len;
        }
        let mut guest = Self {
            ranges,
            bad: BTreeSet::new(),
            strict,
        };
        let pages: Vec<u64> = guest.pages().map(|(gpa, _)| gpa).collect();
        for _ in 0..u.int_in_range(0..=9usize)?.saturating_sub(5) {
            guest.bad.insert(*u.choose(&pages)?);
        }
        Ok(guest)
    }

    pub fn pages(&self) -> impl Iterator<Item = (u64, Page)> {
        self.ranges
            .iter()
            .flat_map(|(start, pages)| (*start..).step_by(PAGE as usize).zip(pages.iter().copied()))
    }

    fn page(&self, gpa: u64) -> Option<Page> {
        self.ranges.iter().find_map(|(start, pages)| {
            let index = gpa.checked_sub(*start)? / PAGE;
            pages.get(index as usize).copied()
        })
    }

    /// Whether the page cannot be read, and anybody would.
    pub fn is_lost(&self, gpa: u64) -> bool {
        self.bad.contains(&gpa) && self.page(gpa) != Some(Page::Untouched)
    }
}

impl GuestMemory for Guest {
    fn ranges(&self) -> Vec<MemoryRange> {
        let range = |(start, pages): &(u64, Vec<Page>)| {
            MemoryRange::new(*start, pages.len() as u64 * PAGE).unwrap()
        };
        self.ranges.iter().map(range).collect()
    }

    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        let mut bytes = [0; PAGE as usize];
        let mut done = 0;
        while done < buf.len() {
            let at = gpa + done as u64;
            let page = self.page(at).ok_or(io::ErrorKind::InvalidInput)?;
            let touched = page != Page::Untouched;
            assert!(touched || !self.strict, "{at:#x} was never touched");
            if self.is_lost(at - at % PAGE) {
                return Err(io::Error::from_raw_os_error(5));
            }
            page.fill(&mut bytes);
            let from = (at % PAGE) as usize;
            let n = (PAGE as usize - from).min(buf.len() - done);
            buf[done..done + n].copy_from_slice(&bytes[from..from + n]);
            done += n;
        }
        Ok(())
    }

    fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
        let touched = |gpa: &u64| self.page(*gpa).is_some_and(|p| p != Page::Untouched);
        let pages = |from: u64| (from..range.end()).step_by(PAGE as usize);
        let Some(first) = pages(range.start()).find(touched) else {
            return Ok(None);
        };
        let end = pages(first)
            .find(|gpa| !touched(gpa))
            .unwrap_or(range.end());
        Ok(MemoryRange::new(first, end - first).ok())
    }
}

//! Any guest: ranges of pages of some kinds, some of which cannot be read.

use std::collections::BTreeSet;
use std::io;

use arbitrary::{Result, Unstructured};
use guestdump::GuestMemory;
use guestdump::memory::MemoryRange;
use testkit::{PAGE, Page, PageMemory};

/// About as many pages has a guest at most: two chunks.
const MAX_PAGES: usize = 300;
/// About as many of them are not zeroes. They are what takes time.
const MAX_FULL: usize = 24;

fn any_page(u: &mut Unstructured<'_>) -> Result<Page> {
    Ok(match u.int_in_range(0..=4)? {
        0 => Page::Zero,
        1 => Page::Untouched,
        2 => Page::Text(u.arbitrary()?),
        3 => Page::Random(u.arbitrary()?),
        _ => Page::Nearly(u.arbitrary()?),
    })
}

pub struct Guest {
    memory: PageMemory,
    /// Guest-physical addresses of pages whose reading fails.
    pub bad: BTreeSet<u64>,
}

/// The page that many pages from `page` on have: random ones are all others.
fn nth(page: Page, n: usize) -> Page {
    match page {
        Page::Random(seed) => Page::Random(seed.wrapping_add(n as u8)),
        page => page,
    }
}

impl Guest {
    /// Reading what was never populated is a panic if the guest is `strict`.
    pub fn any(u: &mut Unstructured<'_>, strict: bool) -> Result<Self> {
        let mut at = *u.choose(&[0, 1 << 20, 1 << 30, 2 << 30, (4 << 30) - 0x3000, 1 << 40])?;
        let (mut ranges, mut total, mut full) = (Vec::new(), 0, 0);
        for _ in 0..u.int_in_range(1..=4)? {
            at += match u.int_in_range(0..=9)? {
                0 => 1 << 30,
                1 => 1 << 32,
                pages => (pages - 2) * PAGE,
            };
            let mut pages = Vec::new();
            for _ in 0..u.int_in_range(1..=6)? {
                let page = any_page(u)?;
                // Runs, so that there is more than one chunk.
                let count = if u.ratio(1, 4)? { u.arbitrary()? } else { 1u8 };
                let is_full = !matches!(page, Page::Zero | Page::Untouched);
                let mut room = MAX_PAGES.saturating_sub(total);
                if is_full {
                    room = room.min(MAX_FULL.saturating_sub(full));
                }
                let count = usize::from(count).clamp(1, room.max(1));
                total += count;
                full += if is_full { count } else { 0 };
                pages.extend((0..count).map(|n| nth(page, n)));
            }
            let len = pages.len() as u64 * PAGE;
            ranges.push((at, pages));
            at += len;
        }
        let mut guest = Self {
            memory: PageMemory {
                ranges,
                lenient: !strict,
                ..PageMemory::default()
            },
            bad: BTreeSet::new(),
        };
        let pages: Vec<u64> = guest.pages().map(|(gpa, _)| gpa).collect();
        for _ in 0..u.int_in_range(0..=9usize)?.saturating_sub(5) {
            guest.bad.insert(*u.choose(&pages)?);
        }
        Ok(guest)
    }

    pub fn pages(&self) -> impl Iterator<Item = (u64, Page)> {
        self.memory.pages()
    }

    /// Whether the page cannot be read, and anybody would.
    pub fn is_lost(&self, gpa: u64) -> bool {
        self.bad.contains(&gpa) && self.memory.page(gpa) != Some(Page::Untouched)
    }
}

impl GuestMemory for Guest {
    fn ranges(&self) -> Vec<MemoryRange> {
        self.memory.ranges()
    }

    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        let first = gpa - gpa % PAGE;
        let mut pages = (first..gpa.saturating_add(buf.len() as u64)).step_by(PAGE as usize);
        if pages.any(|page| self.is_lost(page)) {
            return Err(io::Error::from_raw_os_error(5));
        }
        self.memory.read(gpa, buf)
    }

    fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
        self.memory.next_populated(range)
    }
}

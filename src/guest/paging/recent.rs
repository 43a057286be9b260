//! Reading page tables again and again.

use std::cell::RefCell;
use std::io;

use super::physical::ReadPhysical;

/// More than a walk needs in any architecture, and little to search.
const PAGES: usize = 8;
const PAGE: usize = 4096;

/// Guest memory by pages, of which the latest are remembered: whoever
/// translates one address after another finds most table entries in them.
pub(crate) struct RecentPages<'a> {
    read: &'a ReadPhysical<'a>,
    /// Guest-physical addresses and contents.
    pages: RefCell<Vec<(u64, Vec<u8>)>>,
}

impl<'a> RecentPages<'a> {
    pub(crate) fn new(read: &'a ReadPhysical<'a>) -> Self {
        Self {
            read,
            pages: RefCell::default(),
        }
    }

    /// Fills `buf` from `gpa` on.
    ///
    /// # Errors
    ///
    /// As reading guest memory has them.
    pub(crate) fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        let offset = (gpa % PAGE as u64) as usize;
        let inside = offset..offset + buf.len();
        if inside.end > PAGE {
            return (self.read)(gpa, buf);
        }
        let start = gpa - offset as u64;
        let mut pages = self.pages.borrow_mut();
        let found = pages.iter().position(|(page, _)| *page == start);
        let index = if let Some(index) = found {
            index
        } else {
            let mut bytes = vec![0; PAGE];
            if (self.read)(start, &mut bytes).is_err() {
                // RAM in part, perhaps.
                return (self.read)(gpa, buf);
            }
            if pages.len() == PAGES {
                pages.remove(0);
            }
            pages.push((start, bytes));
            pages.len() - 1
        };
        buf.copy_from_slice(&pages[index].1[inside]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::cell::Cell;

    use super::*;

    #[test]
    fn pages_are_read_once_and_what_is_ram_in_part_as_it_is() {
        let ram: Vec<u8> = (0..20 * PAGE + 100).map(|i| (i / 7) as u8).collect();
        let reads = Cell::new(0);
        let read = |gpa: u64, buf: &mut [u8]| {
            reads.set(reads.get() + 1);
            let found = ram
                .get(gpa as usize..)
                .and_then(|rest| rest.get(..buf.len()));
            buf.copy_from_slice(found.ok_or(io::ErrorKind::InvalidInput)?);
            Ok(())
        };
        let recent = RecentPages::new(&read);
        let check = |gpa: usize, len: usize| {
            let mut buf = vec![0; len];
            recent.read(gpa as u64, &mut buf).unwrap();
            assert_eq!(buf, ram[gpa..gpa + len]);
            reads.replace(0)
        };
        for page in 0..PAGES {
            assert_eq!(check(page * PAGE + 8, 8), 1);
        }
        for page in 0..PAGES {
            assert_eq!(check(page * PAGE + PAGE - 8, 8), 0);
        }
        // The oldest goes.
        assert_eq!(check(PAGES * PAGE, 4), 1);
        assert_eq!(check(PAGE, 8), 0);
        assert_eq!(check(0, 8), 1);
        // Across two pages; in the last one, of which there are 100 bytes.
        assert_eq!(check(PAGE - 4, 8), 1);
        assert_eq!(check(20 * PAGE + 92, 8), 2);
        assert!(recent.read(20 * PAGE as u64 + 96, &mut [0; 8]).is_err());
        assert!(recent.read(u64::MAX - 3, &mut [0; 8]).is_err());
    }
}

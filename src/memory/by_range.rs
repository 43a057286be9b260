//! Guest memory that consists of several ranges, each in a place of its own.
//!
//! The functions take an ascending list of items with a function that gives the range of
//! an item. They split a request where ranges end.
#![forbid(unsafe_code)]

use std::io;

use crate::memory::{MemoryRange, not_ram};

/// Finds the index of the item whose range contains `gpa`.
pub(crate) fn find_range<T>(
    items: &[T],
    gpa: u64,
    range_of: impl Fn(&T) -> MemoryRange,
) -> Option<usize> {
    let after = items.partition_point(|item| range_of(item).start() <= gpa);
    let index = after.checked_sub(1)?;
    (gpa < range_of(&items[index]).end()).then_some(index)
}

/// Whether the `len` bytes at `gpa` all lie in `ranges`, which ascend.
pub(crate) fn is_ram(ranges: &[MemoryRange], mut gpa: u64, len: u64) -> bool {
    let Some(end) = gpa.checked_add(len) else {
        return false;
    };
    let first = ranges.partition_point(|range| range.end() <= gpa);
    for range in &ranges[first..] {
        if gpa >= end || range.start() > gpa {
            break;
        }
        gpa = range.end();
    }
    gpa >= end
}

/// Fills `buf` from the guest-physical address `gpa` on. `read` fills a part of it from
/// one item, with the guest-physical address of the part.
///
/// # Errors
///
/// If an address is in no range, or `read` fails.
pub(crate) fn read_by_range<T>(
    items: &[T],
    range_of: impl Fn(&T) -> MemoryRange,
    gpa: u64,
    buf: &mut [u8],
    read: impl Fn(&T, u64, &mut [u8]) -> io::Result<()>,
) -> io::Result<()> {
    let len = buf.len();
    let (mut at, mut rest) = (gpa, buf);
    while !rest.is_empty() {
        let index = find_range(items, at, &range_of).ok_or_else(|| not_ram(gpa, len))?;
        let item = &items[index];
        let left = range_of(item).end() - at;
        let (here, after) = rest.split_at_mut(left.min(rest.len() as u64) as usize);
        read(item, at, here)?;
        at = at.wrapping_add(here.len() as u64);
        rest = after;
    }
    Ok(())
}

/// Finds the first populated extent in `range`. `next_populated` finds it in a part of
/// `range` that lies in one item.
///
/// # Errors
///
/// If an address is in no range, or `next_populated` fails.
pub(crate) fn next_populated_by_range<T>(
    items: &[T],
    range_of: impl Fn(&T) -> MemoryRange,
    range: MemoryRange,
    next_populated: impl Fn(&T, MemoryRange) -> io::Result<Option<MemoryRange>>,
) -> io::Result<Option<MemoryRange>> {
    let mut rest = Some(range);
    while let Some(left) = rest {
        let index = find_range(items, left.start(), &range_of);
        let item = &items[index.ok_or_else(|| not_ram(left.start(), 1))?];
        let Some(here) = left.intersection(&range_of(item)) else {
            break;
        };
        if let Some(found) = next_populated(item, here)? {
            return Ok(Some(found));
        }
        rest = left.starting_at(here.end());
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ranges(list: &[(u64, u64)]) -> Vec<MemoryRange> {
        let range = |(start, size): &(u64, u64)| MemoryRange::new(*start, *size).unwrap();
        list.iter().map(range).collect()
    }

    #[test]
    fn requests_are_split_where_ranges_touch_and_refused_in_gaps() {
        let ram = ranges(&[(0x1000, 0x1000), (0x2000, 0x2000), (0x8000, 0x1000)]);
        let starts = |gpa, buf: &mut [u8]| {
            read_by_range(
                &ram,
                |r| *r,
                gpa,
                buf,
                |item, at, part| {
                    assert!(item.contains(at, part.len() as u64));
                    part.fill((item.start() >> 12) as u8);
                    Ok(())
                },
            )
        };
        let mut buf = [0; 4];
        starts(0x1ffe, &mut buf).unwrap();
        assert_eq!(buf, [1, 1, 2, 2]);
        for gap in [0, 0xffe, 0x3ffe, 0x4000, u64::MAX - 1] {
            assert!(starts(gap, &mut buf).is_err(), "{gap:#x}");
        }
        assert!(is_ram(&ram, 0x1000, 0x3000) && is_ram(&ram, 0x8fff, 1));
        assert!(!is_ram(&ram, 0x1000, 0x3001) && !is_ram(&ram, u64::MAX, 2));
    }

    #[cfg(feature = "file")]
    #[test]
    fn the_search_goes_on_in_the_next_range() {
        let ram = ranges(&[(0x1000, 0x1000), (0x2000, 0x2000)]);
        let all = MemoryRange::new(0x1000, 0x3000).unwrap();
        let next = |populated: u64| {
            next_populated_by_range(
                &ram,
                |r| *r,
                all,
                |item, here| Ok((item.start() == populated).then_some(here)),
            )
        };
        assert_eq!(next(0x2000).unwrap(), Some(ram[1]));
        assert_eq!(next(0x1000).unwrap(), Some(ram[0]));
        assert_eq!(next(0).unwrap(), None);
        let nothing = MemoryRange::new(0x8000, 0x1000).unwrap();
        let found = next_populated_by_range(&ram, |r| *r, nothing, |_, here| Ok(Some(here)));
        assert!(found.is_err());
    }
}

//! Bytes in memory with holes that take none.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

/// Bytes at any offset. Bytes that were never written are zeroes and take no memory.
#[derive(Debug, Default)]
pub(crate) struct Extents {
    /// The bytes that were written, by their offset. Extents do not overlap, and none is empty.
    written: BTreeMap<u64, Vec<u8>>,
    len: u64,
}

impl Extents {
    /// Returns the length in bytes, holes included.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    ///
    /// - [`FileTooLarge`](io::ErrorKind::FileTooLarge) if the bytes end after the last offset;
    /// - [`OutOfMemory`](io::ErrorKind::OutOfMemory).
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = offset
            .checked_add(bytes.len() as u64)
            .ok_or(io::ErrorKind::FileTooLarge)?;
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let next = self.written.range(at + 1..).next();
            // Up to the next extent, which would otherwise overlap.
            let room = next.map_or(u64::MAX, |(start, _)| *start) - at;
            let before = self.written.range_mut(..=at).next_back();
            let n = match before.map(|(start, bytes)| ((at - start) as usize, bytes)) {
                Some((index, bytes)) if index < bytes.len() => {
                    let n = rest.len().min(bytes.len() - index);
                    bytes[index..index + n].copy_from_slice(&rest[..n]);
                    n
                }
                Some((index, bytes)) if index == bytes.len() => {
                    let n = (rest.len() as u64).min(room) as usize;
                    append(bytes, &rest[..n])?;
                    n
                }
                _ => {
                    let n = (rest.len() as u64).min(room) as usize;
                    let mut bytes = Vec::new();
                    append(&mut bytes, &rest[..n])?;
                    self.written.insert(at, bytes);
                    n
                }
            };
            at += n as u64;
            rest = &rest[n..];
        }
        self.len = self.len.max(end);
        Ok(())
    }

    /// Sets the length. Bytes after it are gone for good.
    pub(crate) fn set_len(&mut self, len: u64) {
        self.written.split_off(&len);
        if let Some((start, bytes)) = self.written.range_mut(..len).next_back() {
            bytes.truncate((len - start).min(bytes.len() as u64) as usize);
        }
        self.len = len;
    }

    /// Fills `buf` from `offset` on.
    ///
    /// # Errors
    ///
    /// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) if the bytes end before `buf` is full.
    pub(crate) fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let end = offset
            .checked_add(buf.len() as u64)
            .filter(|end| *end <= self.len)
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.fill(0);
        let mut at = offset;
        while let Some(found) = self.next_data(at, end) {
            if let Some((start, bytes)) = self.written.range(..=found.start).next_back() {
                let index = (found.start - start) as usize;
                let n = (found.end - found.start) as usize;
                let to = (found.start - offset) as usize;
                buf[to..to + n].copy_from_slice(&bytes[index..index + n]);
            }
            at = found.end;
        }
        Ok(())
    }

    /// Finds the first written bytes between `offset` and `end`.
    pub(crate) fn next_data(&self, offset: u64, end: u64) -> Option<Range<u64>> {
        let before = self.written.range(..=offset).next_back();
        let after = self.written.range(offset..).next();
        [before, after]
            .into_iter()
            .flatten()
            .find_map(|(start, bytes)| {
                let found = offset.max(*start)..end.min(start + bytes.len() as u64);
                (!found.is_empty()).then_some(found)
            })
    }

    /// Returns all bytes. Holes are zeroes.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`](io::ErrorKind::OutOfMemory) if they are more than a `Vec` can have here.
    pub(crate) fn try_into_bytes(mut self) -> io::Result<Vec<u8>> {
        let too_long = || io::Error::from(io::ErrorKind::OutOfMemory);
        let len = usize::try_from(self.len).map_err(|_| too_long())?;
        let mut end = 0;
        let mut all = self.written.iter();
        let has_holes = !all.all(|(start, bytes)| {
            std::mem::replace(&mut end, start + bytes.len() as u64) == *start
        }) || end != self.len;
        if has_holes {
            // An allocator gives zeroes without touching them, but a failure would end the process.
            Vec::<u8>::new()
                .try_reserve_exact(len)
                .map_err(|_| too_long())?;
            let mut all = vec![0; len];
            for (start, bytes) in self.written {
                let start = start as usize;
                all[start..start + bytes.len()].copy_from_slice(&bytes);
            }
            return Ok(all);
        }
        let mut all = self.written.remove(&0).unwrap_or_default();
        all.try_reserve_exact(len - all.len())
            .map_err(|_| too_long())?;
        while let Some((_, bytes)) = self.written.pop_first() {
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }
}

fn append(to: &mut Vec<u8>, bytes: &[u8]) -> io::Result<()> {
    to.try_reserve(bytes.len())
        .map_err(|_| io::ErrorKind::OutOfMemory)?;
    to.extend_from_slice(bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Writes pieces in order, to extents and to a `Vec`, and compares both.
    fn compare(pieces: &[(u64, &[u8])], len: u64) -> Extents {
        let mut extents = Extents::default();
        let mut plain = Vec::new();
        for (offset, bytes) in pieces {
            extents.write(*offset, bytes).unwrap();
            let end = *offset as usize + bytes.len();
            plain.resize(plain.len().max(end), 0);
            plain[*offset as usize..end].copy_from_slice(bytes);
        }
        assert_eq!(extents.len(), plain.len() as u64);
        extents.set_len(len);
        plain.resize(len as usize, 0);
        let mut read = vec![9; plain.len()];
        extents.read(0, &mut read).unwrap();
        assert_eq!(read, plain);
        assert!(extents.read(1, &mut read).is_err());
        extents
    }

    #[test]
    fn writes_in_any_order_overlap_join_and_are_cut() {
        let pieces: [(u64, &[u8]); 6] = [
            (100, &[1; 10]),
            (50, &[2; 20]),
            (60, &[3; 60]),
            (0, &[4; 5]),
            (5, &[5; 45]),
            (200, &[6; 8]),
        ];
        for len in [208, 207, 201, 200, 150, 120, 119, 100, 61, 5, 1, 0, 300] {
            let expected = compare(&pieces, len);
            let mut bytes = vec![0; len as usize];
            expected.read(0, &mut bytes).unwrap();
            assert_eq!(expected.try_into_bytes().unwrap(), bytes);
        }
    }

    #[test]
    fn bytes_after_the_end_do_not_come_back() {
        let mut extents = Extents::default();
        extents.write(0, &[7; 100]).unwrap();
        extents.set_len(10);
        extents.set_len(100);
        let mut read = [1; 100];
        extents.read(0, &mut read).unwrap();
        assert_eq!(read[..10], [7; 10]);
        assert_eq!(read[10..], [0; 90]);
        assert_eq!(extents.next_data(0, 100), Some(0..10));
        assert_eq!(extents.next_data(10, 100), None);
    }

    #[test]
    fn bytes_that_are_too_many_are_an_error_and_extents_without_holes_grow() {
        let mut extents = Extents::default();
        extents.write(1 << 60, &[1]).unwrap();
        let error = extents.try_into_bytes().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);

        let mut extents = Extents::default();
        let mut first = Vec::with_capacity(1 << 16);
        first.resize(100, 1);
        let at = first.as_ptr();
        extents.written.insert(0, first);
        extents.written.insert(100, vec![2; 50]);
        extents.len = 150;
        let bytes = extents.try_into_bytes().unwrap();
        assert_eq!(bytes, [vec![1; 100], vec![2; 50]].concat());
        // The first extent is not copied.
        assert_eq!(bytes.as_ptr(), at);
        assert!(Extents::default().try_into_bytes().unwrap().is_empty());
    }

    #[test]
    fn a_hole_takes_no_memory() {
        let mut extents = Extents::default();
        extents.write(1 << 60, &[1; 3]).unwrap();
        extents.write(8, &[2; 3]).unwrap();
        assert_eq!(extents.len(), (1 << 60) + 3);
        let stored: usize = extents.written.values().map(Vec::capacity).sum();
        assert!(stored < 64, "{stored}");
        assert_eq!(extents.next_data(9, u64::MAX), Some(9..11));
        assert_eq!(
            extents.next_data(11, u64::MAX),
            Some(1 << 60..(1 << 60) + 3)
        );
        let error = extents.write(u64::MAX, &[1; 2]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }
}

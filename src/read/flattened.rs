//! Reading the flattened format in place: an index of its records.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound::{Excluded, Unbounded};
use std::ops::Range;

use crate::kdump::flattened::{FileHeader, RecordHeader};
use crate::memory::Lack;
use crate::read::{ReadAt, VmcoreError};

/// An index from offsets in the raw file to places in the flattened file.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    /// Pieces by their offset in the raw file; they do not overlap.
    pieces: BTreeMap<u64, RecordPiece>,
    /// The place where the file ends without its end record.
    cut: Option<Lack>,
    /// The offsets in the raw file that records of a file that is cut short contain, in
    /// ascending order. Runs neither overlap nor touch.
    covered: Vec<Range<u64>>,
}

#[derive(Debug, Clone, Copy)]
struct RecordPiece {
    /// Offset after the last byte in the raw file.
    end: u64,
    /// Offset of the first byte in the flattened file.
    at: u64,
}

impl Index {
    /// Reads all record headers of `file`, which is `len` bytes long. Offsets
    /// in errors are offsets in the flattened file.
    ///
    /// A file that is cut short gives an index of what is there; see
    /// [`cut`](Self::cut).
    pub(crate) fn new(file: &dyn ReadAt, len: u64) -> Result<Self, VmcoreError> {
        let mut pieces = BTreeMap::new();
        let mut at = FileHeader::SIZE as u64;
        loop {
            let mut bytes = [0; RecordHeader::SIZE];
            let data_at = at + RecordHeader::SIZE as u64;
            if data_at > len {
                return Ok(Self::cut_at(pieces, at, len));
            }
            file.read_at(at, &mut bytes)
                .map_err(|source| VmcoreError::Read {
                    offset: at,
                    len: RecordHeader::SIZE as u64,
                    source,
                })?;
            let data = RecordHeader::decode(&bytes).map(|header| header.data());
            let data = data.unwrap_or(Ok(None));
            let Some((start, data_len)) =
                data.map_err(|error| VmcoreError::damaged(at, error.to_string()))?
            else {
                return Ok(Self {
                    pieces,
                    cut: None,
                    covered: Vec::new(),
                });
            };
            if data_len > len - data_at {
                // The beginning of a record's data is good.
                if data_at < len {
                    let end = start + (len - data_at);
                    insert(&mut pieces, start, RecordPiece { end, at: data_at });
                }
                return Ok(Self::cut_at(pieces, at, len));
            }
            let piece = RecordPiece {
                end: start + data_len,
                at: data_at,
            };
            insert(&mut pieces, start, piece);
            at = data_at + data_len;
        }
    }

    fn cut_at(pieces: BTreeMap<u64, RecordPiece>, at: u64, len: u64) -> Self {
        let cut = Lack::CutShort {
            what: "the flattened format's next record or its end record",
            offset: at,
            end: len,
        };
        let mut covered: Vec<Range<u64>> = Vec::new();
        for (start, piece) in &pieces {
            match covered.last_mut() {
                Some(last) if last.end == *start => last.end = piece.end,
                _ => covered.push(*start..piece.end),
            }
        }
        Self {
            pieces,
            cut: Some(cut),
            covered,
        }
    }

    /// The place where the file ends without its end record. The offsets are those of the flattened file.
    pub(crate) fn cut(&self) -> Option<Lack> {
        self.cut.clone()
    }

    /// Whether records contain all these bytes of the raw file, in a file that is cut short.
    pub(crate) fn contains(&self, offset: u64, len: u64) -> bool {
        let end = offset.saturating_add(len);
        let after = self.covered.partition_point(|run| run.start <= offset);
        let run = after
            .checked_sub(1)
            .and_then(|index| self.covered.get(index));
        len == 0 || run.is_some_and(|run| end <= run.end)
    }

    /// Length of the raw file in bytes.
    pub(crate) fn raw_len(&self) -> u64 {
        self.pieces.last_key_value().map_or(0, |(_, p)| p.end)
    }

    /// Fills `buf`, with zeroes where no record has bytes.
    pub(crate) fn read_at(&self, file: &dyn ReadAt, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let left = &mut buf[done..];
            let here = self.piece_at(at);
            let n = match here {
                Some((_, piece)) => piece.end - at,
                // After the last record everything is zero.
                None => match self.next_data(at) {
                    next if next > at => next - at,
                    _ => u64::MAX,
                },
            };
            let n = n.min(left.len() as u64) as usize;
            match here {
                Some((start, piece)) => {
                    file.read_at(piece.at + (at - start), &mut left[..n])?;
                }
                None => left[..n].fill(0),
            }
            done += n;
        }
        Ok(())
    }

    /// Returns the first offset from `offset` on that lies in a record; the raw
    /// file's length if there is none.
    pub(crate) fn next_data(&self, offset: u64) -> u64 {
        if self.piece_at(offset).is_some() {
            return offset;
        }
        self.pieces
            .range((Excluded(offset), Unbounded))
            .next()
            .map_or(self.raw_len(), |(start, _)| *start)
    }

    fn piece_at(&self, offset: u64) -> Option<(u64, RecordPiece)> {
        let (start, piece) = self.pieces.range(..=offset).next_back()?;
        (offset < piece.end).then_some((*start, *piece))
    }
}

/// Inserts a piece, which overrides earlier pieces where they overlap.
fn insert(pieces: &mut BTreeMap<u64, RecordPiece>, start: u64, piece: RecordPiece) {
    if let Some((&before, &old)) = pieces.range(..start).next_back()
        && old.end > start
    {
        pieces.insert(before, RecordPiece { end: start, ..old });
        if old.end > piece.end {
            let rest = RecordPiece {
                end: old.end,
                at: old.at + (piece.end - before),
            };
            pieces.insert(piece.end, rest);
        }
    }
    while let Some((&covered, &old)) = pieces.range(start..piece.end).next() {
        pieces.remove(&covered);
        if old.end > piece.end {
            let rest = RecordPiece {
                end: old.end,
                at: old.at + (piece.end - covered),
            };
            pieces.insert(piece.end, rest);
        }
    }
    pieces.insert(start, piece);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::flattened;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn records_are_read_as_if_written_one_after_the_other(
            records in prop::collection::vec(
                (0u64..200, prop::collection::vec(any::<u8>(), 1..60)),
                1..20,
            ),
        ) {
            let mut raw = Vec::new();
            for (offset, bytes) in &records {
                let (start, end) = (*offset as usize, *offset as usize + bytes.len());
                if raw.len() < end {
                    raw.resize(end, 0);
                }
                raw[start..end].copy_from_slice(bytes);
            }
            let file = flattened(&records);
            let index = Index::new(&file, ReadAt::len(&file).unwrap()).unwrap();
            prop_assert_eq!(index.raw_len(), raw.len() as u64);
            let mut read = vec![0xa5; raw.len()];
            index.read_at(&file, 0, &mut read).unwrap();
            prop_assert_eq!(&read, &raw);
            let middle = raw.len() / 2;
            index.read_at(&file, middle as u64, &mut read[middle..]).unwrap();
            prop_assert_eq!(&read, &raw);
        }
    }

    #[test]
    fn a_cut_file_has_an_index_of_what_is_there() {
        let records = [(0, vec![1; 10]), (100, vec![2; 10])];
        let file = flattened(&records);
        let len = ReadAt::len(&file).unwrap();
        for (cut, raw_len) in [
            (1, 110),
            (16, 110),
            (17, 109),
            (26, 10),
            (27, 10),
            (42, 10),
            (43, 9),
        ] {
            let index = Index::new(&file, len - cut).unwrap();
            assert!(matches!(index.cut(), Some(Lack::CutShort { .. })), "{cut}");
            assert_eq!(index.raw_len(), raw_len, "{cut}");
            assert_eq!(index.contains(0, 10), raw_len >= 10, "{cut}");
            assert!(!index.contains(5, 100), "{cut}");
        }
        assert!(Index::new(&file, len).unwrap().cut().is_none());
    }

    #[test]
    fn bad_records_are_errors() {
        let records = [(0, vec![1; 10]), (100, vec![2; 10])];
        let mut file = flattened(&records);
        let len = ReadAt::len(&file).unwrap();
        for (offset, size) in [(-2, 5), (-1, 5), (5, 0), (5, -1), (i64::MAX, 5)] {
            let header = RecordHeader { offset, len: size };
            file[4096..][..RecordHeader::SIZE].copy_from_slice(&header.to_bytes());
            let error = Index::new(&file, len).unwrap_err();
            assert!(matches!(error, VmcoreError::Damaged { offset: 4096, .. }));
        }
    }
}

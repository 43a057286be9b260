//! The records of a flattened dump in memory.
#![forbid(unsafe_code)]

use crate::kdump::flattened::{BadRecord, FileHeader, RecordHeader};

/// A record: bytes of the raw file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// The offset of the data in the raw file, in bytes.
    pub offset: u64,
    /// The data.
    pub data: &'a [u8],
}

/// Why bytes are no flattened dump, or an incomplete one. Offsets are in bytes of the flattened dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The bytes begin with another signature than that of a flattened dump.
    #[error("this is no flattened dump")]
    Signature,
    /// The type or version of the flattened format is not known.
    #[error("flattened format of type {}, version {}", .0.kind, .0.version)]
    Version(FileHeader),
    /// The bytes end before the record at `offset`, or the end record, is complete.
    #[error("the flattened dump is cut short: the record at offset {offset} is not complete")]
    CutShort {
        /// The offset of the record's header.
        offset: usize,
    },
    /// No writer writes such a record.
    #[error("the flattened dump is damaged at offset {offset}: {source}")]
    Damaged {
        /// The offset of the record's header.
        offset: usize,
        /// The mistake in it.
        source: BadRecord,
    },
}

/// The records of a flattened dump, in the order in which they lie there. The iterator ends after the
/// end record or the first error.
///
/// Where two records overlap, the later one counts.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Records<'a> {
    /// The records of the flattened dump `bytes`.
    ///
    /// # Errors
    ///
    /// - [`RecordError::Signature`] if `bytes` are something else;
    /// - [`RecordError::Version`] for an unknown kind of flattened dump.
    pub fn new(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let header = FileHeader::decode(bytes).ok_or(RecordError::Signature)?;
        if header != FileHeader::CURRENT {
            return Err(RecordError::Version(header));
        }
        Ok(Self {
            bytes,
            offset: FileHeader::SIZE,
        })
    }

    fn record(&mut self) -> Result<Option<Record<'a>>, RecordError> {
        let offset = self.offset;
        let cut_short = RecordError::CutShort { offset };
        let rest = self.bytes.get(offset..).ok_or(cut_short)?;
        let header = RecordHeader::decode(rest).ok_or(cut_short)?;
        let data = header
            .data()
            .map_err(|source| RecordError::Damaged { offset, source })?;
        let Some((raw_offset, len)) = data else {
            return Ok(None);
        };
        let data = usize::try_from(len)
            .ok()
            .and_then(|len| rest[RecordHeader::SIZE..].get(..len))
            .ok_or(cut_short)?;
        self.offset += RecordHeader::SIZE + data.len();
        Ok(Some(Record {
            offset: raw_offset,
            data,
        }))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.bytes.is_empty() {
            return None;
        }
        let record = self.record();
        if !matches!(record, Ok(Some(_))) {
            self.bytes = &[];
        }
        record.transpose()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::flattened;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn records_are_the_writes_in_order(
            writes in prop::collection::vec(
                (0..1u64 << 62, prop::collection::vec(any::<u8>(), 1..60)),
                0..9,
            ),
        ) {
            let bytes = flattened(&writes);
            let records: Vec<_> = Records::new(&bytes)
                .unwrap()
                .map(|record| record.map(|r| (r.offset, r.data.to_vec())))
                .collect::<Result<_, _>>()
                .unwrap();
            prop_assert_eq!(records, writes);
        }
    }

    #[test]
    fn every_cut_is_an_error_and_ends_the_records() {
        let bytes = flattened(&[(7, vec![1; 5])]);
        for len in FileHeader::FIELDS..bytes.len() {
            let mut records = Records::new(&bytes[..len]).unwrap();
            let error = records.find_map(Result::err);
            assert!(
                matches!(error, Some(RecordError::CutShort { .. })),
                "{len}: {error:?}"
            );
            assert_eq!(records.next(), None);
        }
        assert_eq!(
            Records::new(&bytes[..31]).err(),
            Some(RecordError::Signature)
        );
    }

    #[test]
    fn damaged_record_and_unknown_version_are_errors() {
        let mut bytes = flattened(&[(7, vec![1; 5])]);
        bytes[4096] = 0x80;
        let error = Records::new(&bytes).unwrap().next().unwrap().unwrap_err();
        assert!(matches!(error, RecordError::Damaged { offset: 4096, .. }));
        bytes[31] = 2;
        let error = Records::new(&bytes).err().unwrap();
        let RecordError::Version(header) = error else {
            panic!("{error}");
        };
        assert_eq!((header.kind, header.version), (1, 2));
    }
}

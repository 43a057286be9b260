//! Writing the flattened format: every write becomes a record.
#![forbid(unsafe_code)]

use std::io::{self, Write};

use crate::kdump::flattened::{FileHeader, RecordHeader};

/// Takes writes at any offset and sends them down a stream as records.
///
/// Readers need each byte of the raw file to be written at most once. Bytes that are not written are
/// zeroes. [`finish`](Self::finish) writes the end record, without which readers refuse the stream.
#[derive(Debug)]
#[must_use = "a flattened dump without its end record is incomplete"]
pub struct FlattenedWriter<W> {
    inner: W,
}

impl<W: Write> FlattenedWriter<W> {
    /// Writes the file header to `inner`.
    ///
    /// # Errors
    ///
    /// Any error of `inner`.
    pub fn begin(mut inner: W) -> io::Result<Self> {
        let mut header = Vec::with_capacity(FileHeader::SIZE);
        FileHeader::CURRENT.encode(&mut header);
        inner.write_all(&header)?;
        Ok(Self { inner })
    }

    /// Writes a record with `bytes` at `offset` of the raw file. Without bytes nothing is written,
    /// because readers take a record without data for damage.
    ///
    /// # Errors
    ///
    /// - [`io::ErrorKind::InvalidInput`] with a [`FieldOverflow`](crate::abi::FieldOverflow) if the
    ///   bytes end past 63 bits; nothing is written then;
    /// - any error of `inner`, after which the stream is damaged.
    pub fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let header = RecordHeader::new(offset, bytes.len() as u64)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        self.inner.write_all(&header.to_bytes())?;
        self.inner.write_all(bytes)
    }

    /// Writes the end record, flushes the stream, and returns it.
    ///
    /// # Errors
    ///
    /// Any error of the stream.
    pub fn finish(mut self) -> io::Result<W> {
        self.inner.write_all(&RecordHeader::END.to_bytes())?;
        self.inner.flush()?;
        Ok(self.inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn stream_is_file_header_records_and_end_record() {
        let mut writer = FlattenedWriter::begin(Vec::new()).unwrap();
        writer.write_at(0x0102, b"abc").unwrap();
        writer.write_at(5, b"").unwrap();
        let bytes = writer.finish().unwrap();
        assert_eq!(bytes.len(), 4096 + 16 + 3 + 16);
        assert!(bytes.starts_with(b"makedumpfile\0\0\0\0\0\0\0\0\0\0\0\x01"));
        assert_eq!(
            &bytes[4096..],
            b"\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x03abc\
            \xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
        );
    }

    #[test]
    fn offset_past_63_bits_is_refused_and_writes_nothing() {
        let mut writer = FlattenedWriter::begin(Vec::new()).unwrap();
        for offset in [u64::MAX, 1 << 63, (1 << 63) - 1] {
            let error = writer.write_at(offset, b"x").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
        assert_eq!(writer.finish().unwrap().len(), 4096 + 16);
    }
}

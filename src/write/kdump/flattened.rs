//! The flattened format over a [`ForwardOutput`], to which several threads write.
#![forbid(unsafe_code)]

use crate::fault::Fault;
use crate::kdump::flattened::{FileHeader, RecordHeader};
use crate::sink::ForwardOutput;

/// As [`FlattenedWriter`](crate::kdump::flattened::FlattenedWriter), for an output that is shared.
pub(crate) struct FlattenedOutput<'a> {
    output: ForwardOutput<'a>,
}

impl<'a> FlattenedOutput<'a> {
    /// Writes the file header.
    pub(crate) fn begin(output: ForwardOutput<'a>) -> Result<Self, Fault> {
        let mut header = Vec::with_capacity(FileHeader::SIZE);
        FileHeader::CURRENT.encode(&mut header);
        output.append(&[&header])?;
        Ok(Self { output })
    }

    pub(crate) fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Fault> {
        // Readers take a record without data for damage.
        if bytes.is_empty() {
            return Ok(());
        }
        let len = bytes.len();
        let header = RecordHeader::new(offset, len as u64).map_err(|error| Fault::Write {
            offset,
            len,
            source: std::io::Error::new(std::io::ErrorKind::FileTooLarge, error),
        })?;
        self.output.append(&[&header.to_bytes(), bytes])
    }

    /// Writes the end record, without which readers refuse the stream.
    pub(crate) fn end(&self) -> Result<(), Fault> {
        self.output.append(&[&RecordHeader::END.to_bytes()])
    }
}

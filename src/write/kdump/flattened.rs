//! Writing the flattened format: every write becomes a record.
#![forbid(unsafe_code)]

use crate::fault::Fault;
use crate::kdump::flattened::{RecordHeader, encode_file_header};
use crate::sink::ForwardOutput;

/// Takes writes at any offset and sends them down a stream as records.
/// Readers need each place of the raw file to be written once at most; what is
/// not written is zeroes.
pub(crate) struct FlattenedOutput<'a> {
    output: ForwardOutput<'a>,
}

impl<'a> FlattenedOutput<'a> {
    /// Writes the file header.
    pub(crate) fn begin(output: ForwardOutput<'a>) -> Result<Self, Fault> {
        output.append(&[&encode_file_header()])?;
        Ok(Self { output })
    }

    pub(crate) fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Fault> {
        // Readers take a record of no bytes for damage.
        if bytes.is_empty() {
            return Ok(());
        }
        let header = RecordHeader {
            offset: offset as i64,
            len: bytes.len() as i64,
        };
        self.output.append(&[&header.encode(), bytes])
    }

    /// Writes the end record, without which readers refuse the stream.
    pub(crate) fn end(&self) -> Result<(), Fault> {
        self.output.append(&[&RecordHeader::END.encode()])
    }
}

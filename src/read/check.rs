//! The check of a dump: everything is read, and the first error is reported.
#![forbid(unsafe_code)]

use crate::codec::Codec;
use crate::read::{Vmcore, VmcoreError};
use crate::workers::Progress;

/// The contents of a sound dump, as a check counts them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckReport {
    /// Notes in the note segment.
    pub notes: u64,
    /// Pages in the dump.
    pub pages: u64,
    /// Pages in the dump that are all zero.
    pub zero_pages: u64,
    /// Pages stored as they are, zero pages included.
    pub raw_pages: u64,
    /// Pages by codec.
    pub compressed_pages: Vec<(Codec, u64)>,
    /// Pages of RAM that are not in the dump, by the first bitmap.
    pub excluded_pages: u64,
}

impl Vmcore {
    /// Reads everything in the dump: each note, each byte of memory, each
    /// page descriptor; decompresses each page. `progress` counts bytes of
    /// guest memory.
    ///
    /// # Errors
    ///
    /// The first error, with its offset; [`VmcoreError::Incomplete`] if
    /// nothing else is wrong and the dump says that it is incomplete.
    pub fn check(&self, progress: &Progress) -> Result<CheckReport, VmcoreError> {
        let mut report = CheckReport {
            notes: self.check_notes()?,
            pages: self.pages(),
            ..CheckReport::default()
        };
        progress.start(self.pages() * self.dump.counted_page_size());
        self.dump.check(&self.input, &mut report, progress)?;
        if self.is_complete() {
            Ok(report)
        } else {
            Err(VmcoreError::Incomplete)
        }
    }

    /// Decodes all notes and returns their number.
    fn check_notes(&self) -> Result<u64, VmcoreError> {
        let mut count = 0;
        for note in self.notes() {
            note.map_err(|error| {
                let offset = self.dump.note_offset() + error.offset as u64;
                VmcoreError::damaged(offset, "a note reaches past the end of the notes")
            })?;
            count += 1;
        }
        Ok(count)
    }
}

pub(crate) fn stop_if_cancelled(progress: &Progress) -> Result<(), VmcoreError> {
    if progress.is_cancelled() {
        return Err(VmcoreError::Cancelled);
    }
    Ok(())
}

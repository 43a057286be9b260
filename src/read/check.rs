//! The result of checking a dump.
#![forbid(unsafe_code)]

use crate::codec::Codec;
use crate::read::VmcoreError;
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

pub(crate) fn stop_if_cancelled(progress: &Progress) -> Result<(), VmcoreError> {
    if progress.is_cancelled() {
        return Err(VmcoreError::Cancelled);
    }
    Ok(())
}

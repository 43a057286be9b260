//! The stored form of a page: compressed if that makes it shorter.
#![forbid(unsafe_code)]

use super::sample;
use crate::codec::{Compressor, Engine};
use crate::fault::Fault;
use crate::kdump::codec_flag;

/// The compressor of one thread.
pub(super) struct PageStore {
    compressor: Compressor,
    /// The flag of a compressed page.
    flag: u32,
}

impl PageStore {
    pub(super) fn new(engine: Engine) -> Result<Self, Fault> {
        let compressor = engine.compressor();
        Ok(Self {
            compressor: compressor.map_err(|source| Fault::Compress { gpa: 0, source })?,
            flag: codec_flag(engine.codec()),
        })
    }

    /// Appends the page's data, and returns its flags.
    pub(super) fn store(
        &mut self,
        gpa: u64,
        page: &[u8],
        data: &mut Vec<u8>,
    ) -> Result<u32, Fault> {
        let shrunk = !sample::looks_random(page)
            && self
                .compressor
                .compress(page, data)
                .map_err(|source| Fault::Compress { gpa, source })?;
        if shrunk {
            return Ok(self.flag);
        }
        data.extend_from_slice(page);
        Ok(0)
    }
}

//! zlib compression by libdeflate (C, MIT), level 1.

use std::io;

use libdeflater::{CompressionError, CompressionLvl, Compressor};

use super::Compress;

pub(super) struct Libdeflate {
    compressor: Compressor,
    scratch: Vec<u8>,
}

impl Libdeflate {
    pub(super) fn new() -> io::Result<Self> {
        let level = CompressionLvl::new(1)
            .map_err(|_| io::Error::other("libdeflate does not support level 1"))?;
        Ok(Self {
            compressor: Compressor::new(level),
            scratch: Vec::new(),
        })
    }
}

impl Compress for Libdeflate {
    fn compress(&mut self, page: &[u8]) -> io::Result<Option<&[u8]>> {
        // A stream that does not fit is not shorter than the page.
        self.scratch.resize(page.len().saturating_sub(1), 0);
        match self.compressor.zlib_compress(page, &mut self.scratch) {
            Ok(len) => Ok(Some(&self.scratch[..len])),
            Err(CompressionError::InsufficientSpace) => Ok(None),
        }
    }
}

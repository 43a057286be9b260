//! zstd by the C library, level 1: one frame with its content size.

use std::io;

use super::{Compress, invalid};

const LEVEL: i32 = 1;

pub(super) struct Zstd {
    compressor: zstd::bulk::Compressor<'static>,
    scratch: Vec<u8>,
}

impl Zstd {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            compressor: zstd::bulk::Compressor::new(LEVEL)?,
            scratch: Vec::new(),
        })
    }
}

impl Compress for Zstd {
    fn compress(&mut self, page: &[u8]) -> io::Result<Option<&[u8]>> {
        let bound = zstd::zstd_safe::compress_bound(page.len());
        self.scratch.resize(bound, 0);
        let len = self
            .compressor
            .compress_to_buffer(page, &mut self.scratch[..])?;
        Ok(Some(&self.scratch[..len]))
    }
}

/// Returns the length of what was decompressed into `page`.
pub(super) fn decompress(input: &[u8], page: &mut [u8]) -> io::Result<usize> {
    zstd::bulk::decompress_to_buffer(input, page).map_err(invalid)
}

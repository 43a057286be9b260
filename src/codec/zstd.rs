//! zstd, level 1, one frame with its content size.

use std::io;

use super::{Compress, invalid, keep_if_shorter};

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
    fn compress(&mut self, page: &[u8], out: &mut Vec<u8>) -> io::Result<bool> {
        let bound = zstd::zstd_safe::compress_bound(page.len());
        self.scratch.resize(bound, 0);
        let len = self
            .compressor
            .compress_to_buffer(page, &mut self.scratch[..])?;
        Ok(keep_if_shorter(&self.scratch[..len], page.len(), out))
    }
}

pub(super) fn decompress(input: &[u8], page: &mut [u8]) -> io::Result<usize> {
    zstd::bulk::decompress_to_buffer(input, page).map_err(invalid)
}

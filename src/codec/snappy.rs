//! Raw snappy through snap.

use std::io;

use super::{Compress, invalid, keep_if_shorter};

pub(super) struct Snappy {
    encoder: snap::raw::Encoder,
    scratch: Vec<u8>,
}

impl Snappy {
    pub(super) fn new() -> Self {
        Self {
            encoder: snap::raw::Encoder::new(),
            scratch: Vec::new(),
        }
    }
}

impl Compress for Snappy {
    fn compress(&mut self, page: &[u8], out: &mut Vec<u8>) -> io::Result<bool> {
        self.scratch
            .resize(snap::raw::max_compress_len(page.len()), 0);
        let len = self
            .encoder
            .compress(page, &mut self.scratch)
            .map_err(io::Error::other)?;
        Ok(keep_if_shorter(&self.scratch[..len], page.len(), out))
    }
}

pub(super) fn decompress(input: &[u8], page: &mut [u8]) -> io::Result<usize> {
    snap::raw::Decoder::new()
        .decompress(input, page)
        .map_err(invalid)
}

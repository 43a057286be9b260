//! Raw snappy, without framing, by the crate snap.

use std::io;

use snap::raw::{Decoder, Encoder, max_compress_len};

use super::{Compress, invalid};

pub(super) struct Snap {
    encoder: Encoder,
    scratch: Vec<u8>,
}

impl Snap {
    pub(super) fn new() -> Self {
        Self {
            encoder: Encoder::new(),
            scratch: Vec::new(),
        }
    }
}

impl Compress for Snap {
    fn compress(&mut self, page: &[u8]) -> io::Result<Option<&[u8]>> {
        self.scratch.resize(max_compress_len(page.len()), 0);
        let len = self
            .encoder
            .compress(page, &mut self.scratch)
            .map_err(io::Error::other)?;
        Ok(Some(&self.scratch[..len]))
    }
}

/// Returns the length of what was decompressed into `page`.
pub(super) fn decompress(input: &[u8], page: &mut [u8]) -> io::Result<usize> {
    Decoder::new().decompress(input, page).map_err(invalid)
}

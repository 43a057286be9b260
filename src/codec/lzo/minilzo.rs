//! LZO1X compression by minilzo-rs (C, GPL-3.0-or-later).

use std::io;

use crate::codec::Compress;

pub(in crate::codec) struct Minilzo {
    /// The struct contains 128 KiB of working memory.
    lzo: Box<minilzo_rs::LZO>,
    compressed: Vec<u8>,
}

impl Minilzo {
    pub(in crate::codec) fn new() -> io::Result<Self> {
        Ok(Self {
            lzo: Box::new(minilzo_rs::LZO::init().map_err(io::Error::other)?),
            compressed: Vec::new(),
        })
    }
}

impl Compress for Minilzo {
    fn compress(&mut self, page: &[u8]) -> io::Result<Option<&[u8]>> {
        self.compressed = self.lzo.compress(page).map_err(io::Error::other)?;
        Ok(Some(&self.compressed))
    }
}

//! LZO1X: lzokay (MIT), or minilzo (GPL-3.0-or-later) with the feature
//! `minilzo`. Decompression is lzokay's in either case: it is safe Rust.

use std::io;

use super::{Compress, invalid, keep_if_shorter};

#[cfg(feature = "minilzo")]
pub(super) struct Lzo {
    // 128 KiB of working memory lie in the struct.
    lzo: Box<minilzo_rs::LZO>,
}

#[cfg(feature = "minilzo")]
impl Lzo {
    pub(super) fn new() -> io::Result<Self> {
        let lzo = Box::new(minilzo_rs::LZO::init().map_err(io::Error::other)?);
        Ok(Self { lzo })
    }
}

#[cfg(feature = "minilzo")]
impl Compress for Lzo {
    fn compress(&mut self, page: &[u8], out: &mut Vec<u8>) -> io::Result<bool> {
        let compressed = self.lzo.compress(page).map_err(io::Error::other)?;
        Ok(keep_if_shorter(&compressed, page.len(), out))
    }
}

#[cfg(not(feature = "minilzo"))]
pub(super) struct Lzo {
    dictionary: Box<lzokay::compress::Dict>,
    scratch: Vec<u8>,
}

#[cfg(not(feature = "minilzo"))]
impl Lzo {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            dictionary: lzokay::compress::Dict::new(),
            scratch: Vec::new(),
        })
    }
}

#[cfg(not(feature = "minilzo"))]
impl Compress for Lzo {
    fn compress(&mut self, page: &[u8], out: &mut Vec<u8>) -> io::Result<bool> {
        use lzokay::compress::{compress_no_alloc, compress_worst_size};
        self.scratch.resize(compress_worst_size(page.len()), 0);
        let len = compress_no_alloc(page, &mut self.scratch, &mut self.dictionary)
            .map_err(|e| io::Error::other(format!("lzokay: {e:?}")))?;
        Ok(keep_if_shorter(&self.scratch[..len], page.len(), out))
    }
}

pub(super) fn decompress(input: &[u8], page: &mut [u8]) -> io::Result<usize> {
    lzokay::decompress::decompress(input, page).map_err(|e| invalid(format!("lzokay: {e:?}")))
}

//! LZO1X. Compression is our own (`lz77`), or minilzo's (GPL-3.0-or-later) with the
//! feature `minilzo`. Decompression is the crate lzokay's: it is safe Rust.

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
    finder: super::lz77::Finder,
    scratch: Vec<u8>,
}

#[cfg(not(feature = "minilzo"))]
impl Lzo {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            finder: super::lz77::Finder::new(),
            scratch: Vec::new(),
        })
    }
}

#[cfg(not(feature = "minilzo"))]
impl Compress for Lzo {
    fn compress(&mut self, page: &[u8], out: &mut Vec<u8>) -> io::Result<bool> {
        use super::format::lzo1x::Lzo1x;
        self.scratch.resize(Lzo1x::room(page.len()), 0);
        let mut stream = Lzo1x::new(&mut self.scratch);
        self.finder.tokens(page, &mut stream);
        Ok(keep_if_shorter(stream.finish(), page.len(), out))
    }
}

pub(super) fn decompress(input: &[u8], page: &mut [u8]) -> io::Result<usize> {
    lzokay::decompress::decompress(input, page).map_err(|e| invalid(format!("lzokay: {e:?}")))
}

//! LZO1X. This crate's own compressor; the crate lzokay decompresses.
//!
//! `finder` finds what repeats in a page, `stream` writes the bytes.

mod finder;
#[cfg(feature = "minilzo")]
pub(super) mod minilzo;
mod stream;
#[cfg(test)]
mod tests;

use std::io;

use super::{Compress, invalid};
use finder::Finder;
use stream::Stream;

pub(super) struct BuiltinLzo {
    finder: Finder,
    scratch: Vec<u8>,
}

impl BuiltinLzo {
    pub(super) fn new() -> Self {
        Self {
            finder: Finder::new(),
            scratch: Vec::new(),
        }
    }
}

impl Compress for BuiltinLzo {
    fn compress(&mut self, page: &[u8]) -> io::Result<Option<&[u8]>> {
        self.scratch.resize(stream::room(page.len()), 0);
        let mut stream = Stream::new(&mut self.scratch);
        self.finder.compress(page, &mut stream);
        Ok(Some(stream.finish()))
    }
}

/// Returns the length of what was decompressed into `page`.
pub(super) fn decompress(input: &[u8], page: &mut [u8]) -> io::Result<usize> {
    lzokay::decompress::decompress(input, page).map_err(|e| invalid(format!("lzokay: {e:?}")))
}

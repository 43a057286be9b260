//! Raw snappy. Compression is our own (`lz77`), decompression the crate snap's.

use std::io;

use super::format::snappy::Snappy as Stream;
use super::lz77::Finder;
use super::{Compress, invalid, keep_if_shorter};

pub(super) struct Snappy {
    finder: Finder,
    scratch: Vec<u8>,
}

impl Snappy {
    pub(super) fn new() -> Self {
        Self {
            finder: Finder::new(),
            scratch: Vec::new(),
        }
    }
}

impl Compress for Snappy {
    fn compress(&mut self, page: &[u8], out: &mut Vec<u8>) -> io::Result<bool> {
        let len = u32::try_from(page.len())
            .map_err(|_| io::Error::other("snappy takes at most 4 GiB at once"))?;
        self.scratch.resize(Stream::room(page.len()), 0);
        let mut stream = Stream::new(&mut self.scratch, len);
        self.finder.tokens(page, &mut stream);
        Ok(keep_if_shorter(stream.finish(), page.len(), out))
    }
}

pub(super) fn decompress(input: &[u8], page: &mut [u8]) -> io::Result<usize> {
    snap::raw::Decoder::new()
        .decompress(input, page)
        .map_err(invalid)
}

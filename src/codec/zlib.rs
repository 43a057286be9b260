//! zlib through flate2 on zlib-rs, level 1.

use std::io;

use flate2::{Compression, FlushCompress, FlushDecompress, Status};

use super::{Compress, invalid};

pub(super) struct Zlib {
    stream: flate2::Compress,
    scratch: Vec<u8>,
}

impl Zlib {
    pub(super) fn new() -> Self {
        Self {
            stream: flate2::Compress::new(Compression::new(1), true),
            scratch: Vec::new(),
        }
    }
}

impl Compress for Zlib {
    fn compress(&mut self, page: &[u8], out: &mut Vec<u8>) -> io::Result<bool> {
        // Room for one byte less than the page: what does not fit does not
        // shrink.
        self.scratch.resize(page.len().saturating_sub(1), 0);
        self.stream.reset();
        let status = self
            .stream
            .compress(page, &mut self.scratch, FlushCompress::Finish)
            .map_err(io::Error::other)?;
        if status != Status::StreamEnd {
            return Ok(false);
        }
        out.extend_from_slice(&self.scratch[..self.stream.total_out() as usize]);
        Ok(true)
    }
}

pub(super) fn decompress(input: &[u8], page: &mut [u8]) -> io::Result<usize> {
    let mut stream = flate2::Decompress::new(true);
    let status = stream
        .decompress(input, page, FlushDecompress::Finish)
        .map_err(invalid)?;
    if status != Status::StreamEnd {
        return Err(invalid("the zlib stream does not end with the page"));
    }
    Ok(stream.total_out() as usize)
}

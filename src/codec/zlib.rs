//! zlib (RFC 1950) by flate2 on zlib-rs, level 1.

use std::io;

use flate2::{FlushCompress, FlushDecompress, Status};

use super::{Compress, invalid};

pub(super) struct ZlibRs {
    stream: flate2::Compress,
    scratch: Vec<u8>,
}

impl ZlibRs {
    pub(super) fn new() -> Self {
        Self {
            stream: flate2::Compress::new(flate2::Compression::new(1), true),
            scratch: Vec::new(),
        }
    }
}

impl Compress for ZlibRs {
    fn compress(&mut self, page: &[u8]) -> io::Result<Option<&[u8]>> {
        // A stream that does not fit is not shorter than the page.
        self.scratch.resize(page.len().saturating_sub(1), 0);
        self.stream.reset();
        let status = self
            .stream
            .compress(page, &mut self.scratch, FlushCompress::Finish)
            .map_err(io::Error::other)?;
        let len = self.stream.total_out() as usize;
        Ok((status == Status::StreamEnd).then(|| &self.scratch[..len]))
    }
}

/// Returns the length of what was decompressed into `page`.
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

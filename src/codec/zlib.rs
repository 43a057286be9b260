//! zlib, level 1: flate2 on zlib-rs, or libdeflate (MIT, in C) with the
//! feature `libdeflate`. Decompression is zlib-rs's in either case: it is safe
//! Rust.

use std::io;

use flate2::{FlushDecompress, Status};

use super::{Compress, invalid};

#[cfg(not(feature = "libdeflate"))]
pub(super) struct Zlib {
    stream: flate2::Compress,
    scratch: Vec<u8>,
}

#[cfg(not(feature = "libdeflate"))]
impl Zlib {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            stream: flate2::Compress::new(flate2::Compression::new(1), true),
            scratch: Vec::new(),
        })
    }

    /// How much of the scratch buffer the page takes; `None` if it has no
    /// room.
    fn compress_to_scratch(&mut self, page: &[u8]) -> io::Result<Option<usize>> {
        self.stream.reset();
        let status = self
            .stream
            .compress(page, &mut self.scratch, flate2::FlushCompress::Finish)
            .map_err(io::Error::other)?;
        let len = self.stream.total_out() as usize;
        Ok((status == Status::StreamEnd).then_some(len))
    }
}

#[cfg(feature = "libdeflate")]
pub(super) struct Zlib {
    compressor: libdeflater::Compressor,
    scratch: Vec<u8>,
}

#[cfg(feature = "libdeflate")]
impl Zlib {
    pub(super) fn new() -> io::Result<Self> {
        let level = libdeflater::CompressionLvl::new(1)
            .map_err(|_| io::Error::other("libdeflate has no level 1"))?;
        Ok(Self {
            compressor: libdeflater::Compressor::new(level),
            scratch: Vec::new(),
        })
    }

    /// How much of the scratch buffer the page takes; `None` if it has no
    /// room.
    fn compress_to_scratch(&mut self, page: &[u8]) -> io::Result<Option<usize>> {
        use libdeflater::CompressionError::InsufficientSpace;
        match self.compressor.zlib_compress(page, &mut self.scratch) {
            Ok(len) => Ok(Some(len)),
            Err(InsufficientSpace) => Ok(None),
        }
    }
}

impl Compress for Zlib {
    fn compress(&mut self, page: &[u8], out: &mut Vec<u8>) -> io::Result<bool> {
        // Room for one byte less than the page: what does not fit does not
        // shrink.
        self.scratch.resize(page.len().saturating_sub(1), 0);
        let Some(len) = self.compress_to_scratch(page)? else {
            return Ok(false);
        };
        out.extend_from_slice(&self.scratch[..len]);
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

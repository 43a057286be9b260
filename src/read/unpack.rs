//! Unpacking a compressed dump into a file, because readers need positions.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};

use crate::read::FileKind;
use crate::workers::Progress;

/// Bytes that are unpacked at once.
#[cfg(any(feature = "zlib", feature = "zstd"))]
const BUFFER: usize = 256 << 10;

/// Blocks of this many zero bytes become holes.
#[cfg(any(feature = "zlib", feature = "zstd"))]
const BLOCK: usize = 4096;

/// Why a compressed file cannot be unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// This build has no decompressor for the kind of file.
    #[error("the file is {kind}: {}", .kind.advice())]
    NotSupported {
        /// The kind of the file.
        kind: FileKind,
    },
    /// The compressed file cannot be read, is damaged or ends early.
    #[error("the file is {kind}, and damaged or cut short after {unpacked} unpacked bytes")]
    Read {
        /// The compressor.
        kind: FileKind,
        /// Number of bytes that were unpacked before.
        unpacked: u64,
        /// The error of the file or of the decompressor.
        source: io::Error,
    },
    /// The spool cannot be written.
    #[error("cannot write {len} unpacked bytes at offset {offset} of the spool")]
    Write {
        /// Offset in the spool.
        offset: u64,
        /// Number of bytes.
        len: usize,
        /// Error of the spool.
        source: io::Error,
    },
    /// The unpacked file needs more space than the caller allows.
    #[error("the unpacked file needs more than the {limit} bytes that it may take")]
    TooLarge {
        /// The caller's limit in bytes.
        limit: u64,
    },
    /// [`Progress::cancel`] was called.
    #[error("cancelled")]
    Cancelled,
}

/// Unpacks the compressed `input` of the given kind into `spool`, which must be
/// an empty file, and returns the unpacked length in bytes.
///
/// Blocks of zeroes become holes. At most `limit` bytes are stored; holes do
/// not count. `progress` is only asked whether it was cancelled. Memory use is
/// a buffer and what the decompressor needs: for zstd up to 128 MiB, by the
/// stream's header.
///
/// gzip needs the feature `zlib`, and zstd the feature `zstd`.
///
/// # Errors
///
/// - [`UnpackError::NotSupported`] for any other kind, before anything is read;
/// - [`UnpackError::Read`] if the input is damaged, ends early, or has other
///   bytes after its end;
/// - [`UnpackError::Write`], [`UnpackError::TooLarge`] if the spool cannot take
///   the bytes.
///
/// After an error the spool has an unknown part of the file.
pub fn unpack(
    kind: FileKind,
    input: impl Read,
    spool: &File,
    limit: u64,
    progress: &Progress,
) -> Result<u64, UnpackError> {
    match kind {
        #[cfg(feature = "zlib")]
        FileKind::Gzip => {
            let input = flate2::read::MultiGzDecoder::new(input);
            copy(kind, input, spool, limit, progress)
        }
        #[cfg(feature = "zstd")]
        FileKind::Zstd => {
            let input =
                zstd::stream::read::Decoder::new(input).map_err(|source| UnpackError::Read {
                    kind,
                    unpacked: 0,
                    source,
                })?;
            copy(kind, input, spool, limit, progress)
        }
        _ => {
            let _ = (input, spool, limit, progress);
            Err(UnpackError::NotSupported { kind })
        }
    }
}

#[cfg(any(feature = "zlib", feature = "zstd"))]
fn copy(
    kind: FileKind,
    mut input: impl Read,
    spool: &File,
    limit: u64,
    progress: &Progress,
) -> Result<u64, UnpackError> {
    let mut buffer = vec![0; BUFFER];
    let mut unpacked = 0;
    let mut stored = 0;
    loop {
        if progress.is_cancelled() {
            return Err(UnpackError::Cancelled);
        }
        let len = fill(&mut input, &mut buffer).map_err(|source| UnpackError::Read {
            kind,
            unpacked,
            source,
        })?;
        for block in buffer[..len].chunks(BLOCK) {
            if block.iter().any(|byte| *byte != 0) {
                stored += block.len() as u64;
                if stored > limit {
                    return Err(UnpackError::TooLarge { limit });
                }
                write(spool, block, unpacked)?;
            }
            unpacked += block.len() as u64;
        }
        if len < buffer.len() {
            let result = spool.set_len(unpacked);
            result.map_err(|source| UnpackError::Write {
                offset: unpacked,
                len: 0,
                source,
            })?;
            return Ok(unpacked);
        }
    }
}

#[cfg(any(feature = "zlib", feature = "zstd"))]
fn write(spool: &File, block: &[u8], offset: u64) -> Result<(), UnpackError> {
    let result = std::os::unix::fs::FileExt::write_all_at(spool, block, offset);
    result.map_err(|source| UnpackError::Write {
        offset,
        len: block.len(),
        source,
    })
}

/// Fills the buffer as far as the input goes, and returns the length.
#[cfg(any(feature = "zlib", feature = "zstd"))]
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match input.read(&mut buffer[len..]) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(len)
}

#[cfg(all(test, feature = "zlib"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::{FileExt, MetadataExt};

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn unpacked(kind: FileKind, input: &[u8], limit: u64) -> Result<File, UnpackError> {
        let spool = tempfile::tempfile().unwrap();
        let len = unpack(kind, input, &spool, limit, &Progress::new())?;
        assert_eq!(len, spool.metadata().unwrap().len());
        Ok(spool)
    }

    fn bytes(spool: &File) -> Vec<u8> {
        let mut bytes = vec![0; spool.metadata().unwrap().len() as usize];
        spool.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    /// A file with data at both ends, and zeroes between and after them.
    fn sample() -> Vec<u8> {
        let mut bytes = vec![0; (4 << 20) + 5];
        bytes[..10_000].fill(7);
        bytes[3 << 20..][..10].fill(8);
        bytes
    }

    #[test]
    fn streams_are_unpacked_with_holes_for_zeroes() {
        let expected = sample();
        let (first, second) = expected.split_at(2 << 20);
        // gzip and zstd streams may follow one another.
        let gz = [gzip(first), gzip(second)].concat();
        let mut all = vec![(FileKind::Gzip, gz)];
        if cfg!(feature = "zstd") {
            all.push((FileKind::Zstd, zstd_of(first, second)));
        }
        for (kind, input) in all {
            let spool = unpacked(kind, &input, 1 << 20).unwrap();
            assert!(bytes(&spool) == expected, "{kind:?}");
            assert!(spool.metadata().unwrap().blocks() * 512 <= 64 << 10);
        }
    }

    #[cfg(feature = "zstd")]
    fn zstd_of(first: &[u8], second: &[u8]) -> Vec<u8> {
        let frame = |bytes| zstd::stream::encode_all(bytes, 1).unwrap();
        [frame(first), frame(second)].concat()
    }

    #[cfg(not(feature = "zstd"))]
    fn zstd_of(_: &[u8], _: &[u8]) -> Vec<u8> {
        Vec::new()
    }

    #[test]
    fn a_stream_that_is_cut_or_damaged_is_an_error_at_every_place() {
        let plain: Vec<u8> = (0..3000_u32).flat_map(u32::to_le_bytes).collect();
        let mut all = vec![(FileKind::Gzip, gzip(&plain))];
        if cfg!(feature = "zstd") {
            all.push((FileKind::Zstd, zstd_of(&plain, b"")));
        }
        for (kind, input) in all {
            for cut in (1..input.len() - 10).step_by(97).chain([input.len() - 10]) {
                let error = unpacked(kind, &input[..cut], 1 << 30).unwrap_err();
                assert!(matches!(error, UnpackError::Read { .. }), "{kind:?} {cut}");
            }
            let rubbish = [&input[..], b"rubbish"].concat();
            assert!(unpacked(kind, &rubbish, 1 << 30).is_err(), "{kind:?}");
        }
        let mut damaged = gzip(&plain);
        let at = damaged.len() - 6;
        damaged[at] ^= 1;
        assert!(unpacked(FileKind::Gzip, &damaged, 1 << 30).is_err());
    }

    #[test]
    fn the_spool_is_bounded_and_the_work_can_be_cancelled() {
        let input = gzip(&sample());
        let error = unpacked(FileKind::Gzip, &input, 12 << 10).unwrap_err();
        assert!(matches!(error, UnpackError::TooLarge { limit: 12_288 }));
        let progress = Progress::new();
        progress.cancel();
        let spool = tempfile::tempfile().unwrap();
        let result = unpack(FileKind::Gzip, &input[..], &spool, 1 << 30, &progress);
        assert!(matches!(result, Err(UnpackError::Cancelled)));
        let read_only = File::open("/dev/null").unwrap();
        let result = unpack(
            FileKind::Gzip,
            &input[..],
            &read_only,
            1 << 30,
            &Progress::new(),
        );
        assert!(matches!(result, Err(UnpackError::Write { offset: 0, .. })));
    }

    #[test]
    fn other_compressors_are_named_with_the_way_out() {
        let error = unpacked(FileKind::Bzip2, b"", 0).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("bzip2") && text.contains("`bzip2 -d` first"),
            "{text}"
        );
    }
}

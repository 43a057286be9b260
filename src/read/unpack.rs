//! Unpacking a compressed dump into a file, because readers need positions.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};

use crate::read::FileKind;
#[cfg(feature = "zlib")]
use crate::read::gzip;
use crate::workers::Progress;

/// Bytes that are unpacked at once.
#[cfg(any(feature = "zlib", feature = "zstd", feature = "xz"))]
const BUFFER: usize = 256 << 10;

/// Blocks of this many zero bytes become holes.
#[cfg(any(feature = "zlib", feature = "zstd", feature = "xz"))]
const BLOCK: usize = 4096;

/// The most memory that xz may take, in KiB. `xz -9` needs 65 MiB.
#[cfg(feature = "xz")]
const XZ_MEMORY: u32 = 128 << 10;

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
    /// The stream needs more memory than unpacking may take.
    #[error(
        "the file is {kind}, and needs more than 128 MiB of memory to unpack; run `{}` first",
        if *.kind == FileKind::Zstd { "zstd -d --long=31" } else { "xz -d" }
    )]
    Memory {
        /// The compressor.
        kind: FileKind,
        /// The error of the decompressor.
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
/// a buffer and what the decompressor needs: for zstd and xz up to 128 MiB, by
/// the stream's header.
///
/// gzip needs the feature `zlib`; zstd and xz have features of their names.
///
/// # Errors
///
/// - [`UnpackError::NotSupported`] for any other kind, before anything is read;
/// - [`UnpackError::Read`] if the input is damaged, ends early, or has other
///   bytes after its end; zeroes after a gzip stream are padding;
/// - [`UnpackError::Memory`] if the stream needs more than 128 MiB of memory;
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
            let input = gzip::Members::new(io::BufReader::with_capacity(BUFFER, input));
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
        #[cfg(feature = "xz")]
        FileKind::Xz => {
            let input = io::BufReader::new(input);
            let input = lzma_rust2::XzReader::new_mem_limit(input, true, XZ_MEMORY);
            copy(kind, input, spool, limit, progress)
        }
        _ => {
            let _ = (input, spool, limit, progress);
            Err(UnpackError::NotSupported { kind })
        }
    }
}

#[cfg(any(feature = "zlib", feature = "zstd", feature = "xz"))]
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
        let len = fill(&mut input, &mut buffer).map_err(|source| {
            if wants_memory(&source) {
                return UnpackError::Memory { kind, source };
            }
            UnpackError::Read {
                kind,
                unpacked,
                source,
            }
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

/// Whether a decompressor refused a stream for the memory that it needs: zstd has a text for that,
/// xz a kind of error.
#[cfg(any(feature = "zlib", feature = "zstd", feature = "xz"))]
fn wants_memory(error: &io::Error) -> bool {
    #[cfg(feature = "zstd")]
    {
        use zstd::zstd_safe::{get_error_name, zstd_sys::ZSTD_ErrorCode};
        let code = ZSTD_ErrorCode::ZSTD_error_frameParameter_windowTooLarge as usize;
        if error.to_string() == get_error_name(code.wrapping_neg()) {
            return true;
        }
    }
    error.kind() == io::ErrorKind::OutOfMemory
}

#[cfg(any(feature = "zlib", feature = "zstd", feature = "xz"))]
fn write(spool: &File, block: &[u8], offset: u64) -> Result<(), UnpackError> {
    let result = std::os::unix::fs::FileExt::write_all_at(spool, block, offset);
    result.map_err(|source| UnpackError::Write {
        offset,
        len: block.len(),
        source,
    })
}

/// Fills the buffer as far as the input goes, and returns the length.
#[cfg(any(feature = "zlib", feature = "zstd", feature = "xz"))]
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

    /// `xz -0` of "guest memory " 1000 times, 8 KiB of zeroes, and "end".
    #[cfg(feature = "xz")]
    const XZ: &[u8] =
        b"\xfd\x37\x7a\x58\x5a\x00\x00\x04\xe6\xd6\xb4\x46\x02\x00\x21\x01\x0c\x00\x00\x00\
        \x8f\x98\x41\x9c\xe0\x52\xca\x00\x50\x5d\x00\x33\x9d\x48\xce\xf5\x89\xff\x42\xc6\
        \xb1\xc7\x81\xaa\x49\xe0\x29\xe5\x4f\x61\x5e\x7b\xf2\xce\x5a\xe1\x83\x58\x2d\x01\
        \x42\xe4\x4f\x62\x21\xd0\x73\x03\x2d\x9f\x61\x00\x2a\x27\x0b\xce\xe9\x1d\xd0\x6a\
        \xf2\x1c\xb3\x1f\x32\xed\xfc\xe1\x3b\x88\x3a\x57\x8b\x71\xd3\x33\xae\xa8\x2d\xbb\
        \x82\x06\x46\x91\xe1\xcf\xe8\xd8\xba\xe9\x00\x00\xe0\x0e\x3c\x53\xf8\xaa\xf0\x8f\
        \x00\x01\x6c\xcb\xa5\x01\x00\x00\x36\x41\xd1\x59\xb1\xc4\x67\xfb\x02\x00\x00\x00\
        \x00\x04\x59\x5a";

    #[cfg(feature = "xz")]
    #[test]
    fn xz_is_unpacked_and_every_damage_is_an_error() {
        let expected = [&b"guest memory ".repeat(1000)[..], &[0; 8192], b"end"].concat();
        // Streams may follow one another.
        let twice = unpacked(FileKind::Xz, &XZ.repeat(2), 1 << 20).unwrap();
        assert!(bytes(&twice) == expected.repeat(2));
        for cut in 0..XZ.len() {
            assert!(
                unpacked(FileKind::Xz, &XZ[..cut], 1 << 20).is_err(),
                "{cut}"
            );
        }
        for bit in 0..XZ.len() * 8 {
            let mut damaged = XZ.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(unpacked(FileKind::Xz, &damaged, 1 << 20).is_err(), "{bit}");
        }
        let rubbish = [XZ, b"rubbish"].concat();
        assert!(unpacked(FileKind::Xz, &rubbish, 1 << 20).is_err());
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
    fn a_gzip_stream_may_end_in_zeroes() {
        let plain = sample();
        let unpack =
            |rest: &[u8]| unpacked(FileKind::Gzip, &[&gzip(&plain)[..], rest].concat(), 1 << 20);
        // A tape or a block device pads to its block size.
        for padding in [1, 10_240, 1 << 20] {
            assert!(bytes(&unpack(&vec![0; padding]).unwrap()) == plain);
        }
        let error = unpack(&[&[0; 10_240][..], b"x"].concat()).unwrap_err();
        let text = crate::fault::error_chain(&error);
        assert!(text.contains("other bytes follow the stream"), "{text}");
        assert!(unpack(b"\x1f").is_err());
    }

    /// The frame of `zstd --long=31`, with a window of 2 GiB (RFC 8878, 3.1.1.1.2).
    #[cfg(feature = "zstd")]
    #[test]
    fn a_zstd_stream_with_a_large_window_is_not_called_damaged() {
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0, 21 << 3, 0x01, 0, 0];
        let error = unpacked(FileKind::Zstd, &frame, 1 << 20).unwrap_err();
        assert!(matches!(error, UnpackError::Memory { .. }), "{error}");
        assert!(error.to_string().contains("`zstd -d --long=31` first"));
    }

    #[cfg(feature = "xz")]
    #[test]
    fn an_xz_stream_with_a_large_dictionary_is_not_called_damaged() {
        // The size of the dictionary is in the block's header, which has a CRC.
        let mut large = XZ.to_vec();
        large[16] = 34; // 512 MiB
        let crc = !large[12..20].iter().fold(!0_u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                crc >> 1 ^ 0xedb8_8320 & (crc & 1).wrapping_neg()
            })
        });
        large[20..24].copy_from_slice(&crc.to_le_bytes());
        let error = unpacked(FileKind::Xz, &large, 1 << 20).unwrap_err();
        assert!(matches!(error, UnpackError::Memory { .. }), "{error}");
        assert!(error.to_string().contains("`xz -d` first"));
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

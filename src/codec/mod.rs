//! Compression of single pages, one file for each codec.
//!
//! kdump stores every page compressed on its own, in the plain stream format
//! of the codec: zlib (RFC 1950), LZO1X without the lzop container, raw
//! snappy (no framing), one zstd frame. The readers decompress with zlib's
//! `uncompress`, `lzo1x_decompress_safe`, `snappy_uncompress` and
//! `ZSTD_decompress` (libkdumpfile `src/kdumpfile/diskdump.c`).
//!
//! ```
//! use guestdump::codec::Codec;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let page = [7; 4096];
//! for codec in Codec::ALL {
//!     let Some(mut compressor) = codec.compressor()? else {
//!         continue; // not in this build
//!     };
//!     let mut compressed = Vec::new();
//!     assert!(compressor.compress(&page, &mut compressed)?);
//!     let mut back = [0; 4096];
//!     codec.decompress(&compressed, &mut back)?;
//!     assert_eq!(back, page);
//! }
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

// With `minilzo` our own LZO is there for its tests alone.
#[cfg(any(
    feature = "snappy",
    all(feature = "lzo", any(test, not(feature = "minilzo")))
))]
mod format;
#[cfg(any(
    feature = "snappy",
    all(feature = "lzo", any(test, not(feature = "minilzo")))
))]
mod lz77;
#[cfg(feature = "lzo")]
mod lzo;
#[cfg(feature = "snappy")]
mod snappy;
#[cfg(feature = "zlib")]
mod zlib;
#[cfg(feature = "zstd")]
mod zstd;

use std::io;

/// How pages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// zlib, feature `zlib`; smaller with `libdeflate`.
    Zlib,
    /// LZO1X, feature `lzo`; a little smaller and slower with `minilzo`.
    Lzo,
    /// snappy, feature `snappy`.
    Snappy,
    /// zstd, feature `zstd`.
    Zstd,
}

impl Codec {
    /// Every codec, also those that are not in this build.
    pub const ALL: &'static [Self] = &[Self::Zlib, Self::Lzo, Self::Snappy, Self::Zstd];

    /// Whether this build has the codec.
    #[must_use]
    pub const fn is_available(self) -> bool {
        match self {
            Self::Zlib => cfg!(feature = "zlib"),
            Self::Lzo => cfg!(feature = "lzo"),
            Self::Snappy => cfg!(feature = "snappy"),
            Self::Zstd => cfg!(feature = "zstd"),
        }
    }

    /// The crate feature that brings the codec, which is also its name.
    #[must_use]
    pub const fn feature(self) -> &'static str {
        match self {
            Self::Zlib => "zlib",
            Self::Lzo => "lzo",
            Self::Snappy => "snappy",
            Self::Zstd => "zstd",
        }
    }

    /// A compressor; `None` if the codec is not in this build.
    ///
    /// # Errors
    ///
    /// If the codec's library cannot be set up.
    pub fn compressor(self) -> io::Result<Option<Compressor>> {
        let inner: Option<Box<dyn Compress>> = match self {
            #[cfg(feature = "zlib")]
            Self::Zlib => Some(Box::new(zlib::Zlib::new()?)),
            #[cfg(feature = "lzo")]
            Self::Lzo => Some(Box::new(lzo::Lzo::new()?)),
            #[cfg(feature = "snappy")]
            Self::Snappy => Some(Box::new(snappy::Snappy::new())),
            #[cfg(feature = "zstd")]
            Self::Zstd => Some(Box::new(zstd::Zstd::new()?)),
            #[allow(unreachable_patterns)]
            _ => None,
        };
        Ok(inner.map(|inner| Compressor { inner }))
    }

    /// Decompresses `input` into the whole of `page`.
    ///
    /// # Errors
    ///
    /// - [`io::ErrorKind::InvalidData`] if `input` is not what the codec
    ///   writes, or does not give exactly `page.len()` bytes;
    /// - [`io::ErrorKind::Unsupported`] if the codec is not in this build.
    pub fn decompress(self, input: &[u8], page: &mut [u8]) -> io::Result<()> {
        let result: io::Result<usize> = match self {
            #[cfg(feature = "zlib")]
            Self::Zlib => zlib::decompress(input, page),
            #[cfg(feature = "lzo")]
            Self::Lzo => lzo::decompress(input, page),
            #[cfg(feature = "snappy")]
            Self::Snappy => snappy::decompress(input, page),
            #[cfg(feature = "zstd")]
            Self::Zstd => zstd::decompress(input, page),
            #[allow(unreachable_patterns)]
            _ => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!(
                    "{} bytes of {}, which is not part of this build",
                    input.len(),
                    self.feature()
                ),
            )),
        };
        let len = result?;
        if len == page.len() {
            Ok(())
        } else {
            Err(invalid(format!(
                "{len} bytes decompressed, {} expected",
                page.len()
            )))
        }
    }
}

/// A codec with its working memory, for one thread.
pub struct Compressor {
    inner: Box<dyn Compress>,
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Compressor")
    }
}

impl Compressor {
    /// Appends the compressed `page` to `out` and returns true if that is
    /// shorter than the page itself; else leaves `out` as it was and returns
    /// false. The same page always gives the same bytes.
    ///
    /// # Errors
    ///
    /// If the codec's library fails, other than for lack of room.
    pub fn compress(&mut self, page: &[u8], out: &mut Vec<u8>) -> io::Result<bool> {
        self.inner.compress(page, out)
    }
}

trait Compress: Send {
    /// See [`Compressor::compress`].
    fn compress(&mut self, page: &[u8], out: &mut Vec<u8>) -> io::Result<bool>;
}

fn invalid(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// Appends `compressed` if it is shorter than a page of `page_len` bytes.
#[cfg(any(feature = "lzo", feature = "snappy", feature = "zstd"))]
fn keep_if_shorter(compressed: &[u8], page_len: usize, out: &mut Vec<u8>) -> bool {
    let shorter = compressed.len() < page_len;
    if shorter {
        out.extend_from_slice(compressed);
    }
    shorter
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pages() -> Vec<Vec<u8>> {
        let mut state = 1u64;
        let mut random = |len: usize| -> Vec<u8> {
            (0..len)
                .map(|_| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    (state >> 56) as u8
                })
                .collect()
        };
        let text: Vec<u8> = b"the quick brown fox "
            .iter()
            .copied()
            .cycle()
            .take(4096)
            .collect();
        let mut mixed = random(4096);
        mixed[1000..].fill(7);
        vec![
            vec![0; 4096],
            text,
            random(4096),
            mixed,
            vec![0xff; 65536],
            random(65536),
        ]
    }

    #[test]
    fn every_codec_round_trips_and_never_grows() {
        for &codec in Codec::ALL {
            let Some(mut compressor) = codec.compressor().unwrap() else {
                assert!(!codec.is_available());
                continue;
            };
            for page in pages() {
                let mut out = b"before".to_vec();
                let shrunk = compressor.compress(&page, &mut out).unwrap();
                assert!(out.starts_with(b"before"));
                if !shrunk {
                    assert_eq!(out.len(), 6);
                    continue;
                }
                assert!(out.len() - 6 < page.len());
                let mut back = vec![0xa5; page.len()];
                codec.decompress(&out[6..], &mut back).unwrap();
                assert!(back == page, "{codec:?}");
            }
        }
    }

    proptest::proptest! {
        /// Also of more than a reach of LZO's and of snappy's copies.
        #[test]
        fn pages_of_pieces_are_read_back(
            pieces in proptest::collection::vec(
                (proptest::collection::vec(proptest::arbitrary::any::<u8>(), 1..500), 1usize..4, 0usize..40_000),
                1..60,
            ),
        ) {
            let mut page = Vec::new();
            for (piece, times, before) in &pieces {
                for _ in 0..*times {
                    page.extend_from_slice(piece);
                }
                // And something again from far before.
                let from = page.len().saturating_sub(*before);
                page.extend_from_within(from..(from + piece.len()).min(page.len()));
            }
            for &codec in &[Codec::Lzo, Codec::Snappy] {
                let Some(mut compressor) = codec.compressor().unwrap() else {
                    continue;
                };
                let mut out = Vec::new();
                if compressor.compress(&page, &mut out).unwrap() {
                    let mut back = vec![0; page.len()];
                    codec.decompress(&out, &mut back).unwrap();
                    assert!(back == page, "{codec:?}");
                }
            }
        }
    }

    /// Pages of the demo guest that are not zero.
    #[cfg(all(feature = "demo", feature = "snappy"))]
    #[test]
    fn our_own_codecs_are_hardly_larger_than_the_library() {
        use crate::memory::{GuestMemory, is_zero};
        let guest = crate::demo::DemoGuest::new(16 << 20).unwrap();
        let mut pages = Vec::new();
        for range in guest.ranges() {
            for gpa in (range.start()..range.end()).step_by(4096) {
                let mut page = [0; 4096];
                guest.read(gpa, &mut page).unwrap();
                if !is_zero(&page) {
                    pages.push(page);
                }
            }
        }
        assert!(pages.len() > 1000);
        let ours = |codec: Codec| {
            let mut compressor = codec.compressor().unwrap().unwrap();
            let mut all = Vec::new();
            for page in &pages {
                if !compressor.compress(page, &mut all).unwrap() {
                    all.extend_from_slice(page);
                }
            }
            all.len()
        };
        let snap: usize = pages
            .iter()
            .map(|page| {
                snap::raw::Encoder::new()
                    .compress_vec(page)
                    .unwrap()
                    .len()
                    .min(4096)
            })
            .sum();
        let snappy = ours(Codec::Snappy);
        assert!(snappy < snap + snap / 16, "{snappy} bytes, snap {snap}");
        #[cfg(feature = "lzo")]
        assert!(ours(Codec::Lzo) < snappy);
    }

    #[test]
    fn what_was_compressed_before_does_not_matter() {
        for &codec in Codec::ALL {
            let (Some(mut used), Some(mut fresh)) =
                (codec.compressor().unwrap(), codec.compressor().unwrap())
            else {
                continue;
            };
            for page in pages() {
                used.compress(&page, &mut Vec::new()).unwrap();
            }
            let page = &pages()[3];
            let (mut a, mut b) = (Vec::new(), Vec::new());
            used.compress(page, &mut a).unwrap();
            fresh.compress(page, &mut b).unwrap();
            assert!(a == b, "{codec:?}");
        }
    }

    #[test]
    fn damaged_and_misfitting_input_is_an_error() {
        for &codec in Codec::ALL {
            let Some(mut compressor) = codec.compressor().unwrap() else {
                continue;
            };
            let page = &pages()[1];
            let mut good = Vec::new();
            assert!(compressor.compress(page, &mut good).unwrap());
            let kind = |input: &[u8], len: usize| {
                let mut page = vec![0; len];
                codec.decompress(input, &mut page).unwrap_err().kind()
            };
            for (input, len) in [
                (&good[..], 4095),
                (&good[..], 4097),
                (&good[..good.len() - 1], 4096),
                (&good[..1], 4096),
                (&[][..], 4096),
                (&[0xff; 64][..], 4096),
            ] {
                assert_eq!(kind(input, len), io::ErrorKind::InvalidData, "{codec:?}");
            }
        }
    }
}

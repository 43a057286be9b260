//! Compression of single pages, one file for each codec.
//!
//! kdump stores every page compressed on its own, in the plain stream format
//! of the codec: zlib (RFC 1950), LZO1X without the lzop container, raw
//! snappy (no framing), one zstd frame. The readers decompress with zlib's
//! `uncompress`, `lzo1x_decompress_safe`, `snappy_uncompress` and
//! `ZSTD_decompress` (libkdumpfile `src/kdumpfile/diskdump.c`).
//!
//! A [`Codec`] is the stream format. An [`Engine`] is a compressor of one codec; zlib
//! and LZO have two engines each.
//!
//! ```
//! use guestdump::codec::Engine;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let page = [7; 4096];
//! for engine in Engine::ALL.iter().filter(|engine| engine.is_available()) {
//!     let mut compressed = Vec::new();
//!     assert!(engine.compressor()?.compress(&page, &mut compressed)?);
//!     let mut back = [0; 4096];
//!     engine.codec().decompress(&compressed, &mut back)?;
//!     assert_eq!(back, page);
//! }
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod engine;
#[cfg(feature = "libdeflate")]
mod libdeflate;
#[cfg(feature = "lzo")]
mod lzo;
#[cfg(feature = "snappy")]
mod snappy;
#[cfg(test)]
mod tests;
#[cfg(feature = "zlib")]
mod zlib;
#[cfg(feature = "zstd")]
mod zstd;

use std::io;

pub use engine::{Compressor, Engine, UnknownEngine};

/// The stream format that pages are compressed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// zlib, feature `zlib`.
    Zlib,
    /// LZO1X, feature `lzo`.
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

    /// The crate feature that adds the codec, which is also its name.
    #[must_use]
    pub const fn feature(self) -> &'static str {
        match self {
            Self::Zlib => "zlib",
            Self::Lzo => "lzo",
            Self::Snappy => "snappy",
            Self::Zstd => "zstd",
        }
    }

    /// The engine that compresses unless the caller chooses another. It is the same
    /// in every build.
    #[must_use]
    pub const fn default_engine(self) -> Engine {
        match self {
            Self::Zlib => Engine::ZlibRs,
            Self::Lzo => Engine::BuiltinLzo,
            Self::Snappy => Engine::Snap,
            Self::Zstd => Engine::Zstd,
        }
    }

    /// The codec's engines, the default first, also those that are not in this build.
    pub fn engines(self) -> impl Iterator<Item = Engine> {
        let all = Engine::ALL.iter().copied();
        all.filter(move |engine| engine.codec() == self)
    }

    /// Creates a compressor of the [default engine](Self::default_engine).
    ///
    /// # Errors
    ///
    /// As [`Engine::compressor`].
    pub fn compressor(self) -> io::Result<Compressor> {
        self.default_engine().compressor()
    }

    /// Decompresses `input` into the whole of `page`.
    ///
    /// # Errors
    ///
    /// - [`io::ErrorKind::InvalidData`] if `input` is not a stream of the codec, or
    ///   does not decompress to exactly `page.len()` bytes;
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
            _ => {
                let _ = input;
                Err(not_in_this_build(self.feature(), self.feature()))
            }
        };
        let len = result?;
        if len != page.len() {
            return Err(invalid(format!(
                "{len} bytes decompressed, {} expected",
                page.len()
            )));
        }
        Ok(())
    }
}

/// The part of a [`Compressor`] that each engine implements.
trait Compress: Send {
    /// Compresses `page`. `None` if the engine can tell that the result would not be
    /// shorter than `page`.
    fn compress(&mut self, page: &[u8]) -> io::Result<Option<&[u8]>>;
}

fn invalid(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

fn not_in_this_build(name: &str, feature: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!("{name} is not part of this build; build with the feature '{feature}'"),
    )
}

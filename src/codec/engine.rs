//! The compressors of each codec.

use std::fmt;
use std::io;
use std::str::FromStr;

use super::{Codec, Compress};

/// A compressor of a [`Codec`]: a library, or this crate's own code.
///
/// Any decompressor of the codec reads the output of each of its engines. They differ
/// in speed and size. The default of a codec is the same in every build: a cargo
/// feature adds an engine, and the caller chooses it.
///
/// ```
/// use guestdump::codec::{Codec, Engine};
/// use guestdump::KdumpOptions;
///
/// assert_eq!(Codec::Zlib.default_engine(), Engine::ZlibRs);
/// let usual = KdumpOptions::raw(Codec::Zlib);
/// let small = KdumpOptions::raw(Engine::Libdeflate);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Engine {
    /// zlib by zlib-rs (Rust), level 1. The default of zlib; feature `zlib`.
    ZlibRs,
    /// zlib by libdeflate (C), level 1: 8% smaller dumps than [`ZlibRs`](Self::ZlibRs)
    /// for 5% more processor time. Feature `libdeflate`.
    Libdeflate,
    /// LZO by this crate's own code (Rust). The default of LZO; feature `lzo`.
    BuiltinLzo,
    /// LZO by minilzo (C): 2% smaller dumps than [`BuiltinLzo`](Self::BuiltinLzo) for
    /// 30% more time of the codec. Feature `minilzo`.
    ///
    /// minilzo is **GPL-3.0-or-later**. A program that is built with the feature is a
    /// GPL program, even if it chooses another engine.
    Minilzo,
    /// snappy by snap (Rust). The default of snappy; feature `snappy`.
    Snap,
    /// zstd by its C library, level 1. The default of zstd; feature `zstd`.
    Zstd,
}

impl Engine {
    /// Every engine, also those that are not in this build. The default of a codec
    /// comes before its other engines.
    pub const ALL: &'static [Self] = &[
        Self::ZlibRs,
        Self::Libdeflate,
        Self::BuiltinLzo,
        Self::Minilzo,
        Self::Snap,
        Self::Zstd,
    ];

    /// The codec whose streams the engine writes.
    #[must_use]
    pub const fn codec(self) -> Codec {
        match self {
            Self::ZlibRs | Self::Libdeflate => Codec::Zlib,
            Self::BuiltinLzo | Self::Minilzo => Codec::Lzo,
            Self::Snap => Codec::Snappy,
            Self::Zstd => Codec::Zstd,
        }
    }

    /// The engine's name, as the command takes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ZlibRs => "zlib-rs",
            Self::Libdeflate => "libdeflate",
            Self::BuiltinLzo => "builtin-lzo",
            Self::Minilzo => "minilzo",
            Self::Snap => "snap",
            Self::Zstd => "zstd",
        }
    }

    /// The crate feature that adds the engine.
    #[must_use]
    pub const fn feature(self) -> &'static str {
        match self {
            Self::Libdeflate => "libdeflate",
            Self::Minilzo => "minilzo",
            default => default.codec().feature(),
        }
    }

    /// Whether this build has the engine.
    #[must_use]
    pub const fn is_available(self) -> bool {
        match self {
            Self::Libdeflate => cfg!(feature = "libdeflate"),
            Self::Minilzo => cfg!(feature = "minilzo"),
            default => default.codec().is_available(),
        }
    }

    /// Creates a compressor with its working memory.
    ///
    /// # Errors
    ///
    /// - [`io::ErrorKind::Unsupported`] if the engine is not in this build;
    /// - other kinds if the engine's library cannot be set up.
    pub fn compressor(self) -> io::Result<Compressor> {
        let inner: Option<Box<dyn Compress>> = match self {
            #[cfg(feature = "zlib")]
            Self::ZlibRs => Some(Box::new(super::zlib::ZlibRs::new())),
            #[cfg(feature = "libdeflate")]
            Self::Libdeflate => Some(Box::new(super::libdeflate::Libdeflate::new()?)),
            #[cfg(feature = "lzo")]
            Self::BuiltinLzo => Some(Box::new(super::lzo::BuiltinLzo::new())),
            #[cfg(feature = "minilzo")]
            Self::Minilzo => Some(Box::new(super::lzo::minilzo::Minilzo::new()?)),
            #[cfg(feature = "snappy")]
            Self::Snap => Some(Box::new(super::snappy::Snap::new())),
            #[cfg(feature = "zstd")]
            Self::Zstd => Some(Box::new(super::zstd::Zstd::new()?)),
            #[allow(unreachable_patterns)]
            _ => None,
        };
        let missing = || super::not_in_this_build(self.name(), self.feature());
        let inner = inner.ok_or_else(missing)?;
        Ok(Compressor {
            engine: self,
            inner,
        })
    }
}

impl From<Codec> for Engine {
    fn from(codec: Codec) -> Self {
        codec.default_engine()
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that no engine has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no compressor '{0}'")]
pub struct UnknownEngine(pub String);

impl FromStr for Engine {
    type Err = UnknownEngine;

    fn from_str(name: &str) -> Result<Self, UnknownEngine> {
        let mut all = Self::ALL.iter().copied();
        all.find(|engine| engine.name() == name)
            .ok_or_else(|| UnknownEngine(name.to_owned()))
    }
}

/// An engine with its working memory, for one thread.
pub struct Compressor {
    engine: Engine,
    inner: Box<dyn Compress>,
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Compressor");
        debug.field("engine", &self.engine).finish_non_exhaustive()
    }
}

impl Compressor {
    /// The engine that compresses.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// Appends the compressed `page` to `out` and returns true if it is shorter than
    /// `page`. Otherwise returns false and leaves `out` unchanged. The same page
    /// always gives the same bytes.
    ///
    /// # Errors
    ///
    /// The engine's library failed for another reason than lack of room.
    pub fn compress(&mut self, page: &[u8], out: &mut Vec<u8>) -> io::Result<bool> {
        let compressed = self.inner.compress(page)?;
        let Some(shorter) = compressed.filter(|bytes| bytes.len() < page.len()) else {
            return Ok(false);
        };
        out.extend_from_slice(shorter);
        Ok(true)
    }
}

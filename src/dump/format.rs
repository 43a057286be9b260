//! The dump formats, by their names in QEMU's `DumpGuestMemoryFormat`.

use std::fmt;
use std::str::FromStr;

use crate::arch::Machine;
use crate::codec::Codec;
use crate::kdump::Container;
use crate::windmp::DumpKind;

/// A dump format.
///
/// Its text is the name that QEMU gives it. QEMU does not know the formats
/// with zstd and Windows's bitmap dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// An ELF core with one PT_LOAD for each run of RAM.
    Elf,
    /// makedumpfile's kdump-compressed format.
    Kdump {
        /// The codec that compresses pages.
        codec: Codec,
        /// Raw or flattened.
        container: Container,
    },
    /// A Windows crash dump.
    Windows(DumpKind),
}

const fn raw(codec: Codec) -> Format {
    Format::Kdump {
        codec,
        container: Container::Raw,
    }
}

const fn flattened(codec: Codec) -> Format {
    Format::Kdump {
        codec,
        container: Container::Flattened,
    }
}

impl Format {
    /// `kdump-zlib`: flattened, zlib.
    pub const KDUMP_ZLIB: Self = flattened(Codec::Zlib);
    /// `kdump-lzo`: flattened, LZO.
    pub const KDUMP_LZO: Self = flattened(Codec::Lzo);
    /// `kdump-snappy`: flattened, snappy.
    pub const KDUMP_SNAPPY: Self = flattened(Codec::Snappy);
    /// `kdump-zstd`: flattened, zstd.
    pub const KDUMP_ZSTD: Self = flattened(Codec::Zstd);
    /// `kdump-raw-zlib`: raw, zlib.
    pub const KDUMP_RAW_ZLIB: Self = raw(Codec::Zlib);
    /// `kdump-raw-lzo`: raw, LZO.
    pub const KDUMP_RAW_LZO: Self = raw(Codec::Lzo);
    /// `kdump-raw-snappy`: raw, snappy.
    pub const KDUMP_RAW_SNAPPY: Self = raw(Codec::Snappy);
    /// `kdump-raw-zstd`: raw, zstd.
    pub const KDUMP_RAW_ZSTD: Self = raw(Codec::Zstd);
    /// `win-dmp`: Windows's full dump.
    pub const WIN_DMP: Self = Self::Windows(DumpKind::Full);
    /// `win-dmp-bitmap`: Windows's bitmap dump.
    pub const WIN_DMP_BITMAP: Self = Self::Windows(DumpKind::Bitmap);

    /// Every format, also those that this build has no codec for.
    pub const ALL: &'static [Self] = &[
        Self::Elf,
        Self::KDUMP_ZLIB,
        Self::KDUMP_LZO,
        Self::KDUMP_SNAPPY,
        Self::KDUMP_ZSTD,
        Self::KDUMP_RAW_ZLIB,
        Self::KDUMP_RAW_LZO,
        Self::KDUMP_RAW_SNAPPY,
        Self::KDUMP_RAW_ZSTD,
        Self::WIN_DMP,
        Self::WIN_DMP_BITMAP,
    ];

    /// The formats that this build can write.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|f| f.is_available())
    }

    /// Whether this build can write the format.
    #[must_use]
    pub fn is_available(self) -> bool {
        self.codec().is_none_or(Codec::is_available)
    }

    /// The format's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Elf => "elf",
            Self::KDUMP_ZLIB => "kdump-zlib",
            Self::KDUMP_LZO => "kdump-lzo",
            Self::KDUMP_SNAPPY => "kdump-snappy",
            Self::KDUMP_ZSTD => "kdump-zstd",
            Self::KDUMP_RAW_ZLIB => "kdump-raw-zlib",
            Self::KDUMP_RAW_LZO => "kdump-raw-lzo",
            Self::KDUMP_RAW_SNAPPY => "kdump-raw-snappy",
            Self::KDUMP_RAW_ZSTD => "kdump-raw-zstd",
            Self::WIN_DMP => "win-dmp",
            Self::WIN_DMP_BITMAP => "win-dmp-bitmap",
        }
    }

    /// Whether this is a dump of a Windows guest, whose header comes from the
    /// guest or the caller: see [`windmp`](crate::windmp).
    #[must_use]
    pub const fn is_windows(self) -> bool {
        matches!(self, Self::Windows(_))
    }

    /// Whether guests of this architecture can be dumped in the format:
    /// Windows dumps are for x86.
    #[must_use]
    pub const fn is_for(self, machine: Machine) -> bool {
        !self.is_windows() || matches!(machine, Machine::X86_64 | Machine::I386)
    }

    /// The codec that compresses pages; `None` for ELF and Windows dumps.
    #[must_use]
    pub const fn codec(self) -> Option<Codec> {
        match self {
            Self::Kdump { codec, .. } => Some(codec),
            Self::Elf | Self::Windows(_) => None,
        }
    }

    /// Whether the format needs a sink that can be written at any position.
    #[must_use]
    pub const fn needs_positions(self) -> bool {
        matches!(
            self,
            Self::Kdump {
                container: Container::Raw,
                ..
            }
        )
    }

    /// The format with the same contents that any sink can take: the
    /// flattened one for raw kdump, itself for all others.
    #[must_use]
    pub const fn streamable(self) -> Self {
        match self {
            Self::Kdump { codec, .. } => flattened(codec),
            other => other,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that no format has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no format '{0}'")]
pub struct UnknownFormat(pub String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(s: &str) -> Result<Self, UnknownFormat> {
        Self::ALL
            .iter()
            .copied()
            .find(|f| f.name() == s)
            .ok_or_else(|| UnknownFormat(s.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for &format in Format::ALL {
            assert_eq!(format.name().parse(), Ok(format));
            assert!(!format.streamable().needs_positions());
            assert_eq!(format.streamable().codec(), format.codec());
        }
        assert!("kdump".parse::<Format>().is_err());
    }
}

//! The formats by their names in QEMU's `DumpGuestMemoryFormat`.

use std::fmt;
use std::str::FromStr;

use crate::arch::Machine;
use crate::codec::Codec;

/// A dump format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// ELF core with one PT_LOAD for each run of RAM.
    Elf,
    /// makedumpfile's kdump-compressed format, flattened, zlib.
    KdumpZlib,
    /// The same with LZO.
    KdumpLzo,
    /// The same with snappy.
    KdumpSnappy,
    /// The same with zstd (not known to QEMU).
    KdumpZstd,
    /// makedumpfile's kdump-compressed format, not flattened, zlib.
    KdumpRawZlib,
    /// The same with LZO.
    KdumpRawLzo,
    /// The same with snappy.
    KdumpRawSnappy,
    /// The same with zstd (not known to QEMU).
    KdumpRawZstd,
    /// Windows's full dump: all RAM, in runs that the header names.
    WinDmp,
    /// Windows's bitmap dump: the pages that a bitmap names, however many
    /// pieces the RAM has (not known to QEMU).
    WinDmpBitmap,
}

use Format::{
    Elf, KdumpLzo, KdumpRawLzo, KdumpRawSnappy, KdumpRawZlib, KdumpRawZstd, KdumpSnappy, KdumpZlib,
    KdumpZstd, WinDmp, WinDmpBitmap,
};

impl Format {
    /// Every format, also those that this build has no codec for.
    pub const ALL: &'static [Self] = &[
        Elf,
        KdumpZlib,
        KdumpLzo,
        KdumpSnappy,
        KdumpZstd,
        KdumpRawZlib,
        KdumpRawLzo,
        KdumpRawSnappy,
        KdumpRawZstd,
        WinDmp,
        WinDmpBitmap,
    ];

    /// The formats that this build can write: the capability list.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|f| f.is_available())
    }

    /// Whether this build can write the format.
    #[must_use]
    pub fn is_available(self) -> bool {
        self.codec().is_none_or(Codec::is_available)
    }

    /// The name, as QEMU spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Elf => "elf",
            KdumpZlib => "kdump-zlib",
            KdumpLzo => "kdump-lzo",
            KdumpSnappy => "kdump-snappy",
            KdumpZstd => "kdump-zstd",
            KdumpRawZlib => "kdump-raw-zlib",
            KdumpRawLzo => "kdump-raw-lzo",
            KdumpRawSnappy => "kdump-raw-snappy",
            KdumpRawZstd => "kdump-raw-zstd",
            WinDmp => "win-dmp",
            WinDmpBitmap => "win-dmp-bitmap",
        }
    }

    /// Whether this is a dump of a Windows guest, whose header comes from the
    /// guest or the caller: see [`windmp`](crate::windmp).
    #[must_use]
    pub const fn is_windows(self) -> bool {
        matches!(self, WinDmp | WinDmpBitmap)
    }

    /// Whether guests of this architecture can be dumped in the format:
    /// Windows dumps are for x86.
    #[must_use]
    pub const fn is_for(self, machine: Machine) -> bool {
        !self.is_windows() || matches!(machine, Machine::X86_64 | Machine::I386)
    }

    /// How pages are compressed; `None` for ELF and Windows dumps.
    #[must_use]
    pub const fn codec(self) -> Option<Codec> {
        match self {
            Elf | WinDmp | WinDmpBitmap => None,
            KdumpZlib | KdumpRawZlib => Some(Codec::Zlib),
            KdumpLzo | KdumpRawLzo => Some(Codec::Lzo),
            KdumpSnappy | KdumpRawSnappy => Some(Codec::Snappy),
            KdumpZstd | KdumpRawZstd => Some(Codec::Zstd),
        }
    }

    /// Whether the format needs a sink that can be written at any position.
    #[must_use]
    pub const fn needs_positions(self) -> bool {
        matches!(
            self,
            KdumpRawZlib | KdumpRawLzo | KdumpRawSnappy | KdumpRawZstd
        )
    }

    /// The format with the same contents that any sink can take: the
    /// flattened one for raw kdump, itself for all others.
    #[must_use]
    pub const fn streamable(self) -> Self {
        match self {
            KdumpRawZlib => KdumpZlib,
            KdumpRawLzo => KdumpLzo,
            KdumpRawSnappy => KdumpSnappy,
            KdumpRawZstd => KdumpZstd,
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

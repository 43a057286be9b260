//! Names of formats: those of QEMU, and those of this crate.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::arch::Machine;
use crate::dump::Format;

/// QEMU's enumeration of all dump formats (`qapi/dump.json`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DumpGuestMemoryFormat {
    /// `elf`
    Elf,
    /// `kdump-zlib`, flattened
    KdumpZlib,
    /// `kdump-lzo`, flattened
    KdumpLzo,
    /// `kdump-snappy`, flattened
    KdumpSnappy,
    /// `kdump-raw-zlib`
    KdumpRawZlib,
    /// `kdump-raw-lzo`
    KdumpRawLzo,
    /// `kdump-raw-snappy`
    KdumpRawSnappy,
    /// `win-dmp`: a Windows crash dump
    WinDmp,
}

use DumpGuestMemoryFormat as Qemu;

impl DumpGuestMemoryFormat {
    /// Every format, in the schema's order.
    pub const ALL: &'static [Self] = &[
        Self::Elf,
        Self::KdumpZlib,
        Self::KdumpLzo,
        Self::KdumpSnappy,
        Self::KdumpRawZlib,
        Self::KdumpRawLzo,
        Self::KdumpRawSnappy,
        Self::WinDmp,
    ];

    /// Returns the format's name in the schema.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.format().name()
    }

    /// Returns this crate's format.
    #[must_use]
    pub const fn format(self) -> Format {
        match self {
            Self::Elf => Format::Elf,
            Self::KdumpZlib => Format::KDUMP_ZLIB,
            Self::KdumpLzo => Format::KDUMP_LZO,
            Self::KdumpSnappy => Format::KDUMP_SNAPPY,
            Self::KdumpRawZlib => Format::KDUMP_RAW_ZLIB,
            Self::KdumpRawLzo => Format::KDUMP_RAW_LZO,
            Self::KdumpRawSnappy => Format::KDUMP_RAW_SNAPPY,
            Self::WinDmp => Format::WIN_DMP,
        }
    }
}

/// The formats of this crate that QEMU's schema lacks. They are accepted as `format`, but never
/// listed among QEMU's capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ExtensionFormat {
    /// `kdump-zstd`, flattened
    KdumpZstd,
    /// `kdump-raw-zstd`
    KdumpRawZstd,
    /// `win-dmp-bitmap`
    WinDmpBitmap,
}

impl ExtensionFormat {
    /// Returns this crate's format.
    #[must_use]
    pub const fn format(self) -> Format {
        match self {
            Self::KdumpZstd => Format::KDUMP_ZSTD,
            Self::KdumpRawZstd => Format::KDUMP_RAW_ZSTD,
            Self::WinDmpBitmap => Format::WIN_DMP_BITMAP,
        }
    }

    /// Returns the extensions that this build can write.
    pub fn available() -> impl Iterator<Item = Self> {
        [Self::KdumpZstd, Self::KdumpRawZstd, Self::WinDmpBitmap]
            .into_iter()
            .filter(|extension| extension.format().is_available())
    }
}

/// The value of `format` in the arguments of `dump-guest-memory`: a name of QEMU's, or one of this
/// crate's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum FormatName {
    /// A format in QEMU's schema.
    Qemu(DumpGuestMemoryFormat),
    /// A format that QEMU's schema lacks.
    Extension(ExtensionFormat),
}

impl FormatName {
    /// Returns the format's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Qemu(name) => name.name(),
            Self::Extension(name) => name.format().name(),
        }
    }

    /// Returns this crate's format.
    #[must_use]
    pub const fn format(self) -> Format {
        match self {
            Self::Qemu(name) => name.format(),
            Self::Extension(name) => name.format(),
        }
    }
}

impl From<Format> for FormatName {
    fn from(format: Format) -> Self {
        match format {
            Format::Elf => Self::Qemu(Qemu::Elf),
            Format::KDUMP_ZLIB => Self::Qemu(Qemu::KdumpZlib),
            Format::KDUMP_LZO => Self::Qemu(Qemu::KdumpLzo),
            Format::KDUMP_SNAPPY => Self::Qemu(Qemu::KdumpSnappy),
            Format::KDUMP_RAW_ZLIB => Self::Qemu(Qemu::KdumpRawZlib),
            Format::KDUMP_RAW_LZO => Self::Qemu(Qemu::KdumpRawLzo),
            Format::KDUMP_RAW_SNAPPY => Self::Qemu(Qemu::KdumpRawSnappy),
            Format::KDUMP_ZSTD => Self::Extension(ExtensionFormat::KdumpZstd),
            Format::KDUMP_RAW_ZSTD => Self::Extension(ExtensionFormat::KdumpRawZstd),
            Format::WIN_DMP => Self::Qemu(Qemu::WinDmp),
            Format::WIN_DMP_BITMAP => Self::Extension(ExtensionFormat::WinDmpBitmap),
        }
    }
}

impl From<DumpGuestMemoryFormat> for FormatName {
    fn from(name: DumpGuestMemoryFormat) -> Self {
        Self::Qemu(name)
    }
}

impl From<FormatName> for String {
    fn from(name: FormatName) -> Self {
        name.name().into()
    }
}

impl FromStr for FormatName {
    type Err = crate::dump::UnknownFormat;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        s.parse::<Format>().map(Self::from)
    }
}

impl TryFrom<String> for FormatName {
    type Error = crate::dump::UnknownFormat;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse()
    }
}

impl fmt::Display for FormatName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The answer to `query-dump-guest-memory-capability`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DumpGuestMemoryCapability {
    /// The formats of QEMU's schema that can be written.
    pub formats: Vec<DumpGuestMemoryFormat>,
}

impl DumpGuestMemoryCapability {
    /// Lists the formats that this build can write for a guest of this `machine`. They depend on
    /// the build's codecs, and `win-dmp` is for x86 guests. Whether such a guest runs Windows is
    /// known only when it is dumped.
    #[must_use]
    pub fn available(machine: Machine) -> Self {
        let available = |name: &Qemu| {
            let format = name.format();
            format.is_available() && format.is_for(machine)
        };
        Self {
            formats: Qemu::ALL.iter().copied().filter(available).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_name_is_the_same_in_json_and_in_text() {
        for &name in Qemu::ALL {
            let json = serde_json::to_string(&name).unwrap();
            assert_eq!(json, format!("\"{}\"", name.name()));
            let name = FormatName::from(name);
            assert_eq!(serde_json::to_string(&name).unwrap(), json);
            assert_eq!(serde_json::from_str::<FormatName>(&json).unwrap(), name);
        }
        for &format in Format::ALL {
            let name = FormatName::from(format);
            assert_eq!(name.format(), format);
            assert_eq!(name.name(), format.name());
            assert_eq!(format.name().parse(), Ok(name));
        }
    }

    #[test]
    fn extensions_are_not_among_qemus() {
        for extension in [
            ExtensionFormat::KdumpZstd,
            ExtensionFormat::KdumpRawZstd,
            ExtensionFormat::WinDmpBitmap,
        ] {
            let name = extension.format().name();
            assert!(Qemu::ALL.iter().all(|q| q.name() != name));
            assert!(serde_json::from_str::<Qemu>(&format!("\"{name}\"")).is_err());
            assert_eq!(name.parse(), Ok(FormatName::Extension(extension)));
        }
    }
}

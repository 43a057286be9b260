//! Sizes and addresses in a map file.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::number::parse_size;

/// A size or an address in bytes: an integer, or a string as the command line takes it. It is
/// written as `"0x…"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "an integer, 0 or more, or a string with one, decimal, as \"0x…\" or as \"512M\"",
        )
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Size, E> {
        Ok(Size(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
        parse_size(text).map(Size).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_numbers_or_strings() {
        let parse = |json: &str| serde_json::from_str::<Size>(json).ok().map(|Size(n)| n);
        assert_eq!(parse("4096"), Some(4096));
        assert_eq!(parse("\"4096\""), Some(4096));
        assert_eq!(parse("\"0x1000\""), Some(4096));
        assert_eq!(parse("\"512M\""), Some(512 << 20));
        assert_eq!(parse("18446744073709551615"), Some(u64::MAX));
        for bad in [
            "-1",
            "1.5",
            "\"\"",
            "\"1GB\"",
            "null",
            "\"16777216T\"",
            "[1]",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(
            serde_json::to_string(&Size(4096)).ok().as_deref(),
            Some("\"0x1000\"")
        );
    }
}

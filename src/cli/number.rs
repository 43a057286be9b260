//! Numbers as users write them: decimal, `0x…`, and with a binary unit.

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A size or an address on the command line: decimal or `0x…`, with an
/// optional K, M, G or T for powers of 1024.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
        Some(b'T' | b't') => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    let number = parse_number(digits)
        .ok_or_else(|| format!("'{text}' is not a size; write it as 4096, 0x1000, 256M or 16G"))?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| format!("'{text}' does not fit into 64 bits"))
}

fn parse_number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    // from_str_radix would take a sign.
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

/// A number in JSON: read from an integer or a string (`"0x…"` or decimal),
/// written as a `"0x…"` string, which no reader rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Number(pub(crate) u64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor)
    }
}

struct NumberVisitor;

impl Visitor<'_> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an integer from 0 to 2^64-1, or a string with one, decimal or as \"0x…\"")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Number, E> {
        Ok(Number(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Number, E> {
        parse_number(text)
            .map(Number)
            .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

/// The same for numbers of 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Number", into = "Number")]
pub(crate) struct Number32(pub(crate) u32);

impl TryFrom<Number> for Number32 {
    type Error = String;

    fn try_from(number: Number) -> Result<Self, String> {
        u32::try_from(number.0)
            .map(Self)
            .map_err(|_| format!("{:#x} does not fit into 32 bits", number.0))
    }
}

impl From<Number32> for Number {
    fn from(number: Number32) -> Self {
        Self(number.0.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_size("0x1000"), Ok(4096));
        assert_eq!(parse_size("256M"), Ok(256 << 20));
        assert_eq!(parse_size("16g"), Ok(16 << 30));
        assert_eq!(parse_size("1T"), Ok(1 << 40));
        for bad in [
            "",
            "K",
            "+1",
            "-1",
            "1.5G",
            "0x",
            "0x+1",
            "1GB",
            "16777216T",
            "ff",
        ] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn json_numbers_are_integers_or_strings() {
        let parse = |json: &str| serde_json::from_str::<Number>(json).ok();
        assert_eq!(parse("4096"), Some(Number(4096)));
        assert_eq!(parse("18446744073709551615"), Some(Number(u64::MAX)));
        assert_eq!(parse("\"0xFFFFFFFFFFFFFFFF\""), Some(Number(u64::MAX)));
        assert_eq!(parse("\"10\""), Some(Number(10)));
        for bad in [
            "-1",
            "1.5",
            "\"\"",
            "\"1G\"",
            "\"-1\"",
            "null",
            "true",
            "\"0x10000000000000000\"",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}

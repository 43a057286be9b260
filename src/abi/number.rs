//! Numbers in JSON: integers or strings, so that no reader rounds them.
//!
//! ```
//! use guestdump::abi::number::{Number, parse_number};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! assert_eq!(parse_number("0x10"), Some(16));
//! let Number(address): Number = serde_json::from_str(r#""0xffffffff81000000""#)?;
//! assert_eq!(address, 0xffff_ffff_8100_0000);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The number that `text` is, decimal or `0x…`; `None` if it is none, or has
/// more than 128 bits.
#[must_use]
pub fn parse_number(text: &str) -> Option<u128> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    // from_str_radix would take a sign.
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(digits, radix).ok()
}

/// A number in JSON: read from an integer or a string (`"0x…"` or decimal),
/// written as a `"0x…"` string. `T` is an unsigned integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Number<T = u64>(pub T);

impl<T: fmt::LowerHex> Serialize for Number<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#x}", self.0))
    }
}

impl<'de, T: TryFrom<u128>> Deserialize<'de> for Number<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor(PhantomData))
    }
}

struct NumberVisitor<T>(PhantomData<T>);

impl<T: TryFrom<u128>> NumberVisitor<T> {
    fn fit<E: Error>(value: u128) -> Result<Number<T>, E> {
        let bits = 8 * size_of::<T>();
        T::try_from(value)
            .map(Number)
            .map_err(|_| E::custom(format_args!("{value:#x} does not fit into {bits} bits")))
    }
}

impl<T: TryFrom<u128>> Visitor<'_> for NumberVisitor<T> {
    type Value = Number<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = 8 * size_of::<T>();
        write!(
            f,
            "an integer of {bits} bits, 0 or more, or a string with one, decimal or as \"0x…\""
        )
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Number<T>, E> {
        Self::fit(value.into())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Number<T>, E> {
        let value = parse_number(text);
        Self::fit(value.ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            "\"0x+1\"",
            "null",
            "true",
            "\"0x10000000000000000\"",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn each_width_has_its_limit() {
        let wide = format!("\"{:#x}\"", u128::MAX);
        assert_eq!(serde_json::from_str(&wide).ok(), Some(Number(u128::MAX)));
        assert!(
            serde_json::from_str::<Number<u128>>("\"0x100000000000000000000000000000000\"")
                .is_err()
        );
        assert_eq!(serde_json::from_str("65535").ok(), Some(Number(u16::MAX)));
        let error = serde_json::from_str::<Number<u16>>("65536").err();
        assert!(error.is_some_and(|e| e.to_string().contains("16 bits")));
    }
}

//! Sizes as users write them: decimal, `0x…`, and with a binary unit.

use guestdump::abi::number::parse_number;

/// Parses a size or an address of the command line: decimal or `0x…`, with an optional K, M, G or T
/// for powers of 1024.
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
    u64::try_from(number)
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| format!("'{text}' does not fit into 64 bits"))
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
}

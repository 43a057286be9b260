//! A record of the log, and how it is printed.

use std::fmt;
use std::time::Duration;

/// A record of the kernel's log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogRecord {
    /// When it was written, by the kernel's clock since it started.
    pub time: Duration,
    /// Its text, as the guest wrote it: any bytes at all.
    pub text: Vec<u8>,
}

/// As `dmesg` and `makedumpfile --dump-dmesg` print it, without a line break
/// at the end. Further lines of the text are indented. A byte that is not
/// printable ASCII or a tab is `\x` and two hexadecimal digits, so that no
/// guest can write to a terminal.
impl fmt::Display for LogRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stamp = format!(
            "[{:5}.{:06}] ",
            self.time.as_secs(),
            self.time.subsec_micros()
        );
        f.write_str(&stamp)?;
        for byte in &self.text {
            match byte {
                b'\n' => write!(f, "\n{:width$}", "", width = stamp.len())?,
                b'\t' | b' '..=b'~' => write!(f, "{}", char::from(*byte))?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_as_dmesg_does_and_escaped() {
        let record = |nanoseconds, text: &[u8]| LogRecord {
            time: Duration::from_nanos(nanoseconds),
            text: text.to_vec(),
        };
        assert_eq!(
            record(12_345_678_999, b"a\tb\nsecond line").to_string(),
            "[   12.345678] a\tb\n               second line"
        );
        assert_eq!(
            record(0, b"\x1b[31mred\r\0\x7f\xc3\xbc").to_string(),
            "[    0.000000] \\x1b[31mred\\x0d\\x00\\x7f\\xc3\\xbc"
        );
        assert_eq!(
            record(123_456_000_000_000, b"").to_string(),
            "[123456.000000] "
        );
    }
}

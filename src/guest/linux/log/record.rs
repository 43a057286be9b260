//! A record of the log, and its printed form.

use std::fmt::{self, Write as _};
use std::time::Duration;

/// A record of the kernel's log.
///
/// `Display` prints it as `dmesg` and `makedumpfile --dump-dmesg` do, without a
/// line break at the end. A line that the kernel has formatted is printed as it
/// is. Further lines of the text are indented. Tabs and
/// printable ASCII are printed unchanged. Any other byte is printed as `\x` and
/// two hexadecimal digits, so that no guest can write to a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogRecord {
    /// When the record was written, by the kernel's clock since it started. It
    /// is 0 for a line that the kernel has formatted.
    pub time: Duration,
    /// The task or CPU that wrote the record. Linux 5.10 and later store it.
    pub caller: Option<Caller>,
    /// Whether the text is a line that the kernel has formatted, as Linux before
    /// 3.5 stores it. Its level and time are in the text, if anywhere.
    pub is_formatted: bool,
    /// The record's text as the guest wrote it; it may contain any bytes.
    pub text: Vec<u8>,
}

/// The writer of a record. It is printed as the kernel does, `T1` or `C1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// A task, by its thread id.
    Task(u32),
    /// A CPU outside of any task.
    Cpu(u32),
}

impl Caller {
    /// Decodes `caller_id`, whose highest bit distinguishes tasks and CPUs
    /// (Linux `kernel/printk/printk.c`, `printk_caller_id`).
    pub(super) const fn of_id(id: u32) -> Self {
        match id >> 31 {
            0 => Self::Task(id),
            _ => Self::Cpu(id & (u32::MAX >> 1)),
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task(id) => f.pad(&format!("T{id}")),
            Self::Cpu(id) => f.pad(&format!("C{id}")),
        }
    }
}

impl LogRecord {
    /// Returns the printed form of the record, with the caller after the time
    /// if the caller is known. A kernel with `CONFIG_PRINTK_CALLER` prints it
    /// like this.
    #[must_use]
    pub fn with_caller(&self) -> impl fmt::Display {
        Lines {
            record: self,
            caller: self.caller,
        }
    }
}

impl fmt::Display for LogRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let caller = None;
        let record = self;
        Lines { record, caller }.fmt(f)
    }
}

struct Lines<'a> {
    record: &'a LogRecord,
    caller: Option<Caller>,
}

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.record.time;
        let mut prefix = if self.record.is_formatted {
            String::new()
        } else {
            format!("[{:5}.{:06}] ", time.as_secs(), time.subsec_micros())
        };
        if let Some(caller) = self.caller {
            prefix.push_str(&format!("[{caller:>6}] "));
        }
        f.write_str(&prefix)?;
        for byte in &self.record.text {
            match byte {
                b'\n' => write!(f, "\n{:width$}", "", width = prefix.len())?,
                b'\t' | b' '..=b'~' => f.write_char(char::from(*byte))?,
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
            caller: Some(Caller::of_id(0x8000_0003)),
            is_formatted: false,
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

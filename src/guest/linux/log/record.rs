//! A record of the log, and how it is printed.

use std::fmt::{self, Write as _};
use std::time::Duration;

/// A record of the kernel's log.
///
/// Printed as `dmesg` and `makedumpfile --dump-dmesg` print it, without a line
/// break at the end. Further lines of the text are indented. A byte that is
/// not printable ASCII or a tab is `\x` and two hexadecimal digits, so that no
/// guest can write to a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogRecord {
    /// When it was written, by the kernel's clock since it started.
    pub time: Duration,
    /// Who wrote it; Linux 5.10 and later tell.
    pub caller: Option<Caller>,
    /// Its text, as the guest wrote it: any bytes at all.
    pub text: Vec<u8>,
}

/// Who wrote a record. Printed as the kernel does, `T1` or `C1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// A task, by its thread id.
    Task(u32),
    /// A CPU outside of any task.
    Cpu(u32),
}

impl Caller {
    /// Of `caller_id`, whose highest bit says which (Linux
    /// `kernel/printk/printk.c`, `printk_caller_id`).
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
    /// The record as it is printed; with the caller behind the time, if it is
    /// known, as a kernel with `CONFIG_PRINTK_CALLER` does.
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
        let mut prefix = format!("[{:5}.{:06}] ", time.as_secs(), time.subsec_micros());
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

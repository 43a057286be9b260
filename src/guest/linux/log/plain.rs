//! The log of kernels before 3.5: a ring of text.
//!
//! Source: Linux 3.0 `kernel/printk.c`, `emit_log_char` and
//! `log_buf_kexec_setup`. VMCOREINFO contains the variables' addresses.

use std::time::Duration;

use crate::guest::linux::error::KernelError;
use crate::guest::linux::log::LogRecord;
use crate::guest::linux::reader::KernelReader;

/// The most bytes of a line. The kernel formats 1024 bytes at once, so longer
/// lines are damage or continued again and again.
const MAX_LINE: usize = 64 << 10;
/// Bytes that are read at once.
const READ_AT_ONCE: u64 = 4096;

/// A ring of text, whose size is a power of two. A character's index is its
/// number modulo the size.
#[derive(Debug)]
pub(super) struct Plain<'a> {
    kernel: &'a KernelReader<'a>,
    /// Guest-virtual address of the ring.
    vaddr: u64,
    /// Size of the ring in bytes.
    size: u64,
    /// Index of the next character to read.
    next: u64,
    /// Characters that are not read yet.
    left: u64,
    /// Characters that were read and belong to no line yet.
    line: Vec<u8>,
}

impl<'a> Plain<'a> {
    /// Opens the ring whose last character's number is at `log_end`.
    pub(super) fn open(kernel: &'a KernelReader<'a>, log_end: u64) -> Result<Self, KernelError> {
        let variable = |name| kernel.number_at(kernel.symbol(name)?, 4);
        let vaddr = kernel.word_at(kernel.symbol("log_buf")?)?;
        let size = variable("log_buf_len")?;
        let end = kernel.number_at(log_end, 4)?;
        if !size.is_power_of_two() || size > kernel.ram_size().min(1 << 31) {
            return Err(KernelError::Damaged {
                what: "the log",
                vaddr,
                why: format!("a ring of {size} bytes, which is no power of two that RAM has"),
            });
        }
        // The number of the last character begins again at 0 after 4 GiB. The
        // count of characters since the log was cleared stops at the ring's
        // size. So the larger one tells how much of the ring is in use.
        let since_clear = match kernel.vmcoreinfo().symbol("logged_chars") {
            Some(logged) => kernel.number_at(logged, 4)?,
            None => 0,
        };
        let left = end.max(since_clear).min(size);
        Ok(Self {
            kernel,
            vaddr,
            size,
            next: end.wrapping_sub(left) & (size - 1),
            left,
            line: Vec::new(),
        })
    }

    pub(super) fn next(&mut self) -> Result<Option<LogRecord>, KernelError> {
        let mut searched = 0;
        loop {
            let found = self.line[searched..].iter().position(|byte| *byte == b'\n');
            if let Some(found) = found {
                let rest = self.line.split_off(searched + found + 1);
                let mut text = std::mem::replace(&mut self.line, rest);
                text.pop();
                return Ok(Some(record(text)));
            }
            searched = self.line.len();
            if self.left == 0 || searched >= MAX_LINE {
                let text = std::mem::take(&mut self.line);
                return Ok((!text.is_empty()).then(|| record(text)));
            }
            if let Err(error) = self.read_more() {
                // After an error there are no more records.
                self.left = 0;
                self.line = Vec::new();
                return Err(error);
            }
        }
    }

    /// Appends the next characters to the line.
    fn read_more(&mut self) -> Result<(), KernelError> {
        let before = self.line.len();
        let n = self.left.min(READ_AT_ONCE).min(self.size - self.next);
        let n = n.min((MAX_LINE - before) as u64);
        self.line.resize(before + n as usize, 0);
        let vaddr = self.vaddr.wrapping_add(self.next);
        self.kernel.read(vaddr, &mut self.line[before..])?;
        self.next = (self.next + n) & (self.size - 1);
        self.left -= n;
        Ok(())
    }
}

fn record(text: Vec<u8>) -> LogRecord {
    LogRecord {
        time: Duration::ZERO,
        caller: None,
        is_formatted: true,
        text,
    }
}

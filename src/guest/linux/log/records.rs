//! The log of Linux 3.5 to 5.9: one ring of consecutive records.
//!
//! Source: Linux 4.19 `kernel/printk/printk.c`, the comment on `struct
//! printk_log`, and Linux 3.5 `kernel/printk.c`, `struct log` and
//! `log_buf_kexec_setup`. The struct was renamed in Linux 3.11. VMCOREINFO
//! contains the layout.

use std::time::Duration;

use crate::guest::linux::error::KernelError;
use crate::guest::linux::log::LogRecord;
use crate::guest::linux::reader::KernelReader;

/// Names of the struct of a record, the later one first.
const NAMES: [&str; 2] = ["printk_log", "log"];
/// Size of `struct printk_log` in bytes: its time, its three lengths, and its
/// facility, level and flags. A kernel's may be larger.
const MIN_HEADER: u64 = 16;

#[derive(Debug)]
pub(super) struct Records<'a> {
    kernel: &'a KernelReader<'a>,
    /// Guest-virtual address of the ring.
    vaddr: u64,
    /// Size of the ring in bytes.
    len: u64,
    header: Header,
    /// Offset of the next record, and of the record that the kernel would write
    /// next; `None` at the end and after an error.
    next: Option<(u64, u64)>,
    /// Bytes that the remaining records may have.
    budget: u64,
}

/// Offsets in `struct printk_log`, and its size.
#[derive(Debug, Clone, Copy)]
struct Header {
    size: u64,
    ts_nsec: u64,
    len: u64,
    text_len: u64,
}

impl<'a> Records<'a> {
    pub(super) fn open(kernel: &'a KernelReader<'a>) -> Result<Self, KernelError> {
        let variable = |name| kernel.number_at(kernel.symbol(name)?, 4);
        let vaddr = kernel.word_at(kernel.symbol("log_buf")?)?;
        let len = variable("log_buf_len")?;
        let (first, next) = (variable("log_first_idx")?, variable("log_next_idx")?);
        if len > kernel.ram_size().min(1 << 31) || first >= len.max(1) || next > len {
            return Err(KernelError::Damaged {
                what: "the log",
                vaddr,
                why: format!("{len} bytes, of which {first} to {next} are in use"),
            });
        }
        let known = |name: &&str| kernel.vmcoreinfo().size(name).is_some();
        let name = NAMES.into_iter().find(known).unwrap_or(NAMES[0]);
        let offset = |member| kernel.offset(&format!("{name}.{member}"));
        Ok(Self {
            kernel,
            vaddr,
            len,
            header: Header {
                size: kernel.size(name)?,
                ts_nsec: offset("ts_nsec")?,
                len: offset("len")?,
                text_len: offset("text_len")?,
            },
            next: (len > 0).then_some((first, next)),
            budget: len,
        })
    }

    pub(super) fn next(&mut self) -> Result<Option<LogRecord>, KernelError> {
        // After an error it stays `None`.
        let Some((mut at, end)) = self.next.take().filter(|(at, end)| at != end) else {
            return Ok(None);
        };
        let kernel = self.kernel;
        let number = |at: u64, offset: u64, len| {
            kernel.number_at(self.vaddr.wrapping_add(at).wrapping_add(offset), len)
        };
        let mut len = number(at, self.header.len, 2)?;
        if len == 0 {
            // The next record did not fit after the last one. The log continues
            // at the ring's beginning.
            at = 0;
            if at == end {
                return Ok(None);
            }
            len = number(at, self.header.len, 2)?;
        }
        let text_len = number(at, self.header.text_len, 2)?;
        let damaged = |why| KernelError::Damaged {
            what: "a record of the log",
            vaddr: self.vaddr.wrapping_add(at),
            why,
        };
        let least = self.header.size.max(MIN_HEADER).saturating_add(text_len);
        if len < least || len > self.len - at {
            return Err(damaged(format!(
                "{len} bytes with {text_len} bytes of text"
            )));
        }
        self.budget = self
            .budget
            .checked_sub(len)
            .ok_or_else(|| damaged("the records have no end".to_owned()))?;
        let nanoseconds = number(at, self.header.ts_nsec, 8)?;
        let mut text = vec![0; text_len as usize];
        let text_at = self.vaddr.wrapping_add(at).wrapping_add(self.header.size);
        kernel.read(text_at, &mut text)?;
        let behind = at + len;
        self.next = Some((if behind == self.len { 0 } else { behind }, end));
        Ok(Some(LogRecord {
            time: Duration::from_nanos(nanoseconds),
            caller: None,
            is_formatted: false,
            text,
        }))
    }
}

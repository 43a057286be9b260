//! The log of Linux 5.10 and later. It consists of a ring of descriptors, a
//! ring of infos about the records, and a ring of text. The first two have the
//! same number of elements.
//!
//! Source: Linux `kernel/printk/printk_ringbuffer.h` for the meaning of
//! `state_var` and of logical positions. VMCOREINFO contains the layout.

use std::time::Duration;

use crate::guest::linux::error::KernelError;
use crate::guest::linux::log::{Caller, LogRecord};
use crate::guest::linux::reader::KernelReader;

/// The most bits of an index. Linux allows logs of 2 GiB (`LOG_BUF_LEN_MAX`),
/// with a descriptor for each 32 bytes of it (`PRB_AVGBITS`).
const MAX_SIZE_BITS: u64 = 31;
const MAX_COUNT_BITS: u64 = MAX_SIZE_BITS - 5;

/// States in the upper two bits of a descriptor's `state_var`.
const COMMITTED: u64 = 1;
const FINALIZED: u64 = 2;

/// Returns whether `position` belongs to a record without a block of text. Such
/// positions are odd.
const fn is_dataless(position: u64) -> bool {
    position & 1 == 1
}

#[derive(Debug)]
pub(super) struct Ring<'a> {
    kernel: &'a KernelReader<'a>,
    descs: Array,
    infos: Array,
    text: Text,
    layout: RingFields,
    /// The numbers of the next record and of the last one; `None` after the
    /// last one and after an error.
    next: Option<(u64, u64)>,
    /// Bytes of text that the remaining records may have.
    budget: u64,
}

/// An array of the guest: its guest-virtual address, the bytes of an element,
/// and the bits of an index.
#[derive(Debug, Clone, Copy)]
struct Array {
    vaddr: u64,
    size: u64,
    count_bits: u64,
}

/// The ring of text: its guest-virtual address, and the bits of its size.
#[derive(Debug, Clone, Copy)]
struct Text {
    vaddr: u64,
    size_bits: u64,
}

#[derive(Debug, Clone, Copy)]
struct RingFields {
    state_var: u64,
    begin: u64,
    next: u64,
    ts_nsec: u64,
    text_len: u64,
    caller_id: Option<u64>,
}

impl Array {
    /// Returns the guest-virtual address of the element of record `id`.
    fn element(&self, id: u64) -> u64 {
        let index = id & ((1 << self.count_bits) - 1);
        self.vaddr.wrapping_add(index.wrapping_mul(self.size))
    }
}

impl<'a> Ring<'a> {
    /// Opens the ring to which the variable at `prb` points.
    pub(super) fn open(kernel: &'a KernelReader<'a>, prb: u64) -> Result<Self, KernelError> {
        let at = kernel.word_at(prb)?;
        let member = |base: u64, name: &str| kernel.offset(name).map(|o| base.wrapping_add(o));
        let counter = kernel.offset("atomic_long_t.counter")?;
        let word = kernel.word_size() as u64;

        let descs = member(at, "printk_ringbuffer.desc_ring")?;
        let count_bits = kernel.number_at(member(descs, "prb_desc_ring.count_bits")?, 4)?;
        let text = member(at, "printk_ringbuffer.text_data_ring")?;
        let size_bits = kernel.number_at(member(text, "prb_data_ring.size_bits")?, 4)?;
        let ram = kernel.ram_size();
        let damaged = |why| KernelError::Damaged {
            what: "struct printk_ringbuffer",
            vaddr: at,
            why,
        };
        if count_bits > MAX_COUNT_BITS || size_bits > MAX_SIZE_BITS || 1 << size_bits > ram {
            let why = format!("2^{count_bits} records, 2^{size_bits} bytes");
            return Err(damaged(why));
        }
        let array = |pointer, name, least| {
            let size = kernel.size(name)?;
            let bytes = size.checked_mul(1 << count_bits);
            if size < least || bytes.is_none_or(|bytes| bytes > ram) {
                let why = format!("2^{count_bits} times {name} of {size} bytes");
                return Err(damaged(why));
            }
            Ok(Array {
                vaddr: kernel.word_at(member(descs, pointer)?)?,
                size,
                count_bits,
            })
        };
        let id = |name| {
            let word = kernel.word_at(member(descs, name)?.wrapping_add(counter))?;
            Ok::<_, KernelError>(word & id_mask(kernel))
        };
        let (tail, head) = (id("prb_desc_ring.tail_id")?, id("prb_desc_ring.head_id")?);
        // The array has at most `count` records.
        let count = 1 << count_bits;
        let distance = head.wrapping_sub(tail) & id_mask(kernel);
        let first = if distance < count {
            tail
        } else {
            head.wrapping_sub(count - 1) & id_mask(kernel)
        };
        let position = kernel.offset("prb_desc.text_blk_lpos")?;
        Ok(Self {
            kernel,
            // `state_var` and the two positions of the record's text.
            descs: array("prb_desc_ring.descs", "prb_desc", 3 * word)?,
            // `seq`, `ts_nsec`, `text_len`.
            infos: array("prb_desc_ring.infos", "printk_info", 18)?,
            text: Text {
                vaddr: kernel.word_at(member(text, "prb_data_ring.data")?)?,
                size_bits,
            },
            layout: RingFields {
                state_var: kernel.offset("prb_desc.state_var")?.wrapping_add(counter),
                begin: position.wrapping_add(kernel.offset("prb_data_blk_lpos.begin")?),
                next: position.wrapping_add(kernel.offset("prb_data_blk_lpos.next")?),
                ts_nsec: kernel.offset("printk_info.ts_nsec")?,
                text_len: kernel.offset("printk_info.text_len")?,
                caller_id: kernel.vmcoreinfo().offset("printk_info.caller_id"),
            },
            next: Some((first, head)),
            budget: 1 << size_bits,
        })
    }

    pub(super) fn next(&mut self) -> Result<Option<LogRecord>, KernelError> {
        while let Some((id, head)) = self.next.take() {
            // After an error it stays `None`.
            let record = self.record(id)?;
            if id != head {
                self.next = Some((id.wrapping_add(1) & id_mask(self.kernel), head));
            }
            if record.is_some() {
                return Ok(record);
            }
        }
        Ok(None)
    }

    /// Returns the record with this number, if it exists and is complete.
    fn record(&mut self, id: u64) -> Result<Option<LogRecord>, KernelError> {
        let kernel = self.kernel;
        let desc = self.descs.element(id);
        let word = |offset| kernel.word_at(desc.wrapping_add(offset));
        let state_var = word(self.layout.state_var)?;
        let state = state_var >> (kernel.word_size() * 8 - 2) & 3;
        if state_var & id_mask(kernel) != id || !matches!(state, COMMITTED | FINALIZED) {
            return Ok(None);
        }
        let (begin, next) = (word(self.layout.begin)?, word(self.layout.next)?);
        let info = self.infos.element(id);
        let nanoseconds = kernel.number_at(info.wrapping_add(self.layout.ts_nsec), 8)?;
        let text_len = kernel.number_at(info.wrapping_add(self.layout.text_len), 2)?;
        let caller = match self.layout.caller_id {
            Some(offset) => Some(kernel.number_at(info.wrapping_add(offset), 4)?),
            None => None,
        };
        Ok(self.text(begin, next, text_len)?.map(|text| LogRecord {
            time: Duration::from_nanos(nanoseconds),
            caller: caller.map(|id| Caller::of_id(id as u32)),
            is_formatted: false,
            text,
        }))
    }

    /// Returns the text between two logical positions, at most `len` bytes. It
    /// returns `None` if the text is lost.
    fn text(&mut self, begin: u64, next: u64, len: u64) -> Result<Option<Vec<u8>>, KernelError> {
        if is_dataless(begin) && is_dataless(next) {
            // Neither an empty line nor a record whose text was lost has a
            // block of text. Only the empty line has length 0.
            return Ok((len == 0).then(Vec::new));
        }
        let Some((at, size)) = self.block(begin, next) else {
            return Ok(None);
        };
        // A block begins with the number of its record.
        let id_size = self.kernel.word_size() as u64;
        let len = len.min(size.saturating_sub(id_size));
        self.budget = self
            .budget
            .checked_sub(len)
            .ok_or_else(|| KernelError::Damaged {
                what: "the log's text",
                vaddr: self.text.vaddr,
                why: "its records have more text than it can hold".to_owned(),
            })?;
        let mut text = vec![0; len as usize];
        let vaddr = self.text.vaddr.wrapping_add(at).wrapping_add(id_size);
        self.kernel.read(vaddr, &mut text)?;
        Ok(Some(text))
    }

    /// Returns the index and the size of the block between two logical
    /// positions.
    fn block(&self, begin: u64, next: u64) -> Option<(u64, u64)> {
        let size = 1u64 << self.text.size_bits;
        let mask = word_mask(self.kernel);
        let index = |position: u64| position & (size - 1);
        let wrap = |position: u64| position >> self.text.size_bits;
        // The kernel aligns positions to words.
        let word = self.kernel.word_size() as u64;
        if !begin.is_multiple_of(word) || !next.is_multiple_of(word) {
            return None;
        }
        let one_wrap_on = wrap(begin.wrapping_add(size) & mask) == wrap(next);
        if wrap(begin) == wrap(next) {
            // Both positions are in the same round of the ring.
            (begin < next).then(|| (index(begin), next - begin))
        } else if one_wrap_on && index(next) == 0 {
            // The block ends exactly where the ring does (Linux 6.18 and
            // later).
            Some((index(begin), size - index(begin)))
        } else {
            // The block did not fit at the end, so it is at the ring's
            // beginning.
            one_wrap_on.then(|| (0, index(next)))
        }
    }
}

fn word_mask(kernel: &KernelReader<'_>) -> u64 {
    u64::MAX >> (64 - kernel.word_size() * 8)
}

/// Returns the mask of a descriptor's number: a word without its upper two
/// bits.
fn id_mask(kernel: &KernelReader<'_>) -> u64 {
    word_mask(kernel) >> 2
}

//! Guest memory in a type of the monitor's own: zones in the order of its
//! configuration, backed block by block when the guest first touches them.
//!
//! ```sh
//! cargo run --example custom_memory -- guest.vmcore
//! ```
#![allow(clippy::print_stdout)]
use std::error::Error;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use guestdump::memory::{GuestMemory, MemoryRange};
use guestdump::sink::{FileSink, FileSinkOptions};
use guestdump::{DumpOptions, Format, GuestInfo, Machine, dump};

/// The host backs memory in blocks of this many bytes.
const BLOCK: u64 = 2 << 20;

/// The memory of a NUMA node, or a DIMM.
struct Zone {
    range: MemoryRange,
    /// Atomics, because a device may write while the dump reads.
    blocks: Vec<OnceLock<Box<[AtomicU8]>>>,
}

impl Zone {
    fn new(range: MemoryRange) -> Self {
        let blocks = (0..range.size() / BLOCK).map(|_| OnceLock::new()).collect();
        Self { range, blocks }
    }

    /// A write by the guest, inside one block.
    fn write(&self, offset: u64, bytes: &[u8]) {
        let block = self.blocks[(offset / BLOCK) as usize]
            .get_or_init(|| (0..BLOCK).map(|_| AtomicU8::new(0)).collect());
        for (to, from) in block[(offset % BLOCK) as usize..].iter().zip(bytes) {
            to.store(*from, Relaxed);
        }
    }

    /// The first block that is backed and ends behind `gpa`.
    fn backed_from(&self, gpa: u64) -> Option<MemoryRange> {
        let first = gpa.saturating_sub(self.range.start()) / BLOCK;
        let mut rest = self.blocks.iter().enumerate().skip(first as usize);
        let (index, _) = rest.find(|(_, block)| block.get().is_some())?;
        MemoryRange::new(self.range.start() + index as u64 * BLOCK, BLOCK).ok()
    }
}

struct VmMemory(Vec<Zone>);

impl GuestMemory for VmMemory {
    fn ranges(&self) -> Vec<MemoryRange> {
        // The order of the configuration is not that of the addresses.
        let mut ranges: Vec<_> = self.0.iter().map(|zone| zone.range).collect();
        ranges.sort_by_key(MemoryRange::start);
        ranges
    }

    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        // A read may go on from one zone into the next, where they touch.
        let (mut at, mut rest) = (gpa, buf);
        while !rest.is_empty() {
            let zone = self.0.iter().find(|zone| zone.range.contains(at, 1));
            let zone = zone.ok_or_else(|| io::Error::other(format!("{at:#x} is not RAM")))?;
            let offset = at - zone.range.start();
            let n = rest.len().min((BLOCK - offset % BLOCK) as usize);
            let (now, later) = rest.split_at_mut(n);
            match zone.blocks[(offset / BLOCK) as usize].get() {
                Some(block) => (now.iter_mut().zip(&block[(offset % BLOCK) as usize..]))
                    .for_each(|(to, from)| *to = from.load(Relaxed)),
                None => now.fill(0),
            }
            (at, rest) = (at + n as u64, later);
        }
        Ok(())
    }

    fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
        // The dump never reads what is not backed, nor makes the host back it.
        let backed = self.0.iter().filter_map(|z| z.backed_from(range.start()));
        let inside = backed.filter(|block| block.start() < range.end());
        Ok(inside.min_by_key(MemoryRange::start))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: custom_memory FILE")?;
    let dimm = Zone::new(MemoryRange::new(4 << 30, 64 << 20)?);
    let boot = Zone::new(MemoryRange::new(0, 32 << 20)?);
    dimm.write(5 * BLOCK, b"in the DIMM");
    boot.write(0x1000, b"in the memory of the start");
    let mut sink = FileSink::create(path, FileSinkOptions::default())?;
    let options = DumpOptions::new(GuestInfo::new(Machine::X86_64), Format::Elf);
    let summary = dump(&VmMemory(vec![dimm, boot]), &mut sink, &options)?;
    println!("{} pages, {} of zeroes", summary.pages, summary.zero_pages);
    Ok(())
}

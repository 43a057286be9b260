//! Counts what a piece of work costs.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use guestdump::GuestMemory;
use guestdump::memory::MemoryRange;
use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

static ALONE: Mutex<()> = Mutex::new(());

/// While a test has it, no other one runs that has one.
pub(crate) struct Meter(#[allow(dead_code)] MutexGuard<'static, ()>);

/// What a piece of work took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// The most bytes of the heap that it had at a time.
    pub(crate) heap: u64,
    /// Bytes that it read from files, pipes and sockets.
    pub(crate) read: u64,
}

impl Meter {
    pub(crate) fn new() -> Self {
        Self(ALONE.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Does the work and prints its cost under `name`.
    pub(crate) fn measure<T>(&self, name: &str, work: impl FnOnce() -> T) -> (T, Cost) {
        HEAP.reset_peak_usage();
        let heap_before = HEAP.current_usage();
        let read_before = bytes_read();
        let result = work();
        let cost = Cost {
            heap: HEAP.peak_usage().saturating_sub(heap_before) as u64,
            read: bytes_read() - read_before,
        };
        println!(
            "{name}: {} KiB of heap, {} bytes read",
            cost.heap >> 10,
            cost.read
        );
        (result, cost)
    }
}

/// By this process, holes of files included.
fn bytes_read() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("rchar: "));
    line.unwrap().parse().unwrap()
}

/// Guest memory that `fill` makes up, and a count of what is read of it.
pub(crate) struct Counted<F> {
    pub(crate) size: u64,
    pub(crate) fill: F,
    reads: AtomicU64,
    bytes: AtomicU64,
}

impl<F: Fn(u64, &mut [u8])> Counted<F> {
    pub(crate) fn new(size: u64, fill: F) -> Self {
        Self {
            size,
            fill,
            reads: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// Reads and bytes so far.
    pub(crate) fn count(&self) -> (u64, u64) {
        (self.reads.load(Relaxed), self.bytes.load(Relaxed))
    }
}

impl<F: Fn(u64, &mut [u8]) + Send + Sync> GuestMemory for Counted<F> {
    fn ranges(&self) -> Vec<MemoryRange> {
        vec![MemoryRange::new(0, self.size).unwrap()]
    }
    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        self.reads.fetch_add(1, Relaxed);
        self.bytes.fetch_add(buf.len() as u64, Relaxed);
        (self.fill)(gpa, buf);
        Ok(())
    }
}

/// A file with these bytes, and a hole behind them up to `len`.
pub(crate) fn file(bytes: &[u8], len: u64) -> File {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file.set_len(len.max(bytes.len() as u64)).unwrap();
    file
}

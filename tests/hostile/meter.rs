//! Counts what a piece of work costs.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use guestdump::GuestMemory;
use guestdump::memory::MemoryRange;
use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Names the test that has this process to itself.
const ALONE: &str = "GUESTDUMP_TEST_ALONE";

/// Counts in a process in which one test runs, so that no other test's threads
/// are counted.
pub(crate) struct Meter(());

/// Runs the test that calls it in a process of its own. Gives a [`Meter`] there,
/// and `None` here, when that process has ended well.
macro_rules! alone {
    () => {{
        fn here() {}
        $crate::meter::Meter::of(std::any::type_name_of_val(&here))
    }};
}
pub(crate) use alone;

/// What a piece of work took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// The most bytes of the heap that it had at a time.
    pub(crate) heap: u64,
    /// Bytes that it read from files, pipes and sockets.
    pub(crate) read: u64,
}

impl Meter {
    /// Runs the test `test` in a process of its own: see [`alone`].
    pub(crate) fn of(test: &str) -> Option<Self> {
        if std::env::var_os(ALONE).is_some() {
            return Some(Self(()));
        }
        // `here` of the macro is a function in the test, which is in the crate.
        let (_, test) = test.split_once("::").unwrap();
        let test = test.strip_suffix("::here").unwrap();
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads", "1"])
            .env(ALONE, test)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        println!("{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{test}: {}", output.status);
        assert!(said.contains("1 passed"), "{test} did not run");
        None
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

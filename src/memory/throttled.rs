//! A limit on how fast a dump reads guest memory.
#![forbid(unsafe_code)]

use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::memory::{GuestMemory, MIN_PAGE_SIZE, MemoryRange};
use crate::workers::Progress;

/// What a dump may catch up on after it was held up elsewhere, by a slow sink
/// for example, as time of reading.
const CREDIT: Duration = Duration::from_millis(100);

/// How often a wait looks whether the dump was cancelled.
const INTERVAL: Duration = Duration::from_millis(50);

/// Guest memory that is read at no more than a number of bytes a second, by
/// all threads together. Each read begins when those before it are paid for.
pub(crate) struct Throttled<'a> {
    memory: &'a dyn GuestMemory,
    /// In bytes a second.
    rate: u64,
    progress: &'a Progress,
    clock: &'a dyn Clock,
    /// When the next read may begin.
    next: Mutex<Duration>,
}

/// A rate of less than a page a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ThrottleError {
    /// In bytes a second.
    pub(crate) rate: u64,
}

/// Time since some moment.
pub(crate) trait Clock: Send + Sync {
    fn now(&self) -> Duration;
    fn sleep(&self, time: Duration);
}

/// The system's clock.
pub(crate) struct Monotonic(Instant);

impl Monotonic {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }
}

impl Clock for Monotonic {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
    fn sleep(&self, time: Duration) {
        thread::sleep(time);
    }
}

impl<'a> Throttled<'a> {
    /// # Errors
    ///
    /// [`ThrottleError`] if `rate` is less than a page a second.
    pub(crate) fn new(
        memory: &'a dyn GuestMemory,
        rate: u64,
        progress: &'a Progress,
        clock: &'a dyn Clock,
    ) -> Result<Self, ThrottleError> {
        if rate < MIN_PAGE_SIZE {
            return Err(ThrottleError { rate });
        }
        Ok(Self {
            memory,
            rate,
            progress,
            clock,
            next: Mutex::new(clock.now()),
        })
    }

    /// Waits until `bytes` may be read. A dump that is cancelled does not
    /// wait: it looks for that itself before its next chunk.
    fn wait(&self, bytes: u64) {
        let begin = self.book(bytes);
        while !self.progress.is_cancelled() {
            let left = begin.saturating_sub(self.clock.now());
            if left.is_zero() {
                break;
            }
            self.clock.sleep(left.min(INTERVAL));
        }
    }

    /// When `bytes` may be read; the next read may begin when they are paid
    /// for.
    fn book(&self, bytes: u64) -> Duration {
        let earliest = self.clock.now().saturating_sub(CREDIT);
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = earliest.max(*next);
        *next = begin.saturating_add(self.price(bytes));
        begin
    }

    /// Gives back what was paid for `bytes` that could not be read.
    fn refund(&self, bytes: u64) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next = next.saturating_sub(self.price(bytes));
    }

    fn price(&self, bytes: u64) -> Duration {
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate);
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

impl GuestMemory for Throttled<'_> {
    fn ranges(&self) -> Vec<MemoryRange> {
        self.memory.ranges()
    }

    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        let bytes = buf.len() as u64;
        self.wait(bytes);
        let result = self.memory.read(gpa, buf);
        if result.is_err() {
            // A dump that goes on reads it again, page by page.
            self.refund(bytes);
        }
        result
    }

    fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
        self.memory.next_populated(range)
    }

    /// Whoever asks for the bytes reads them.
    fn as_slice(&self, range: MemoryRange) -> Option<&[u8]> {
        let bytes = self.memory.as_slice(range)?;
        self.wait(range.size());
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::guest::vmcoreinfo::VmcoreinfoSource;
    use crate::memory::SliceMemory;
    use crate::sink::BufferSink;
    use crate::{DumpOptions, Error, Fault, Format, GuestInfo, Machine, dump};

    const MIB: u64 = 1 << 20;

    /// Time passes only where somebody sleeps.
    #[derive(Default)]
    struct FakeClock {
        now: Mutex<Duration>,
        sleeps: Mutex<Vec<Duration>>,
        cancel: Option<Progress>,
    }

    impl FakeClock {
        fn pass(&self, time: Duration) {
            *self.now.lock().unwrap() += time;
        }
    }

    impl Clock for FakeClock {
        fn now(&self) -> Duration {
            *self.now.lock().unwrap()
        }
        fn sleep(&self, time: Duration) {
            self.pass(time);
            self.sleeps.lock().unwrap().push(time);
            if let Some(progress) = &self.cancel {
                progress.cancel();
            }
        }
    }

    /// Remembers when how much was read, below a throttle.
    struct Watched<'a> {
        memory: SliceMemory<'a>,
        in_place: bool,
        clock: &'a FakeClock,
        reads: Mutex<Vec<(Duration, u64)>>,
    }

    impl Watched<'_> {
        fn note(&self, bytes: u64) {
            let mut reads = self.reads.lock().unwrap();
            reads.push((self.clock.now(), bytes));
        }
    }

    impl GuestMemory for Watched<'_> {
        fn ranges(&self) -> Vec<MemoryRange> {
            self.memory.ranges()
        }
        fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
            self.note(buf.len() as u64);
            self.memory.read(gpa, buf)
        }
        fn as_slice(&self, range: MemoryRange) -> Option<&[u8]> {
            self.memory.as_slice(range).filter(|_| self.in_place)
        }
    }

    fn options(threads: usize) -> DumpOptions {
        let guest = GuestInfo::new(Machine::X86_64).vmcoreinfo(VmcoreinfoSource::None);
        DumpOptions::new(guest, Format::Elf).threads(threads)
    }

    /// 16 MiB of ones, from some address on.
    fn ones() -> Vec<u8> {
        vec![1; 16 << 20]
    }

    #[test]
    fn all_threads_together_read_no_faster_than_the_rate() {
        let bytes = ones();
        for threads in [1, 4] {
            let clock = FakeClock::default();
            let watched = Watched {
                memory: SliceMemory::new([(0, &bytes[..])]).unwrap(),
                in_place: false,
                clock: &clock,
                reads: Mutex::default(),
            };
            let progress = Progress::new();
            let throttled = Throttled::new(&watched, MIB, &progress, &clock).unwrap();
            dump(&throttled, &mut BufferSink::new(), &options(threads)).unwrap();
            let mut reads = watched.reads.into_inner().unwrap();
            reads.sort();
            let mut before = 0.0;
            for (at, bytes) in reads {
                let allowed = (at + CREDIT).as_secs_f64() * MIB as f64;
                assert!(before <= allowed + 1.0, "{before} bytes before {at:?}");
                before += bytes as f64;
            }
            assert_eq!(before, 16.0 * MIB as f64);
            if threads == 1 {
                // All but the last read is waited for, and no more.
                let slept: Duration = clock.sleeps.lock().unwrap().iter().sum();
                assert!(slept <= Duration::from_secs(16), "{slept:?}");
                assert!(slept >= Duration::from_secs(14), "{slept:?}");
            }
        }
    }

    #[test]
    fn memory_in_place_counts_as_read() {
        let bytes = ones();
        let clock = FakeClock::default();
        let watched = Watched {
            memory: SliceMemory::new([(0, &bytes[..])]).unwrap(),
            in_place: true,
            clock: &clock,
            reads: Mutex::default(),
        };
        let progress = Progress::new();
        let throttled = Throttled::new(&watched, MIB, &progress, &clock).unwrap();
        dump(&throttled, &mut BufferSink::new(), &options(1)).unwrap();
        assert_eq!(watched.reads.lock().unwrap().len(), 0);
        assert!(clock.now() >= Duration::from_secs(14), "{:?}", clock.now());
    }

    #[test]
    fn time_lost_elsewhere_is_made_up_for_a_moment_only() {
        let clock = FakeClock::default();
        let page = [1; 4096];
        let memory = SliceMemory::new([(0, &page[..])]).unwrap();
        let progress = Progress::new();
        let throttled = Throttled::new(&memory, 1000 * 4096, &progress, &clock).unwrap();
        clock.pass(Duration::from_secs(60));
        // 100 ms at 1000 pages a second.
        (0..100).for_each(|_| throttled.wait(4096));
        assert!(clock.sleeps.lock().unwrap().is_empty());
        (0..100).for_each(|_| throttled.wait(4096));
        let slept: Duration = clock.sleeps.lock().unwrap().iter().sum();
        assert_eq!(slept, Duration::from_millis(99));
    }

    #[test]
    fn what_cannot_be_read_is_not_paid_for() {
        struct Bad;
        impl GuestMemory for Bad {
            fn ranges(&self) -> Vec<MemoryRange> {
                vec![MemoryRange::new(0, 16 * MIB).unwrap()]
            }
            fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
                // The first page of each MiB.
                if gpa.is_multiple_of(MIB) {
                    return Err(io::ErrorKind::Other.into());
                }
                buf.fill(1);
                Ok(())
            }
        }
        let progress = Progress::new();
        let clock = FakeClock::default();
        let throttled = Throttled::new(&Bad, MIB, &progress, &clock).unwrap();
        let options = options(1).on_read_error(crate::OnReadError::Zero);
        dump(&throttled, &mut BufferSink::new(), &options).unwrap();
        // A second for each MiB, not one for the read of all and one more for
        // its pages.
        let slept: Duration = clock.sleeps.lock().unwrap().iter().sum();
        assert!(slept <= Duration::from_secs(16), "{slept:?}");
        assert!(slept >= Duration::from_secs(14), "{slept:?}");
    }

    #[test]
    fn a_wait_ends_when_the_dump_is_cancelled() {
        let bytes = ones();
        let progress = Progress::new();
        let clock = FakeClock {
            cancel: Some(progress.clone()),
            ..FakeClock::default()
        };
        let memory = SliceMemory::new([(0, &bytes[..])]).unwrap();
        let throttled = Throttled::new(&memory, 4096, &progress, &clock).unwrap();
        let error = dump(
            &throttled,
            &mut BufferSink::new(),
            &options(1).progress(progress.clone()),
        )
        .unwrap_err();
        assert!(matches!(error, Error::Failed(Fault::Cancelled)), "{error}");
        // One look after the cancellation, however long the wait would be.
        assert_eq!(*clock.sleeps.lock().unwrap(), [INTERVAL]);
    }
}

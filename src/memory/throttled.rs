//! A limit on how fast a dump reads guest memory.
#![forbid(unsafe_code)]

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::memory::clock::Clock;
use crate::memory::{Coverage, GuestMemory, MIN_PAGE_SIZE, MemoryRange};
use crate::workers::Progress;

/// The longest delay that a dump may catch up on by reading faster, after a slow sink for
/// example.
const CREDIT: Duration = Duration::from_millis(100);

/// The interval in which a wait checks whether the dump was cancelled.
const INTERVAL: Duration = Duration::from_millis(50);

/// Guest memory that all threads together read at a limited rate. Each read begins when
/// the time of all earlier reads has passed.
pub(crate) struct Throttled<'a> {
    memory: &'a dyn GuestMemory,
    /// In bytes a second.
    rate: u64,
    progress: &'a Progress,
    clock: &'a dyn Clock,
    /// The time at which the next read may begin.
    next: Mutex<Duration>,
}

/// Why a throttle is refused: its rate is less than a page a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a throttle of {rate} bytes a second is less than one page of {MIN_PAGE_SIZE} bytes")]
pub(crate) struct ThrottleError {
    /// In bytes a second.
    pub(crate) rate: u64,
}

impl<'a> Throttled<'a> {
    /// Limits reads of `memory` to `rate` bytes a second. Waiting ends when `progress` is
    /// cancelled.
    ///
    /// # Errors
    ///
    /// If `rate` is less than a page a second.
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

    /// Waits until `bytes` may be read, or the dump is cancelled. A cancelled dump stops by
    /// itself before its next chunk.
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

    /// Books the time that `bytes` take, and returns the time at which they may be read.
    fn book(&self, bytes: u64) -> Duration {
        let earliest = self.clock.now().saturating_sub(CREDIT);
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = earliest.max(*next);
        *next = begin.saturating_add(self.price(bytes));
        begin
    }

    /// Gives back the time of `bytes` that could not be read.
    fn refund(&self, bytes: u64) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next = next.saturating_sub(self.price(bytes));
    }

    /// The time that reading `bytes` takes at the limited rate.
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
            // A dump that tolerates errors reads the bytes again, page by page.
            self.refund(bytes);
        }
        result
    }

    fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
        self.memory.next_populated(range)
    }

    /// Returns the bytes in place after the time of reading them: the caller will read
    /// them.
    fn as_slice(&self, range: MemoryRange) -> Option<&[u8]> {
        let bytes = self.memory.as_slice(range)?;
        self.wait(range.size());
        Some(bytes)
    }

    fn coverage(&self) -> Coverage {
        self.memory.coverage()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use crate::OnReadError;
    use crate::memory::{SliceMemory, Tolerant, UnreadableLog};

    const MIB: u64 = 1 << 20;

    /// A clock that advances only by sleeps.
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

    /// Memory under a throttle that records the time and size of reads.
    struct Watched<'a> {
        memory: SliceMemory<'a>,
        clock: &'a FakeClock,
        reads: Mutex<Vec<(Duration, u64)>>,
    }

    impl GuestMemory for Watched<'_> {
        fn ranges(&self) -> Vec<MemoryRange> {
            self.memory.ranges()
        }
        fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
            let now = self.clock.now();
            self.reads.lock().unwrap().push((now, buf.len() as u64));
            self.memory.read(gpa, buf)
        }
        fn as_slice(&self, range: MemoryRange) -> Option<&[u8]> {
            self.memory.as_slice(range)
        }
    }

    /// 16 MiB of memory.
    fn ones() -> Vec<u8> {
        vec![1; 16 << 20]
    }

    /// Reads 16 MiB on several threads, in chunks of 1 MiB.
    fn read_all(memory: &dyn GuestMemory, threads: usize) {
        let next = AtomicU64::new(0);
        let work = || {
            let mut buf = vec![0; MIB as usize];
            loop {
                let chunk = next.fetch_add(1, Relaxed);
                if chunk >= 16 {
                    break;
                }
                memory.read(chunk * MIB, &mut buf).unwrap();
            }
        };
        std::thread::scope(|scope| {
            (0..threads).for_each(|_| {
                scope.spawn(work);
            });
        });
    }

    #[test]
    fn all_threads_together_read_no_faster_than_the_rate() {
        let bytes = ones();
        for threads in [1, 4] {
            let clock = FakeClock::default();
            let watched = Watched {
                memory: SliceMemory::new([(0, &bytes[..])]).unwrap(),
                clock: &clock,
                reads: Mutex::default(),
            };
            let progress = Progress::new();
            let throttled = Throttled::new(&watched, MIB, &progress, &clock).unwrap();
            read_all(&throttled, threads);
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
                // The first read does not wait; each further read waits a second.
                let slept: Duration = clock.sleeps.lock().unwrap().iter().sum();
                assert_eq!(slept, Duration::from_secs(15));
            }
        }
    }

    #[test]
    fn bytes_in_place_take_as_long_as_bytes_that_are_copied() {
        let bytes = ones();
        let clock = FakeClock::default();
        let watched = Watched {
            memory: SliceMemory::new([(0, &bytes[..])]).unwrap(),
            clock: &clock,
            reads: Mutex::default(),
        };
        let progress = Progress::new();
        let throttled = Throttled::new(&watched, MIB, &progress, &clock).unwrap();
        for chunk in 0..16 {
            let range = MemoryRange::new(chunk * MIB, MIB).unwrap();
            assert!(throttled.as_slice(range).is_some());
        }
        assert_eq!(watched.reads.lock().unwrap().len(), 0);
        assert_eq!(clock.now(), Duration::from_secs(15));
    }

    #[test]
    fn a_delay_is_caught_up_on_for_a_moment_only() {
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
    fn reads_that_fail_take_no_time() {
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
        let log = UnreadableLog::new(OnReadError::Zero, MIN_PAGE_SIZE);
        let tolerant = Tolerant {
            memory: &throttled,
            log: &log,
        };
        read_all(&tolerant, 1);
        assert_eq!(log.summary().unwrap().bytes, 16 * MIN_PAGE_SIZE);
        // Each MiB takes a second once, though it is read as a whole and then by pages.
        let slept: Duration = clock.sleeps.lock().unwrap().iter().sum();
        assert!(slept <= Duration::from_secs(16), "{slept:?}");
        assert!(slept >= Duration::from_secs(14), "{slept:?}");
    }

    #[test]
    fn a_wait_ends_when_the_dump_is_cancelled() {
        let page = [1; 4096];
        let progress = Progress::new();
        let clock = FakeClock {
            cancel: Some(progress.clone()),
            ..FakeClock::default()
        };
        let memory = SliceMemory::new([(0, &page[..])]).unwrap();
        let throttled = Throttled::new(&memory, 4096, &progress, &clock).unwrap();
        for _ in 0..3 {
            throttled.read(0, &mut [0; 4096]).unwrap();
        }
        // One check after the cancellation, however long the wait would be.
        assert_eq!(*clock.sleeps.lock().unwrap(), [INTERVAL]);
    }

    #[test]
    fn a_rate_below_one_page_a_second_is_refused() {
        let memory = SliceMemory::new([(0, &[1; 4096][..])]).unwrap();
        let (progress, clock) = (Progress::new(), FakeClock::default());
        let new = |rate| Throttled::new(&memory, rate, &progress, &clock).map(|_| ());
        assert_eq!(new(4095), Err(ThrottleError { rate: 4095 }));
        assert_eq!(new(4096), Ok(()));
    }
}

//! The clock of a throttle. Tests have one of their own.
#![forbid(unsafe_code)]

use std::thread;
use std::time::{Duration, Instant};

/// A clock that never goes back.
pub(crate) trait Clock: Send + Sync {
    /// Returns the time since a fixed moment.
    fn now(&self) -> Duration;
    /// Waits until `time` has passed.
    fn sleep(&self, time: Duration);
}

/// The system's clock, which counts from its creation.
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

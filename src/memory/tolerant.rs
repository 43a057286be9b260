//! Guest memory that cannot be read: the choice of how a dump continues, and the log of
//! the pages that were affected.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::memory::{Coverage, GuestMemory, MIN_PAGE_SIZE, MemoryRange};

/// The action of a dump when guest memory cannot be read, because of a poisoned page or a
/// truncated file for example.
///
/// The dump fails under every policy if its source is gone, if no page at all can be read, or if
/// [`Skip`](Self::Skip) omits each page.
/// The source is gone if a read fails with one of these errors, or with an error that one of
/// these caused:
///
/// - `ESRCH`, `ENXIO`, `EBADF`, `ENOMEM`, `EACCES`, `ENODEV` of the system, and on Linux
///   `ETIMEDOUT`, `EHOSTDOWN`, `EREMOTEIO`, `ENOMEDIUM`;
/// - the kinds `BrokenPipe`, `ConnectionAborted`, `ConnectionRefused`, `ConnectionReset`,
///   `HostUnreachable`, `NetworkDown`, `NetworkUnreachable`, `NotConnected`,
///   `StaleNetworkFileHandle` and `TimedOut` of [`io::ErrorKind`].
///
/// `EPERM` is about a page: `/dev/mem` gives it page by page. A process whose memory may no longer
/// be read is gone all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum OnReadError {
    /// The dump fails with an error that names the page.
    #[default]
    Fail,
    /// The dump contains zeroes for every 4096 bytes that cannot be read.
    Zero,
    /// The dump omits the guest's page. Only formats that list their pages can omit one:
    /// kdump, and Windows's bitmap dump in a file.
    Skip,
}

impl OnReadError {
    /// All actions.
    pub const ALL: [Self; 3] = [Self::Fail, Self::Zero, Self::Skip];

    /// Returns the name of the action in the command line of `guestdump`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Zero => "zero",
            Self::Skip => "skip",
        }
    }
}

/// Errors of a process, a descriptor or a device that is gone, or of a host without memory: `ESRCH`,
/// `ENXIO`, `EBADF`, `ENOMEM`, `EACCES`, `ENODEV`. `EIO`, `EFAULT` and `EHWPOISON` are about a page.
///
/// Source: Linux `include/uapi/asm-generic/errno-base.h`; other Unix systems have the same
/// numbers.
const GONE: [i32; 6] = [3, 6, 9, 12, 13, 19];
/// Errors of a device or a host that is gone, whose numbers are Linux's: `ETIMEDOUT`, `EHOSTDOWN`,
/// `EREMOTEIO`, `ENOMEDIUM`.
///
/// Source: Linux `include/uapi/asm-generic/errno.h`.
const GONE_ON_LINUX: [i32; 4] = [110, 112, 121, 123];

/// Whether `error` says that the source of the memory is gone, so that it says nothing about
/// the page. The causes of `error` count too.
pub(crate) fn is_source_gone(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    let kind = matches!(
        error.kind(),
        Kind::BrokenPipe
            | Kind::ConnectionAborted
            | Kind::ConnectionRefused
            | Kind::ConnectionReset
            | Kind::HostUnreachable
            | Kind::NetworkDown
            | Kind::NetworkUnreachable
            | Kind::NotConnected
            | Kind::StaleNetworkFileHandle
            | Kind::TimedOut
    );
    let number = error.raw_os_error().is_some_and(|number| {
        (cfg!(unix) && GONE.contains(&number))
            || (cfg!(target_os = "linux") && GONE_ON_LINUX.contains(&number))
    });
    kind || number
        || error
            .get_ref()
            .is_some_and(|error| is_caused_by_gone(error))
}

/// Whether `error` or one of its causes is an [`io::Error`] of a source that is gone.
fn is_caused_by_gone(error: &(dyn std::error::Error + 'static)) -> bool {
    let own = error.downcast_ref::<io::Error>();
    own.is_some_and(is_source_gone) || error.source().is_some_and(is_caused_by_gone)
}

/// A summary of the memory that could not be read. The dump contains zeroes for it, or
/// omits it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unreadable {
    /// Size of all unreadable memory, in bytes.
    pub bytes: u64,
    /// The first [`MAX_RANGES`](Self::MAX_RANGES) ranges, in ascending order. Ranges that
    /// touch are joined.
    pub ranges: Vec<MemoryRange>,
    /// Number of ranges that are not listed.
    pub more_ranges: u64,
    /// The first error that the memory reported.
    pub first_error: String,
}

impl Unreadable {
    /// The maximum number of listed ranges.
    pub const MAX_RANGES: usize = 1000;
}

/// A log of the pages that could not be read. It takes memory for each run of pages, so at
/// most some bytes for every second page.
#[derive(Debug)]
pub(crate) struct UnreadableLog {
    policy: OnReadError,
    /// Ranges are widened to multiples of this many bytes: the unit that is omitted or
    /// zeroed.
    unit: u64,
    any: AtomicBool,
    /// Whether any bytes were read.
    any_read: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The end of each run by its start.
    runs: BTreeMap<u64, u64>,
    first_error: String,
}

impl UnreadableLog {
    /// Makes an empty log of a dump with pages of `page_size` bytes.
    pub(crate) fn new(policy: OnReadError, page_size: u64) -> Self {
        Self {
            policy,
            unit: match policy {
                OnReadError::Skip => page_size,
                OnReadError::Fail | OnReadError::Zero => MIN_PAGE_SIZE,
            },
            any: AtomicBool::new(false),
            any_read: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that reading `len` bytes at `gpa` failed with `error`.
    fn add(&self, gpa: u64, len: u64, error: &io::Error) {
        let mut start = gpa - gpa % self.unit;
        // This cannot overflow, because reads end below the last page.
        let mut end = (gpa + len).next_multiple_of(self.unit);
        let mut state = self.lock();
        if state.runs.is_empty() {
            state.first_error = error.to_string();
        }
        while let Some((&from, &to)) = state.runs.range(..=end).next_back()
            && to >= start
        {
            state.runs.remove(&from);
            start = start.min(from);
            end = end.max(to);
        }
        state.runs.insert(start, end);
        self.any.store(true, Relaxed);
    }

    /// Records that some bytes were read.
    fn add_read(&self) {
        // A thread that only looks leaves the cache line with the others.
        if !self.any_read.load(Relaxed) {
            self.any_read.store(true, Relaxed);
        }
    }

    /// Returns the first run, and the error, of memory of which no page could be read. That is
    /// also so if each of the `pages` that a dump would contain is omitted, for a part of it
    /// that cannot be read.
    pub(crate) fn nothing_read(&self, pages: u64) -> Option<(MemoryRange, io::Error)> {
        if !self.any.load(Relaxed) || self.any_read.load(Relaxed) && pages > 0 {
            return None;
        }
        let first = self.ranges().next()?;
        let error = &self.lock().first_error;
        let text = format!("no page of the guest's memory can be read: {error}");
        Some((first, io::Error::other(text)))
    }

    /// Whether the dump omits the page at `gpa`, which the calling thread has read.
    pub(crate) fn leaves_out(&self, gpa: u64) -> bool {
        if self.policy != OnReadError::Skip || !self.any.load(Relaxed) {
            return false;
        }
        let state = self.lock();
        let run = state.runs.range(..=gpa).next_back();
        run.is_some_and(|(_, end)| gpa < *end)
    }

    /// Whether the dump may omit pages.
    pub(crate) fn may_leave_out(&self) -> bool {
        self.policy == OnReadError::Skip
    }

    /// Lists the ranges that the dump omits.
    pub(crate) fn left_out(&self) -> Vec<MemoryRange> {
        match self.policy {
            OnReadError::Skip => self.ranges().collect(),
            OnReadError::Fail | OnReadError::Zero => Vec::new(),
        }
    }

    /// Iterates over all unreadable ranges, in ascending order.
    fn ranges(&self) -> impl Iterator<Item = MemoryRange> + use<> {
        let runs = self.lock().runs.clone();
        runs.into_iter()
            .filter_map(|(start, end)| MemoryRange::new(start, end - start).ok())
    }

    /// Summarizes the log; `None` if all memory was read.
    pub(crate) fn summary(&self) -> Option<Unreadable> {
        let count = self.lock().runs.len();
        (count > 0).then(|| Unreadable {
            bytes: self.ranges().map(|range| range.size()).sum(),
            ranges: self.ranges().take(Unreadable::MAX_RANGES).collect(),
            more_ranges: count.saturating_sub(Unreadable::MAX_RANGES) as u64,
            first_error: self.lock().first_error.clone(),
        })
    }
}

/// Guest memory in which unreadable bytes are zeroes. They are recorded in a log. Reading
/// fails if the source of the memory is gone.
pub(crate) struct Tolerant<'a> {
    pub(crate) memory: &'a dyn GuestMemory,
    pub(crate) log: &'a UnreadableLog,
}

impl GuestMemory for Tolerant<'_> {
    fn ranges(&self) -> Vec<MemoryRange> {
        self.memory.ranges()
    }

    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        match self.memory.read(gpa, buf) {
            Ok(()) => {
                self.log.add_read();
                return Ok(());
            }
            Err(error) if is_source_gone(&error) => return Err(error),
            Err(_) => {}
        }
        let (mut gpa, mut rest) = (gpa, buf);
        while !rest.is_empty() {
            let to_next_page = (MIN_PAGE_SIZE - gpa % MIN_PAGE_SIZE) as usize;
            let (here, after) = rest.split_at_mut(to_next_page.min(rest.len()));
            match self.memory.read(gpa, here) {
                Ok(()) => self.log.add_read(),
                Err(error) if is_source_gone(&error) => return Err(error),
                Err(error) => {
                    here.fill(0);
                    self.log.add(gpa, here.len() as u64, &error);
                }
            }
            gpa = gpa.wrapping_add(here.len() as u64);
            rest = after;
        }
        Ok(())
    }

    /// Finds the first populated extent. Everything is populated if the memory cannot tell,
    /// because reading then decides.
    fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
        match self.memory.next_populated(range) {
            Err(error) if !is_source_gone(&error) => Ok(Some(range)),
            result => result,
        }
    }

    fn as_slice(&self, range: MemoryRange) -> Option<&[u8]> {
        let bytes = self.memory.as_slice(range);
        if bytes.is_some() {
            self.log.add_read();
        }
        bytes
    }

    fn coverage(&self) -> Coverage {
        self.memory.coverage()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn log(policy: OnReadError, page_size: u64, pages: &[u64]) -> UnreadableLog {
        let log = UnreadableLog::new(policy, page_size);
        let error = io::Error::other("bad");
        pages.iter().for_each(|gpa| log.add(*gpa, 0x1000, &error));
        log
    }

    #[test]
    fn ranges_that_touch_are_joined_in_any_order() {
        let found = log(
            OnReadError::Zero,
            0x1000,
            &[0x5000, 0x1000, 0x3000, 0x2000, 0x3000, 0x9000],
        );
        let summary = found.summary().unwrap();
        let ranges: Vec<_> = summary
            .ranges
            .iter()
            .map(|r| (r.start(), r.end()))
            .collect();
        assert_eq!(
            ranges,
            [(0x1000, 0x4000), (0x5000, 0x6000), (0x9000, 0xa000)]
        );
        assert_eq!((summary.bytes, summary.more_ranges), (0x5000, 0));
        assert_eq!(summary.first_error, "bad");
        assert!(!found.leaves_out(0x1000));
        assert_eq!(log(OnReadError::Zero, 0x1000, &[]).summary(), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn hosts_and_devices_that_are_gone_are_no_bad_pages() {
        let is_gone = |number| is_source_gone(&io::Error::from_raw_os_error(number));
        // ENOMEM, EACCES, ETIMEDOUT, EHOSTDOWN, EREMOTEIO, ENOMEDIUM.
        assert!([12, 13, 110, 112, 121, 123].into_iter().all(is_gone));
        // EPERM, EIO, EFAULT, EHWPOISON.
        assert!(![1, 5, 14, 133].into_iter().any(is_gone));
        assert!(is_source_gone(&io::ErrorKind::TimedOut.into()));
    }

    #[test]
    fn a_large_page_is_omitted_as_a_whole() {
        let found = log(OnReadError::Skip, 0x1_0000, &[0x1_3000, 0x2_0000]);
        assert_eq!(
            found.left_out(),
            [MemoryRange::new(0x1_0000, 0x2_0000).unwrap()]
        );
        assert!(found.leaves_out(0x1_0000) && found.leaves_out(0x2_0000));
        assert!(!found.leaves_out(0) && !found.leaves_out(0x3_0000));
    }

    #[test]
    fn the_list_is_bounded_and_further_ranges_are_counted() {
        let pages: Vec<u64> = (0..2500).map(|i| i * 0x2000).collect();
        let summary = log(OnReadError::Zero, 0x1000, &pages).summary().unwrap();
        assert_eq!(summary.ranges.len(), Unreadable::MAX_RANGES);
        assert_eq!(summary.more_ranges, 1500);
        assert_eq!(summary.bytes, 2500 * 0x1000);
    }
}

//! Guest memory and sinks that misbehave on purpose, for all tests.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

pub mod options;

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use guestdump::memory::{MemoryRange, SliceMemory};
use guestdump::sink::{PositionedSink, SinkAccess};
use guestdump::{DumpSink, Format, GuestMemory};

pub const PAGE: u64 = 4096;

/// The formats of Linux guests, whose notes and VMCOREINFO are in the dump.
pub fn linux_formats() -> impl Iterator<Item = Format> {
    Format::available().filter(|format| !format.is_windows())
}

pub fn range(start: u64, size: u64) -> MemoryRange {
    MemoryRange::new(start, size).unwrap()
}

/// What a page holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    Zero,
    /// Never populated; reading it is a panic.
    Untouched,
    Text(u8),
    Random(u8),
}

impl Page {
    pub fn bytes(self) -> Vec<u8> {
        match self {
            Self::Zero | Self::Untouched => vec![0; PAGE as usize],
            Self::Text(seed) => format!("page {seed} of a guest that likes to repeat itself; ")
                .bytes()
                .cycle()
                .take(PAGE as usize)
                .collect(),
            Self::Random(seed) => {
                let mut state = 0x9e37_79b9_7f4a_7c15u64 ^ (u64::from(seed) << 20);
                (0..PAGE)
                    .map(|_| {
                        state = state
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1);
                        (state >> 56) as u8
                    })
                    .collect()
            }
        }
    }
}

/// A guest of explicit pages.
#[derive(Debug, Clone, Default)]
pub struct PageMemory {
    /// Guest-physical address and pages of each range.
    pub ranges: Vec<(u64, Vec<Page>)>,
    /// Reading this guest-physical address fails.
    pub poisoned: Option<u64>,
    /// Reading this guest-physical address panics.
    pub explosive: Option<u64>,
}

impl PageMemory {
    pub fn new(ranges: impl IntoIterator<Item = (u64, Vec<Page>)>) -> Self {
        Self {
            ranges: ranges.into_iter().collect(),
            ..Self::default()
        }
    }

    pub fn page(&self, gpa: u64) -> Option<Page> {
        self.ranges.iter().find_map(|(start, pages)| {
            let index = gpa.checked_sub(*start)? / PAGE;
            pages.get(index as usize).copied()
        })
    }

    /// All pages with their guest-physical addresses.
    pub fn pages(&self) -> impl Iterator<Item = (u64, Page)> {
        self.ranges
            .iter()
            .flat_map(|(start, pages)| (*start..).step_by(PAGE as usize).zip(pages.iter().copied()))
    }
}

impl GuestMemory for PageMemory {
    fn ranges(&self) -> Vec<MemoryRange> {
        self.ranges
            .iter()
            .map(|(start, pages)| range(*start, pages.len() as u64 * PAGE))
            .collect()
    }

    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        let all = gpa..gpa + buf.len() as u64;
        if self.poisoned.is_some_and(|bad| all.contains(&bad)) {
            return Err(io::Error::other("poisoned page"));
        }
        assert!(
            !self.explosive.is_some_and(|bad| all.contains(&bad)),
            "explosive page"
        );
        let mut done = 0;
        while done < buf.len() {
            let at = gpa + done as u64;
            let page = self
                .page(at)
                .ok_or_else(|| io::Error::other(format!("{at:#x} is not RAM")))?;
            assert!(page != Page::Untouched, "{at:#x} was never touched");
            let from = (at % PAGE) as usize;
            let n = (PAGE as usize - from).min(buf.len() - done);
            buf[done..done + n].copy_from_slice(&page.bytes()[from..from + n]);
            done += n;
        }
        Ok(())
    }

    fn next_populated(&self, within: MemoryRange) -> io::Result<Option<MemoryRange>> {
        let populated = |gpa: u64| self.page(gpa).is_some_and(|page| page != Page::Untouched);
        let mut pages = (within.start()..within.end()).step_by(PAGE as usize);
        let Some(first) = pages.find(|gpa| populated(*gpa)) else {
            return Ok(None);
        };
        let end = pages.find(|gpa| !populated(*gpa)).unwrap_or(within.end());
        Ok(Some(range(first, end - first)))
    }
}

/// The same pages as byte slices.
pub fn slices(memory: &PageMemory) -> Vec<(u64, Vec<u8>)> {
    memory
        .ranges
        .iter()
        .map(|(start, pages)| (*start, pages.iter().flat_map(|p| p.bytes()).collect()))
        .collect()
}

pub fn slice_memory(slices: &[(u64, Vec<u8>)]) -> SliceMemory<'_> {
    SliceMemory::new(slices.iter().map(|(start, bytes)| (*start, &bytes[..]))).unwrap()
}

/// How a sink misbehaves, at its `nth` write and from there on.
#[derive(Debug, Clone, Copy)]
pub enum SinkFault {
    Error(io::ErrorKind),
    WroteNothing,
    Panic,
}

/// A sink that counts calls, takes a few bytes at a time, is interrupted now
/// and then, and fails when it is told to.
#[derive(Debug, Default)]
pub struct FaultySink {
    pub bytes: Mutex<Vec<u8>>,
    pub calls: AtomicUsize,
    pub finished: bool,
    pub stream: bool,
    pub short_writes: bool,
    pub fault: Option<(usize, SinkFault)>,
}

impl FaultySink {
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes.into_inner().unwrap()
    }

    pub fn len(&self) -> usize {
        self.bytes.lock().unwrap().len()
    }

    fn take(&self, offset: Option<u64>, buf: &[u8]) -> io::Result<usize> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        match self.fault {
            Some((at, SinkFault::Error(kind))) if call >= at => return Err(kind.into()),
            Some((at, SinkFault::WroteNothing)) if call >= at => return Ok(0),
            Some((at, SinkFault::Panic)) if call >= at => panic!("the sink explodes"),
            _ => {}
        }
        if self.short_writes && call % 3 == 1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let n = if self.short_writes {
            buf.len().min(1 + call * 7919 % 5000)
        } else {
            buf.len()
        };
        let mut bytes = self.bytes.lock().unwrap();
        let start = offset.map_or(bytes.len(), |o| o as usize);
        if bytes.len() < start + n {
            bytes.resize(start + n, 0);
        }
        bytes[start..start + n].copy_from_slice(&buf[..n]);
        Ok(n)
    }
}

impl DumpSink for FaultySink {
    fn access(&mut self) -> SinkAccess<'_> {
        if self.stream {
            SinkAccess::Stream(self)
        } else {
            SinkAccess::Positioned(self)
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.finished = true;
        Ok(())
    }
}

impl PositionedSink for FaultySink {
    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<usize> {
        self.take(Some(offset), buf)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes.lock().unwrap().resize(len as usize, 0);
        Ok(())
    }
}

impl io::Write for FaultySink {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.take(None, buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

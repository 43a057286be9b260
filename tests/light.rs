//! A dump is light on its host: the throttle, bounded memory before a slow
//! sink, no page cache taken, holes of the guest's memory that stay holes.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::memory::{FileMemory, MemoryRange};
use guestdump::sink::{BufferSink, FdSink, FileSink, FileSinkOptions, PositionedSink, SinkAccess};
use guestdump::{
    DumpOptions, DumpSink, Error, Fault, Format, GuestInfo, GuestMemory, Machine, Progress,
    Refusal, dump,
};
use rustix::fs::{MemfdFlags, memfd_create};
use testkit::page_cache::{cached, cold_file, on_disk};
use testkit::windows::{given, header_64};
use testkit::{FaultySink, Nowhere, Page, PageMemory, range, slice_memory, slices, written};

const MIB: u64 = 1 << 20;

fn options(format: Format) -> DumpOptions {
    given(&*header_64(0x1000)).options(
        GuestInfo::new(Machine::X86_64).vmcoreinfo(VmcoreinfoSource::None),
        format,
    )
}

/// 3 MiB of all kinds of pages.
fn guest() -> PageMemory {
    let pages = (0..768u32).map(|i| match i % 5 {
        0 => Page::Zero,
        1 => Page::Untouched,
        2 => Page::Random(i as u8),
        _ => Page::Text(i as u8),
    });
    PageMemory::new([(0, pages.collect())])
}

#[test]
fn a_throttle_below_a_page_a_second_is_refused() {
    for rate in [0, 1, 4095] {
        let mut sink = FaultySink::default();
        let options = options(Format::Elf).throttle(rate);
        let error = dump(&guest(), &mut sink, &options).unwrap_err();
        assert!(matches!(error, Error::Refused(Refusal::Throttle { rate: r }) if r == rate));
        assert!(error.is_refusal());
        assert!(error.to_string().contains(&rate.to_string()), "{error}");
        assert_eq!(sink.len(), 0);
    }
}

#[test]
fn throttle_and_page_cache_make_no_difference() {
    let guest = guest();
    let owned = slices(&guest);
    let in_place = slice_memory(&owned);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dump");
    for format in Format::available() {
        let expected = written(&in_place, &options(format));
        for (memory, threads) in [(&guest as &dyn GuestMemory, 3), (&in_place, 1)] {
            let options = options(format).threads(threads).throttle(256 * MIB);
            let nocache = FileSinkOptions::default().nocache(true).overwrite(true);
            let mut sink = FileSink::create(&path, nocache).unwrap();
            dump(memory, &mut sink, &options).unwrap();
            assert!(std::fs::read(&path).unwrap() == expected, "{format}");
        }
    }
}

/// Memory that counts the bytes that are read.
struct Counted {
    size: u64,
    read: Arc<AtomicU64>,
}

impl GuestMemory for Counted {
    fn ranges(&self) -> Vec<MemoryRange> {
        vec![range(0, self.size)]
    }
    fn read(&self, _: u64, buf: &mut [u8]) -> io::Result<()> {
        self.read.fetch_add(buf.len() as u64, SeqCst);
        buf.fill(1);
        Ok(())
    }
}

#[test]
fn a_throttled_dump_goes_on_and_can_be_cancelled() {
    let read = Arc::new(AtomicU64::new(0));
    let memory = Counted {
        size: 1024 * MIB,
        read: Arc::clone(&read),
    };
    let progress = Progress::new();
    let options = options(Format::Elf)
        .threads(2)
        .throttle(MIB)
        .progress(progress.clone());
    let dump = std::thread::spawn(move || dump(&memory, &mut Nowhere, &options));
    while progress.snapshot().done == 0 && !dump.is_finished() {
        std::thread::sleep(Duration::from_millis(1));
    }
    // Without a throttle hundreds of mebibytes.
    std::thread::sleep(Duration::from_millis(300));
    progress.cancel();
    let error = dump.join().unwrap().unwrap_err();
    assert!(matches!(error, Error::Failed(Fault::Cancelled)), "{error}");
    assert!(read.load(SeqCst) < 64 * MIB, "{read:?} bytes were read");
}

#[test]
fn no_number_of_threads_means_every_core() {
    let cores = std::thread::available_parallelism().unwrap().get();
    let memory = Counted {
        size: (cores as u64 + 1) * MIB,
        read: Arc::default(),
    };
    let mut sink = BufferSink::new();
    let summary = dump(&memory, &mut sink, &options(Format::Elf).threads(0)).unwrap();
    assert_eq!(summary.threads, cores);
    let one = written(&memory, &options(Format::Elf).threads(1));
    assert!(sink.into_bytes() == one);
}

/// On tmpfs a hole that is read through a mapping is one no more.
#[test]
fn memory_that_was_never_touched_stays_so() {
    let ram = memfd_create("ram", MemfdFlags::CLOEXEC)
        .map(File::from)
        .unwrap();
    ram.set_len(16 * MIB).unwrap();
    for at in [MIB, 7 * MIB + 0x3000, 15 * MIB] {
        ram.write_all_at(&Page::Random(7).bytes(), at).unwrap();
    }
    let before = ram.metadata().unwrap().blocks();
    assert!((1..=3 * 512).contains(&(before / 8)), "{before} blocks");
    for format in Format::available() {
        let memory = FileMemory::flat(ram.try_clone().unwrap()).unwrap();
        written(&memory, &options(format));
        assert_eq!(ram.metadata().unwrap().blocks(), before, "{format}");
    }
}

/// What memory and sink of one dump know of each other. The sink takes
/// nothing of the memory until more is read than may be, or nobody reads any
/// more.
struct Rendezvous {
    limit: u64,
    flow: Mutex<Flow>,
    changed: Condvar,
}

#[derive(Default)]
struct Flow {
    read: u64,
    written: u64,
    /// Most that was read and not yet written.
    ahead: u64,
    waited: bool,
}

struct Eager<'a>(&'a Rendezvous);

impl GuestMemory for Eager<'_> {
    fn ranges(&self) -> Vec<MemoryRange> {
        vec![range(0, 48 * MIB)]
    }
    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        let page = Page::Random(1).bytes();
        for (page_of, n) in buf.chunks_mut(4096).zip(gpa / 4096..) {
            page_of.copy_from_slice(&page);
            page_of[..8].copy_from_slice(&n.to_le_bytes());
        }
        self.0.flow.lock().unwrap().read += buf.len() as u64;
        self.0.changed.notify_all();
        Ok(())
    }
}

struct Slow<'a> {
    of: &'a Rendezvous,
    stream: bool,
}

impl Slow<'_> {
    fn take(&self, buf: &[u8]) -> io::Result<usize> {
        let mut flow = self.of.flow.lock().unwrap();
        // Headers, notes and bitmaps come before memory.
        while flow.read > 0 && !flow.waited {
            let patience = Duration::from_millis(300);
            let (now, result) = self.of.changed.wait_timeout(flow, patience).unwrap();
            flow = now;
            flow.waited = result.timed_out() || flow.read > self.of.limit;
        }
        flow.ahead = flow.ahead.max(flow.read.saturating_sub(flow.written));
        flow.written += buf.len() as u64;
        Ok(buf.len())
    }
}

impl DumpSink for Slow<'_> {
    fn access(&mut self) -> SinkAccess<'_> {
        if self.stream {
            SinkAccess::Stream(self)
        } else {
            SinkAccess::Positioned(self)
        }
    }
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl PositionedSink for Slow<'_> {
    fn write_at(&self, _: u64, buf: &[u8]) -> io::Result<usize> {
        self.take(buf)
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        Ok(())
    }
}

impl io::Write for Slow<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.take(buf)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_slow_sink_bounds_what_is_under_way() {
    for name in ["elf", "kdump-snappy", "kdump-raw-snappy"] {
        let format: Format = name.parse().unwrap();
        for (threads, stream) in [(1, false), (4, false), (4, true)] {
            if !format.is_available() || (stream && format.needs_positions()) {
                continue;
            }
            // Two chunks of a mebibyte wait for each thread; a third may be
            // on its way.
            let limit = 3 * threads * MIB;
            let of = Rendezvous {
                limit,
                flow: Mutex::default(),
                changed: Condvar::new(),
            };
            let mut sink = Slow { of: &of, stream };
            let options = options(format).threads(threads as usize);
            dump(&Eager(&of), &mut sink, &options).unwrap();
            let flow = of.flow.into_inner().unwrap();
            assert!(flow.waited);
            // The sink did hold all threads up.
            assert!(
                flow.ahead >= threads * MIB / 2,
                "{name}: {} bytes",
                flow.ahead
            );
            assert!(flow.ahead <= limit, "{name}: {} bytes", flow.ahead);
        }
    }
}

/// Memory that looks at the page cache while its last mebibyte is read.
struct Looking<'a> {
    of: Counted,
    at: &'a std::path::Path,
    seen: AtomicU64,
}

impl GuestMemory for Looking<'_> {
    fn ranges(&self) -> Vec<MemoryRange> {
        self.of.ranges()
    }
    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        if gpa + buf.len() as u64 == self.of.size {
            self.seen.store(cached(self.at), SeqCst);
        }
        self.of.read(gpa, buf)
    }
}

#[test]
fn a_dump_leaves_the_page_cache_alone() {
    let Some(folder) = on_disk(env!("CARGO_TARGET_TMPDIR")) else {
        return;
    };
    let path = folder.path().join("dump");
    let memory = Looking {
        of: Counted {
            size: 160 * MIB,
            read: Arc::default(),
        },
        at: &path,
        seen: AtomicU64::new(0),
    };
    for nocache in [false, true] {
        let file = File::create(&path).unwrap();
        let mut sink = FdSink::new(file.into()).unwrap().nocache(nocache);
        dump(&memory, &mut sink, &options(Format::Elf)).unwrap();
        let (before, after) = (memory.seen.load(SeqCst), cached(&path));
        if nocache {
            assert!(before <= 80 * MIB, "{before} bytes before the end");
            assert!(after <= MIB, "{after} bytes");
        } else {
            // So the measure measures something.
            assert!(before > 80 * MIB && after > 80 * MIB, "{before}, {after}");
        }
    }
    std::fs::remove_file(&path).unwrap();
    let options_file = FileSinkOptions::default().nocache(true);
    let mut sink = FileSink::create(&path, options_file).unwrap();
    let guest = guest();
    dump(&guest, &mut sink, &options(Format::Elf)).unwrap();
    assert_eq!(cached(&path), 0);
}

#[test]
fn a_ram_file_is_left_out_of_the_page_cache() {
    let Some(folder) = on_disk(env!("CARGO_TARGET_TMPDIR")) else {
        return;
    };
    for nocache in [false, true] {
        let path = folder.path().join(format!("ram{nocache}"));
        let file = cold_file(&path, 32 * MIB);
        let memory = FileMemory::flat(file).unwrap().nocache(nocache);
        // Of two threads, one may read ahead where the other one reads.
        let bytes = written(&memory, &options(Format::Elf));
        let cached = cached(&path);
        let ram = std::fs::read(&path).unwrap();
        assert!(bytes.ends_with(&ram));
        if nocache {
            assert!(cached <= MIB / 4, "{cached} bytes");
        } else {
            assert!(cached > 8 * MIB, "{cached} bytes");
        }
    }
}

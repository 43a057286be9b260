//! Dumps in the background: status, callback, cancellation, threads.
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use guestdump::memory::MemoryRange;
use guestdump::sink::BufferSink;
use guestdump::{
    Busy, DumpJob, DumpOptions, DumpStatus, Dumper, Error, Fault, Format, GuestInfo, GuestMemory,
    Machine, Progress,
};
use testkit::{FaultySink, Page, PageMemory, SinkFault, range};

const PATIENCE: Duration = Duration::from_secs(60);

fn small() -> PageMemory {
    PageMemory::new([(0, vec![Page::Text(1); 8])])
}

/// Reads block until the gate is opened, which shows that a job is active.
struct Gated {
    gate: std::sync::Mutex<mpsc::Receiver<()>>,
    readers: Arc<AtomicUsize>,
}

impl Gated {
    fn new() -> (Self, mpsc::Sender<()>, Arc<AtomicUsize>) {
        let (open, gate) = mpsc::channel();
        let readers = Arc::new(AtomicUsize::new(0));
        let memory = Self {
            gate: gate.into(),
            readers: Arc::clone(&readers),
        };
        (memory, open, readers)
    }
}

impl GuestMemory for Gated {
    fn ranges(&self) -> Vec<MemoryRange> {
        vec![range(0, 64 << 20)]
    }

    fn read(&self, _: u64, buf: &mut [u8]) -> std::io::Result<()> {
        self.readers.fetch_add(1, SeqCst);
        // An error means that the gate is open for good.
        let _ = self.gate.lock().unwrap().recv();
        buf.fill(1);
        Ok(())
    }
}

impl Drop for Gated {
    fn drop(&mut self) {
        self.readers.store(usize::MAX, SeqCst);
    }
}

fn options(format: Format) -> DumpOptions {
    DumpOptions::new(
        GuestInfo::new(Machine::X86_64)
            .vmcoreinfo(guestdump::guest::vmcoreinfo::VmcoreinfoSource::None),
        format,
    )
    .threads(2)
}

#[test]
fn a_job_completes_and_calls_back_once() {
    let (tell, told) = mpsc::channel();
    let job = DumpJob::start_with(small(), BufferSink::new(), options(Format::Elf), move |r| {
        tell.send(r.as_ref().map(|s| s.pages).ok()).unwrap();
    });
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), Some(8));
    assert_eq!(job.status(), DumpStatus::Completed);
    assert_eq!(job.progress().snapshot().done, 8 * 4096);
    assert_eq!(job.wait().unwrap().pages, 8);
    // The sender is gone: nothing can come any more.
    assert!(told.recv().is_err());
}

#[test]
fn a_failing_sink_a_panicking_sink_and_a_panicking_memory_call_back_once() {
    let faulty = |fault| FaultySink {
        fault: Some((2, fault)),
        ..FaultySink::default()
    };
    let explosive = PageMemory {
        explosive: Some(4096),
        ..small()
    };
    let cases: [(PageMemory, FaultySink); 3] = [
        (
            small(),
            faulty(SinkFault::Error(std::io::ErrorKind::StorageFull)),
        ),
        (small(), faulty(SinkFault::Panic)),
        (explosive, FaultySink::default()),
    ];
    for (memory, sink) in cases {
        let (tell, told) = mpsc::channel();
        let job = DumpJob::start_with(memory, sink, options(Format::Elf), move |r| {
            tell.send(r.is_err()).unwrap();
        });
        assert!(told.recv_timeout(PATIENCE).unwrap());
        assert_eq!(job.status(), DumpStatus::Failed);
        let error = job.wait().unwrap_err();
        assert!(
            matches!(
                error,
                Error::Failed(Fault::Write { .. }) | Error::Failed(Fault::Panicked(_))
            ),
            "{error}"
        );
        assert!(told.recv().is_err());
    }
}

#[test]
fn a_panic_in_the_callback_stays_there() {
    let job = DumpJob::start_with(small(), BufferSink::new(), options(Format::Elf), |_| {
        panic!("callback")
    });
    let status = Arc::new(job);
    while status.status() == DumpStatus::Active {
        std::thread::yield_now();
    }
    assert_eq!(status.status(), DumpStatus::Completed);
    // It does not lose the result.
    assert_eq!(Arc::into_inner(status).unwrap().wait().unwrap().pages, 8);
}

#[test]
fn a_dropped_job_is_cancelled_and_leaves_no_thread_behind() {
    let (memory, open, readers) = Gated::new();
    let (tell, told) = mpsc::channel();
    let job = DumpJob::start_with(memory, BufferSink::new(), options(Format::Elf), move |r| {
        let cancelled = matches!(r, Err(Error::Failed(Fault::Cancelled)));
        tell.send(cancelled).unwrap();
    });
    while readers.load(SeqCst) == 0 {
        std::thread::yield_now();
    }
    assert_eq!(job.status(), DumpStatus::Active);
    let progress = job.progress().clone();
    let opener = std::thread::spawn(move || {
        while !progress.is_cancelled() {
            std::thread::yield_now();
        }
        drop(open);
    });
    drop(job);
    // The memory is gone with the threads that read it.
    assert_eq!(readers.load(SeqCst), usize::MAX);
    opener.join().unwrap();
    assert!(told.recv_timeout(PATIENCE).unwrap());
    assert!(told.recv().is_err());
}

#[test]
fn second_dump_while_one_is_active_is_busy() {
    let dumper = Dumper::new();
    assert_eq!(dumper.query().0, DumpStatus::None);
    let (memory, open, _) = Gated::new();
    let (tell, told) = mpsc::channel();
    let done = tell.clone();
    dumper
        .start(memory, BufferSink::new(), options(Format::Elf), move |r| {
            done.send(r.is_ok()).unwrap();
        })
        .unwrap();
    assert_eq!(dumper.query().0, DumpStatus::Active);
    let refused = dumper.start(small(), BufferSink::new(), options(Format::Elf), |_| {
        panic!("a refused dump calls nobody")
    });
    assert_eq!(refused, Err(Busy));
    dumper.cancel();
    drop(open);
    assert!(!told.recv_timeout(PATIENCE).unwrap());
    assert_eq!(dumper.query().0, DumpStatus::Failed);
    dumper
        .start(small(), BufferSink::new(), options(Format::Elf), move |r| {
            tell.send(r.is_ok()).unwrap();
        })
        .unwrap();
    assert!(told.recv_timeout(PATIENCE).unwrap());
    let (status, figures) = dumper.query();
    assert_eq!(status, DumpStatus::Completed);
    assert_eq!((figures.done, figures.total), (8 * 4096, 8 * 4096));
    assert_eq!(status.name(), "completed");
}

#[test]
fn the_callback_may_start_the_next_dump() {
    let dumper = Arc::new(Dumper::new());
    let (tell, told) = mpsc::channel();
    let next = Arc::clone(&dumper);
    let first = tell.clone();
    dumper
        .start(small(), BufferSink::new(), options(Format::Elf), move |r| {
            first.send(r.is_ok()).unwrap();
            let second = move |r: guestdump::Result<_>| tell.send(r.is_ok()).unwrap();
            next.start(small(), BufferSink::new(), options(Format::Elf), second)
                .unwrap();
        })
        .unwrap();
    assert!(told.recv_timeout(PATIENCE).unwrap());
    assert!(told.recv_timeout(PATIENCE).unwrap());
}

#[test]
fn a_start_does_not_wait_for_a_callback_that_asks_for_the_state() {
    let dumper = Arc::new(Dumper::new());
    let (tell, told) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel();
    let asking = Arc::clone(&dumper);
    let first = tell.clone();
    dumper
        .start(
            small(),
            BufferSink::new(),
            options(Format::Elf),
            move |_| {
                first.send("ended").unwrap();
                may_go_on.recv().unwrap();
                let _ = asking.query();
                asking.cancel();
                first.send("asked").unwrap();
            },
        )
        .unwrap();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "ended");
    let starting = Arc::clone(&dumper);
    let starter = std::thread::spawn(move || {
        starting.start(
            small(),
            BufferSink::new(),
            options(Format::Elf),
            move |_| {
                tell.send("second").unwrap();
            },
        )
    });
    std::thread::sleep(Duration::from_millis(50));
    go_on.send(()).unwrap();
    let words = [(); 2].map(|()| told.recv_timeout(PATIENCE).unwrap());
    assert_eq!(words, ["asked", "second"]);
    starter.join().unwrap().unwrap();
}

/// A sink whose end is a panic.
struct PanicsInDrop(BufferSink);

impl guestdump::DumpSink for PanicsInDrop {
    fn access(&mut self) -> guestdump::sink::SinkAccess<'_> {
        self.0.access()
    }
    fn finish(&mut self) -> std::io::Result<()> {
        self.0.finish()
    }
}

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("in drop");
    }
}

#[test]
fn a_panic_in_a_drop_does_not_lose_the_callback() {
    let (tell, told) = mpsc::channel();
    let sink = PanicsInDrop(BufferSink::new());
    let job = DumpJob::start_with(small(), sink, options(Format::Elf), move |r| {
        tell.send(r.is_ok()).unwrap();
    });
    assert!(told.recv_timeout(PATIENCE).unwrap());
    assert_eq!(job.status(), DumpStatus::Completed);
}

#[test]
fn dump_cancelled_before_it_begins_fails_as_cancelled() {
    let progress = Progress::new();
    progress.cancel();
    let result = guestdump::dump(
        &small(),
        &mut BufferSink::new(),
        &options(Format::KDUMP_ZLIB).progress(progress),
    );
    assert!(matches!(result, Err(Error::Failed(Fault::Cancelled))));
}

#[test]
fn the_callback_finds_its_own_dump_ended_however_fast_it_was() {
    for _ in 0..500 {
        let dumper = Arc::new(Dumper::new());
        let (tell, told) = mpsc::channel();
        let asking = Arc::clone(&dumper);
        let progress = Progress::new();
        progress.cancel();
        let options = options(Format::Elf).progress(progress);
        dumper
            .start(small(), BufferSink::new(), options, move |_| {
                tell.send(asking.query().0).unwrap();
            })
            .unwrap();
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), DumpStatus::Failed);
    }
}

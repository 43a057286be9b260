//! Sinks that fail at every write.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use guestdump::memory::MemoryRange;
use guestdump::sink::{FileSink, FileSinkOptions, SinkAccess};
use guestdump::{DumpJob, DumpSink, DumpStatus, Error, Fault, Format, GuestMemory, dump};
use testkit::PageMemory;

use super::scripted::{Other, Scripted, SinkFault};
use super::{Prepared, guest, options};

const EIO: i32 = 5;
const EAGAIN: i32 = 11;
const ENOSPC: i32 = 28;

fn sinks() -> impl Iterator<Item = (Format, bool)> {
    Format::available().flat_map(|format| {
        let streams: &[bool] = if format.needs_positions() {
            &[false]
        } else {
            &[false, true]
        };
        streams.iter().map(move |stream| (format, *stream))
    })
}

fn scripted(stream: bool, fault: Option<(usize, SinkFault)>) -> Scripted {
    Scripted {
        stream,
        fault,
        ..Scripted::default()
    }
}

/// Every kind of fault for a write of `len` bytes.
fn faults(len: usize) -> Vec<SinkFault> {
    let mut faults = vec![
        SinkFault::Interrupted(3),
        SinkFault::WroteNothing,
        SinkFault::TookMore,
        SinkFault::Panic,
    ];
    faults.extend([EIO, EAGAIN, ENOSPC].map(SinkFault::Error));
    let mut cuts = vec![1, 511, 4095, 4096, len - 1];
    cuts.sort_unstable();
    cuts.dedup();
    for cut in cuts.into_iter().filter(|cut| (1..len).contains(cut)) {
        faults.push(SinkFault::Short(cut));
        faults.push(SinkFault::ShortThenError(cut, ENOSPC));
    }
    faults
}

#[test]
fn every_write_can_fail_in_every_way() {
    let guest = Prepared::new(guest());
    let mut injected = 0;
    for (format, stream) in sinks() {
        // Of several threads the others may be at a write when one fails.
        let options = options(format).threads(1);
        let mut good = scripted(stream, None);
        dump(&guest, &mut good, &options).unwrap();
        let good = good.state.into_inner().unwrap();
        assert!(good.writes.len() > 4, "{format}");
        for (call, len) in good.writes.iter().copied().enumerate() {
            for fault in faults(len) {
                injected += 1;
                let what = format!("{format}, stream {stream}, write {call}, {fault:?}");
                let mut sink = scripted(stream, Some((call, fault)));
                let result = dump(&guest, &mut sink, &options);
                let state = sink.state.into_inner().unwrap();
                if fault.is_harmless() {
                    result.unwrap();
                    assert!(state.bytes == good.bytes, "{what}");
                    assert_eq!(state.finished, 1, "{what}");
                    continue;
                }
                let error = result.expect_err(&what);
                assert_eq!(state.finished, 0, "{what}");
                // Another thread may be at its own write.
                let others = usize::from(!stream);
                assert!(state.afterwards <= others, "{what}");
                check(&error, fault, state.failed.unwrap(), &what);
            }
        }
    }
    eprintln!("{injected} faults in sinks");
    assert!(injected > 3000, "{injected}");
}

/// Whether the error says what happened, and where.
fn check(error: &Error, fault: SinkFault, failed: (u64, usize), what: &str) {
    let expected = match fault {
        SinkFault::Panic => {
            let said = matches!(error, Error::Failed(Fault::Panicked(text)) if text == "the sink explodes");
            return assert!(said, "{what}: {error}");
        }
        SinkFault::Error(number) | SinkFault::ShortThenError(_, number) => {
            io::Error::from_raw_os_error(number).kind()
        }
        SinkFault::WroteNothing => io::ErrorKind::WriteZero,
        _ => io::ErrorKind::Other,
    };
    let Error::Failed(Fault::Write {
        offset,
        len,
        source,
    }) = error
    else {
        panic!("{what}: {error}");
    };
    assert_eq!(source.kind(), expected, "{what}");
    assert_eq!((*offset, *len), failed, "{what}");
    let text = error.to_string();
    assert!(text.contains(&format!("offset {offset}")), "{text}");
}

#[test]
fn the_other_calls_can_fail_too() {
    let guest = guest();
    for (format, stream) in sinks() {
        for other in [
            Other::FinishFails,
            Other::FinishPanics,
            Other::SetLenFails,
            Other::SetLenPanics,
            Other::AccessPanics,
        ] {
            let mut sink = Scripted {
                stream,
                other: Some(other),
                ..Scripted::default()
            };
            let result = dump(&guest, &mut sink, &options(format));
            let state = sink.state.into_inner().unwrap();
            let set_len = matches!(other, Other::SetLenFails | Other::SetLenPanics);
            if set_len && state.lengths_set == 0 {
                // Streams, and flattened dumps, have no length to set.
                result.unwrap();
                continue;
            }
            let error = result.unwrap_err();
            let right = match other {
                Other::FinishFails => matches!(error, Error::Finish(_)),
                Other::SetLenFails => {
                    matches!(error, Error::Failed(Fault::Write { offset, .. }) if offset > 0)
                }
                _ => matches!(error, Error::Failed(Fault::Panicked(_))),
            };
            assert!(right, "{format}, {other:?}: {error}");
            let finished = matches!(other, Other::FinishFails | Other::FinishPanics);
            assert_eq!(state.finished, usize::from(finished));
        }
    }
}

/// Memory or a sink that counts how many of its kind there are.
struct Counted<T>(T, Arc<AtomicUsize>);

impl<T> Counted<T> {
    fn new(inner: T, alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, SeqCst);
        Self(inner, Arc::clone(alive))
    }
}

impl<T> Drop for Counted<T> {
    fn drop(&mut self) {
        self.1.fetch_sub(1, SeqCst);
    }
}

impl GuestMemory for Counted<PageMemory> {
    fn ranges(&self) -> Vec<MemoryRange> {
        self.0.ranges()
    }
    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        self.0.read(gpa, buf)
    }
    fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
        self.0.next_populated(range)
    }
}

impl DumpSink for Counted<Scripted> {
    fn access(&mut self) -> SinkAccess<'_> {
        self.0.access()
    }
    fn finish(&mut self) -> io::Result<()> {
        self.0.finish()
    }
}

#[test]
fn a_job_calls_back_once_when_all_is_gone() {
    let mut jobs = 0;
    for (format, stream) in sinks() {
        let mut good = scripted(stream, None);
        dump(&guest(), &mut good, &options(format)).unwrap();
        let calls = good.state.into_inner().unwrap().writes.len();
        for (call, fault) in (0..calls)
            .flat_map(|call| [SinkFault::Error(ENOSPC), SinkFault::Panic].map(|f| (call, f)))
        {
            jobs += 1;
            let alive = Arc::new(AtomicUsize::new(0));
            let (tell, told) = mpsc::channel();
            let seen = Arc::clone(&alive);
            let job = DumpJob::start_with(
                Counted::new(guest(), &alive),
                Counted::new(scripted(stream, Some((call, fault))), &alive),
                options(format).threads(3),
                move |result| tell.send((result.is_err(), seen.load(SeqCst))).unwrap(),
            );
            // Failed, and neither memory nor sink is in anybody's hands.
            let patience = Duration::from_secs(60);
            assert_eq!(told.recv_timeout(patience).unwrap(), (true, 0));
            assert_eq!(job.status(), DumpStatus::Failed);
            assert!(job.wait().is_err());
            assert!(told.recv().is_err(), "a second call");
        }
    }
    eprintln!("{jobs} jobs with a fault");
    assert!(jobs > 100, "{jobs}");
}

/// A file that fails when it should get its name.
struct Unnamed {
    file: FileSink,
    panics: bool,
}

impl DumpSink for Unnamed {
    fn access(&mut self) -> SinkAccess<'_> {
        self.file.access()
    }
    fn finish(&mut self) -> io::Result<()> {
        if self.panics {
            std::panic::resume_unwind(Box::new("no name"));
        }
        Err(io::Error::from_raw_os_error(EIO))
    }
}

#[test]
fn a_file_that_gets_no_name_leaves_what_was_there() {
    let guest = guest();
    for format in Format::available() {
        for (panics, exists) in [(false, false), (false, true), (true, false), (true, true)] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("x");
            if exists {
                std::fs::write(&path, b"what was there").unwrap();
            }
            let how = FileSinkOptions::new().overwrite(exists);
            let file = FileSink::create(&path, how).unwrap();
            let mut sink = Unnamed { file, panics };
            let error = dump(&guest, &mut sink, &options(format)).unwrap_err();
            let right = if panics {
                matches!(error, Error::Failed(Fault::Panicked(_)))
            } else {
                matches!(error, Error::Finish(_))
            };
            assert!(right, "{format}: {error}");
            drop(sink);
            let left = std::fs::read_dir(folder.path()).unwrap().count();
            assert_eq!(left, usize::from(exists), "{format}");
            let old = std::fs::read(&path).ok();
            assert_eq!(old, exists.then(|| b"what was there".to_vec()));
        }
    }
}

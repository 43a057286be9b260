//! What can go wrong with a QEMU, and that the guest runs again.

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use guestdump::guest::windows::{BugcheckData, HeaderSource};
use guestdump::qemu::{Interference, QemuError, QemuGuest, QemuOptions};
use guestdump::sink::{BufferSink, PositionedSink, SinkAccess, StreamSink};
use guestdump::{DumpSink, Error, Fault, Format, GuestMemory, Progress};
use serde_json::json;
use testkit::Folder;
use testkit::swap::swap;
use testkit::windows::{HeaderBytes, header_64, with_header};

use super::fake::{Fake, RIP, SIZE, Trick};

fn connect(fake: &Fake) -> Result<QemuGuest, QemuError> {
    QemuGuest::connect(fake.path(), QemuOptions::default())
}

fn stop(fake: &Fake) -> Result<QemuGuest, QemuError> {
    let mut guest = connect(fake)?;
    guest.stop()?;
    Ok(guest)
}

#[test]
fn a_guest_is_stopped_dumped_and_resumed() {
    let fake = Fake::start("running");
    let mut guest = connect(&fake).unwrap();
    assert!(matches!(
        guest.options(Format::Elf),
        Err(QemuError::Running)
    ));
    guest.stop().unwrap();
    guest.stop().unwrap();
    assert_eq!(fake.status(), "paused");
    assert_eq!(fake.count("stop"), 1);
    let mut page = [0; 4096];
    guest.read(0x5000, &mut page).unwrap();
    assert_eq!(page[..8], 5u64.to_le_bytes());
    assert!(guest.read(SIZE as u64 - 8, &mut page).is_err());

    let options = guest.options(Format::Elf).unwrap();
    let mut sink = BufferSink::new();
    let summary = guest.dump(&mut sink, &options).unwrap();
    assert_eq!(summary.pages, SIZE as u64 / 4096);
    let info = summary.vmcoreinfo.unwrap().info;
    assert_eq!(info.osrelease(), "6.1.0-fake");
    assert_eq!(fake.status(), "running");
    let standstill = guest.resume().unwrap();
    assert!(standstill.duration.unwrap() > Duration::ZERO);
    assert_eq!(standstill.interference, None);
    assert_eq!(fake.count("cont"), 1);
    let bytes = sink.into_bytes();
    assert!(bytes.windows(8).any(|w| w == RIP.to_le_bytes()));
    assert!(
        bytes
            .windows(SIZE - 4096)
            .any(|w| *w == fake.memory[4096..])
    );
}

#[test]
fn memory_that_the_host_has_swapped_out_is_dumped() {
    let Some(swap) = swap(env!("CARGO_TARGET_TMPDIR")) else {
        return;
    };
    let fake = Fake::start("running");
    let guest = stop(&fake).unwrap();
    let options = guest.options(Format::Elf).unwrap();
    if !swap.out(fake.memory.as_ptr(), SIZE) {
        return;
    }
    let mut sink = BufferSink::new();
    let summary = guest.dump(&mut sink, &options).unwrap();
    assert_eq!(summary.zero_pages, 1);
    let all = &fake.memory[4096..];
    assert!(sink.into_bytes().windows(all.len()).any(|w| *w == *all));
}

/// The bug check of a Windows dump.
fn bugcheck(fake: &Fake) -> BugcheckData {
    let guest = stop(fake).unwrap();
    let header = HeaderSource::Given(header_64(0x1000).bytes());
    let options = guest.options(Format::WIN_DMP).unwrap();
    let options = with_header(options, header);
    let summary = guest.dump(&mut BufferSink::new(), &options).unwrap();
    summary.windows.unwrap().bugcheck
}

#[test]
fn a_windows_dump_has_what_the_guest_told_of_its_crash() {
    // The first CPU has not crashed.
    let fake = Fake::tricky("qom-get", Trick::Refuse);
    let told = BugcheckData::from_crash_registers([0x1e, 1, 2, 3, u64::MAX]);
    assert_eq!(bugcheck(&fake), told);
    assert_eq!(fake.count("qom-get"), 2);
    // No CPU told of one.
    let nothing = Fake::tricky("query-cpus-fast", Trick::Answer(json!([])));
    assert_eq!(bugcheck(&nothing), BugcheckData::LIVE);
    // Other formats do not ask.
    let fake = Fake::start("running");
    stop(&fake).unwrap().options(Format::Elf).unwrap();
    assert_eq!(fake.count("query-cpus-fast"), 0);
}

#[test]
fn a_guest_that_stands_still_is_left_so() {
    for status in ["paused", "prelaunch", "guest-panicked"] {
        let fake = Fake::start(status);
        let guest = stop(&fake).unwrap();
        let options = guest.options(Format::Elf).unwrap();
        guest.dump(&mut BufferSink::new(), &options).unwrap();
        assert_eq!(guest.resume().unwrap().duration, None);
        drop(guest);
        assert_eq!(fake.status(), status);
        assert_eq!(fake.count("cont"), 0);
    }
}

struct Full;

impl Write for Full {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_guest_is_resumed_after_an_error() {
    let fake = Fake::start("running");
    let guest = stop(&fake).unwrap();
    let options = guest.options(Format::KDUMP_ZLIB).unwrap();
    let error = guest.dump(&mut StreamSink::new(Full), &options);
    assert!(matches!(error, Err(Error::Failed(Fault::Write { .. }))));
    assert_eq!(fake.status(), "running");
}

/// A sink that fails at a write, by an error or a panic.
struct FailsAt {
    left: AtomicUsize,
    panics: bool,
    stream: bool,
}

impl FailsAt {
    fn take(&self, buf: &[u8]) -> io::Result<usize> {
        let less = |left: usize| left.checked_sub(1);
        match self.left.fetch_update(SeqCst, SeqCst, less) {
            Ok(_) => Ok(buf.len()),
            // A panic without the message.
            Err(_) if self.panics => resume_unwind(Box::new("on purpose")),
            Err(_) => Err(io::ErrorKind::StorageFull.into()),
        }
    }
}

impl DumpSink for FailsAt {
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

impl PositionedSink for FailsAt {
    fn write_at(&self, _: u64, buf: &[u8]) -> io::Result<usize> {
        self.take(buf)
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        Ok(())
    }
}

impl Write for FailsAt {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.take(buf)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_guest_is_resumed_whatever_write_fails() {
    let mut writes = 0;
    for format in Format::available() {
        for stream in [false, true] {
            if stream && format.needs_positions() {
                continue;
            }
            let failed = dumps_that_fail(format, stream);
            assert!(failed > 2, "{format}: {failed}");
            writes += failed;
        }
    }
    eprintln!("{writes} writes of a live guest's dumps failed");
}

/// Dumps of a live guest, until one succeeds; how many failed.
fn dumps_that_fail(format: Format, stream: bool) -> usize {
    let mut failed = 0;
    for panics in [false, true] {
        for at in 0.. {
            let fake = Fake::start("running");
            let guest = stop(&fake).unwrap();
            let mut options = guest.options(format).unwrap().threads(2);
            if format.is_windows() {
                let header = HeaderSource::Given(header_64(0x1000).bytes());
                options = with_header(options, header);
            }
            let mut sink = FailsAt {
                left: at.into(),
                panics,
                stream,
            };
            let result = guest.dump(&mut sink, &options);
            assert_eq!(fake.status(), "running", "{format}, write {at}");
            assert_eq!(fake.count("cont"), 1, "{format}, write {at}");
            match result {
                Ok(_) => break,
                Err(Error::Failed(Fault::Panicked(_))) => assert!(panics),
                Err(Error::Failed(Fault::Write { .. })) => assert!(!panics),
                Err(error) => panic!("{format}, write {at}: {error}"),
            }
            failed += 1;
        }
    }
    failed
}

#[test]
fn only_a_guest_that_a_dump_may_have_left_is_resumed() {
    let resume = |fake: &Fake| guestdump::qemu::resume_abandoned(fake.path());
    let fake = Fake::start("paused");
    assert!(resume(&fake).unwrap());
    assert_eq!(fake.status(), "running");
    let fake = Fake::start("running");
    assert!(!resume(&fake).unwrap());
    assert_eq!(fake.count("cont"), 0);
    for status in [
        "prelaunch",
        "postmigrate",
        "guest-panicked",
        "shutdown",
        "save-vm",
    ] {
        let fake = Fake::start(status);
        let error = resume(&fake).unwrap_err();
        assert!(
            matches!(&error, QemuError::NotPaused { status: found } if found == status),
            "{error}"
        );
        assert_eq!((fake.status(), fake.count("cont")), (status.to_owned(), 0));
    }
    // It says that it did, and did not.
    let fake = Fake::start("paused");
    fake.trick("cont", Trick::Answer(json!({})));
    let error = resume(&fake).unwrap_err();
    assert!(matches!(error, QemuError::NotResumed { .. }), "{error}");
}

#[test]
fn a_guest_is_resumed_by_a_panic() {
    let fake = Fake::start("running");
    let guest = stop(&fake).unwrap();
    let result = catch_unwind(AssertUnwindSafe(|| {
        let _guest = guest;
        panic!("on purpose");
    }));
    assert!(result.is_err());
    assert_eq!(fake.status(), "running");
}

#[test]
fn another_thread_can_resume() {
    let fake = Fake::start("running");
    let guest = stop(&fake).unwrap();
    let resumer = guest.resumer();
    std::thread::spawn(move || resumer.resume().unwrap())
        .join()
        .unwrap();
    assert_eq!(fake.status(), "running");
    drop(guest);
    assert_eq!(fake.count("cont"), 1);
}

#[test]
fn a_command_that_fails_lets_the_guest_run() {
    // Whatever QEMU answers, of each command that is run on a stopped guest.
    for command in ["stop", "info mtree -f", "query-memdev", "dump-guest-memory"] {
        for trick in [Trick::Refuse, Trick::Answer(json!({"no": "sense"}))] {
            let fake = Fake::start("running");
            let mut guest = connect(&fake).unwrap();
            fake.trick(command, trick.clone());
            let result = guest.stop();
            match (command, trick) {
                (_, Trick::Refuse) => {
                    let message = result.unwrap_err().to_string();
                    let command = command.strip_prefix("info").map_or(command, |_| "human");
                    assert!(message.contains(command), "{message}");
                    assert!(message.contains("not today"), "{message}");
                }
                // Not a list of backends: no RAM.
                (_, _) => assert!(result.is_err(), "{command}"),
            }
            assert_eq!(fake.status(), "running", "{command}");
            drop(guest);
            assert_eq!(fake.status(), "running", "{command}");
        }
    }
}

#[test]
fn a_socket_that_vanishes_is_an_error_at_once() {
    for command in ["qmp_capabilities", "getfd", "stop", "dump-guest-memory"] {
        let fake = Fake::tricky(command, Trick::Close);
        let begun = Instant::now();
        let error = stop(&fake).unwrap_err();
        assert!(
            matches!(&error, QemuError::Closed { command: at } if at == command),
            "{error}"
        );
        assert!(begun.elapsed() < Duration::from_secs(3));
    }
    // Also when all is written.
    let fake = Fake::start("running");
    let guest = stop(&fake).unwrap();
    fake.trick("query-status", Trick::Close);
    let options = guest.options(Format::Elf).unwrap();
    assert!(guest.dump(&mut BufferSink::new(), &options).is_ok());
    assert!(matches!(guest.resume(), Err(QemuError::Closed { .. })));
}

#[test]
fn a_guest_that_somebody_else_touches_is_reported() {
    for (event, status, expected, conts) in [
        ("RESUME", "running", Interference::Resumed, 0),
        ("RESUME", "paused", Interference::Resumed, 0),
        ("RESET", "paused", Interference::Reset, 1),
        (
            "SHUTDOWN",
            "shutdown",
            Interference::Status("shutdown".into()),
            0,
        ),
    ] {
        let fake = Fake::start("running");
        let guest = stop(&fake).unwrap();
        fake.trick("query-status", Trick::Event(event, status));
        assert_eq!(guest.resume().unwrap().interference, Some(expected));
        assert_eq!(fake.count("cont"), conts, "{event}");
    }
}

#[test]
fn waiting_ends_when_the_dump_is_cancelled() {
    let fake = Fake::tricky("stop", Trick::Silence);
    let progress = Progress::new();
    let options = QemuOptions::new().progress(progress.clone());
    let mut guest = QemuGuest::connect(fake.path(), options).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            fake.wait_for("stop");
            progress.cancel();
        });
        assert!(matches!(guest.stop(), Err(QemuError::Cancelled)));
    });
    // It may have stopped all the same.
    assert_eq!(fake.count("cont"), 1);
}

#[test]
fn what_is_not_qemu_is_told_apart() {
    for line in ["SSH-2.0-OpenSSH_9.2", r#"{"ready": true}"#, "[]"] {
        let fake = Fake::tricky("greeting", Trick::Line(line));
        let error = connect(&fake).unwrap_err();
        assert!(matches!(error, QemuError::NotQmp(_)), "{error}");
    }
    let fake = Fake::tricky("greeting", Trick::Silence);
    let error = connect(&fake).unwrap_err();
    assert!(matches!(error, QemuError::NoGreeting { .. }), "{error}");
    let fake = Fake::tricky("query-memdev", Trick::Line("{\"return\": 1, \"id"));
    fake.trick("query-memdev", Trick::Line("no JSON"));
    assert!(matches!(connect(&fake), Err(QemuError::NotQmp(_))));
}

#[test]
fn addresses_that_are_not_mapped_are_refused() {
    let refused = |answer: &str| {
        let fake = Fake::tricky("gpa2hva 0x0", Trick::Answer(json!(answer)));
        connect(&fake).unwrap_err()
    };
    for address in [0x1000, 0xffff_ffff_ffff_f000] {
        let answer = format!("Host virtual address for 0x0 (ram0) is {address:#x}");
        let error = refused(&answer);
        assert!(
            matches!(error, QemuError::NotMapped { hva, gpa: 0, .. } if hva == address),
            "{error}"
        );
    }
    for text in [
        "Host virtual address for 0x0 (ram0) is 0x1001",
        "No memory is mapped at address 0x0",
    ] {
        let error = refused(text);
        assert!(
            matches!(&error, QemuError::Answer { command, answer }
                if command == "gpa2hva 0x0" && answer == text),
            "{error}"
        );
    }
}

#[test]
fn the_command_says_it_in_one_line() {
    let folder = Folder::new();
    folder
        .run("dump --from qmp:nothing --to x")
        .fails(1, &["nothing", "cannot connect", "No such file"]);
    folder
        .run("dump --from demo:16M --to x --include rom")
        .fails(2, &["--include", "qmp:"]);
    folder
        .run("dump --from qmp:x --to x --include ram")
        .fails(2, &["--include", "vram"]);
    let fake = Fake::tricky("dump-guest-memory", Trick::Refuse);
    let source = format!("qmp:{}", fake.path().display());
    folder
        .run(&format!("dump --from {source} --to x"))
        .fails(1, &["dump-guest-memory", "not today"]);
    assert_eq!(fake.status(), "running");
    assert_eq!(folder.names(), [""; 0]);
}

#[test]
fn a_guest_that_cannot_be_resumed_is_said_so() {
    let folder = Folder::new();
    let fake = Fake::tricky("cont", Trick::Refuse);
    let source = format!("qmp:{}", fake.path().display());
    // The guard tries again, which is allowed to work; the dump is good.
    let run = folder.run(&format!("dump --from {source} --to x --format elf --json"));
    assert_eq!(run.code(), 0, "{}", run.stderr());
    assert_eq!(fake.status(), "running");
    let fake = Fake::tricky("cont", Trick::Close);
    let source = format!("qmp:{}", fake.path().display());
    let run = folder.run(&format!("dump --from {source} --to y --format elf --json"));
    assert_eq!(run.code(), 1);
    assert!(run.stderr().contains("cont"), "{}", run.stderr());
    folder.run("check y").ok();
}

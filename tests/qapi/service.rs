//! The service: one dump at a time, its state, its event, and a guest that
//! always runs again.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use guestdump::Machine;
use guestdump::qapi::{
    ArgumentsError, CommandError, DumpGuestMemoryArguments, DumpGuestMemoryCapability,
    DumpGuestMemoryFormat, DumpQueryResult, DumpService, DumpStatus, PausedGuest,
};

use crate::vm::{Events, PATIENCE, TOTAL, Trouble, Vm, to};

fn no_fd(_: &str) -> Option<OwnedFd> {
    None
}

fn vmcore(folder: &tempfile::TempDir) -> (std::path::PathBuf, String) {
    let path = folder.path().join("vmcore");
    let protocol = format!("file:{}", path.display());
    (path, protocol)
}

/// The only event there is.
#[track_caller]
fn one_event(events: &Events) -> (DumpQueryResult, Option<String>) {
    let (event, running) = events.recv_timeout(PATIENCE).unwrap();
    assert!(
        running,
        "the guest runs again before anybody hears of the end"
    );
    assert!(events.try_recv().is_err(), "exactly one event");
    (event.result, event.error)
}

#[test]
fn a_dump_pauses_writes_resumes_and_tells() {
    let folder = tempfile::tempdir().unwrap();
    let (path, protocol) = vmcore(&folder);
    let (vm, events) = Vm::new(Trouble::None);
    let service = DumpService::new(Arc::clone(&vm));
    assert_eq!(service.query_dump(), DumpQueryResult::default());
    let summary = service.dump_guest_memory(&to(&protocol), no_fd).unwrap();
    assert_eq!(summary.unwrap().pages, 9);
    assert_eq!(vm.counts(), (1, 1, true));
    let expected = DumpQueryResult {
        status: DumpStatus::Completed,
        completed: TOTAL,
        total: TOTAL,
    };
    assert_eq!(service.query_dump(), expected);
    assert_eq!(one_event(&events), (expected, None));
    assert_eq!(&std::fs::read(path).unwrap()[..4], b"\x7fELF");
}

#[test]
fn a_guest_that_stood_still_before_stays_so() {
    let folder = tempfile::tempdir().unwrap();
    let (_, protocol) = vmcore(&folder);
    for trouble in [Trouble::None, Trouble::ReadFails, Trouble::PauseFails] {
        let (vm, _events) = Vm::new(trouble);
        vm.running.store(false, SeqCst);
        let service = DumpService::new(Arc::clone(&vm));
        let result = service.dump_guest_memory(&to(&protocol), no_fd);
        assert_eq!(result.is_ok(), trouble == Trouble::None);
        assert_eq!(vm.counts(), (1, 0, false), "{trouble:?}");
    }
}

#[test]
fn the_guest_runs_again_whatever_goes_wrong_in_the_dump() {
    let folder = tempfile::tempdir().unwrap();
    let (path, protocol) = vmcore(&folder);
    for (trouble, text) in [
        (Trouble::ReadFails, "poisoned"),
        (Trouble::ReadPanics, "explosive"),
    ] {
        for detach in [None, Some(true)] {
            let (vm, events) = Vm::new(trouble);
            let service = DumpService::new(Arc::clone(&vm));
            let arguments = DumpGuestMemoryArguments {
                detach,
                ..to(&protocol)
            };
            let result = service.dump_guest_memory(&arguments, no_fd);
            match detach {
                None => assert!(matches!(result, Err(CommandError::Dump(_)))),
                Some(_) => assert!(matches!(result, Ok(None))),
            }
            let (result, error) = one_event(&events);
            assert_eq!((result.status, result.total), (DumpStatus::Failed, TOTAL));
            let error = error.unwrap();
            assert!(error.contains(text), "{error}");
            assert_eq!(service.query_dump(), result);
            assert_eq!(vm.counts(), (1, 1, true));
            assert!(!path.exists());
        }
    }
}

#[test]
fn the_guest_runs_again_whatever_goes_wrong_before_the_dump() {
    let folder = tempfile::tempdir().unwrap();
    let (path, protocol) = vmcore(&folder);
    for trouble in [
        Trouble::PauseFails,
        Trouble::MemoryFails,
        Trouble::RegistersFail,
        Trouble::NoRam,
    ] {
        let (vm, events) = Vm::new(trouble);
        let service = DumpService::new(Arc::clone(&vm));
        let error = service
            .dump_guest_memory(&to(&protocol), no_fd)
            .unwrap_err();
        match trouble {
            Trouble::PauseFails => assert!(matches!(error, CommandError::Pause(_))),
            Trouble::NoRam => assert!(matches!(
                error,
                CommandError::Arguments(ArgumentsError::NoMemory)
            )),
            _ => assert!(matches!(error, CommandError::Guest(_))),
        }
        assert_eq!(vm.counts(), (1, 1, true), "{trouble:?}");
        assert_eq!(service.query_dump().status, DumpStatus::Failed);
        assert!(events.try_recv().is_err(), "no dump, no event");
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
        assert!(!path.exists());
    }
}

#[test]
fn the_guest_runs_again_after_a_panic_of_the_monitor() {
    let folder = tempfile::tempdir().unwrap();
    let (_, protocol) = vmcore(&folder);
    for trouble in [Trouble::PausePanics, Trouble::RegistersPanic] {
        let (vm, _events) = Vm::new(trouble);
        let service = DumpService::new(Arc::clone(&vm));
        let dump = || service.dump_guest_memory(&to(&protocol), no_fd);
        assert!(catch_unwind(AssertUnwindSafe(dump)).is_err());
        assert_eq!(vm.counts(), (1, 1, true), "{trouble:?}");
        assert!(!service.is_active());
    }
}

#[test]
fn a_panic_in_resume_stays_there() {
    let folder = tempfile::tempdir().unwrap();
    let (_, protocol) = vmcore(&folder);
    let (vm, events) = Vm::new(Trouble::ResumePanics);
    let service = DumpService::new(Arc::clone(&vm));
    service.dump_guest_memory(&to(&protocol), no_fd).unwrap();
    assert_eq!(one_event(&events).0.status, DumpStatus::Completed);
    assert_eq!(vm.counts(), (1, 1, true));
}

#[test]
fn detached_the_command_returns_while_the_dump_is_active() {
    let folder = tempfile::tempdir().unwrap();
    let (path, protocol) = vmcore(&folder);
    let (vm, events) = Vm::new(Trouble::None);
    let open = vm.shut_gate();
    let service = DumpService::new(Arc::clone(&vm));
    let arguments = DumpGuestMemoryArguments {
        detach: Some(true),
        ..to(&protocol)
    };
    let detached = service.dump_guest_memory(&arguments, no_fd).unwrap();
    assert!(detached.is_none());
    assert_eq!(
        vm.counts(),
        (1, 0, false),
        "paused when the command returns"
    );
    let active = service.query_dump();
    assert_eq!((active.status, active.total), (DumpStatus::Active, TOTAL));
    assert!(active.completed < TOTAL);
    let refused = service.dump_guest_memory(&arguments, no_fd).unwrap_err();
    assert!(matches!(
        refused,
        CommandError::Arguments(ArgumentsError::Busy(_))
    ));
    assert_eq!(vm.counts(), (1, 0, false), "a refused dump pauses nobody");
    drop(open);
    let (result, error) = one_event(&events);
    assert_eq!(
        (result.status, result.completed),
        (DumpStatus::Completed, TOTAL)
    );
    assert_eq!(error, None);
    assert_eq!(vm.counts(), (1, 1, true));
    assert!(path.exists());
    // The next one may begin.
    assert!(service.dump_guest_memory(&to(&protocol), no_fd).is_ok());
    assert_eq!(vm.counts(), (2, 2, true));
}

#[test]
fn not_detached_the_dump_is_seen_as_active_from_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let (_, protocol) = vmcore(&folder);
    let (vm, events) = Vm::new(Trouble::None);
    let open = vm.shut_gate();
    let service = DumpService::new(Arc::clone(&vm));
    std::thread::scope(|scope| {
        let dump = scope.spawn(|| service.dump_guest_memory(&to(&protocol), no_fd));
        while service.query_dump().total == 0 {
            std::thread::yield_now();
        }
        assert!(service.is_active());
        drop(open);
        assert!(dump.join().unwrap().unwrap().is_some());
    });
    // It has come already: the command returns after the event.
    assert!(events.try_recv().is_ok());
}

#[test]
fn a_cancelled_and_a_dropped_dump_resume_the_guest() {
    for dropped in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (path, protocol) = vmcore(&folder);
        let (vm, events) = Vm::new(Trouble::None);
        let open = vm.shut_gate();
        let service = DumpService::new(Arc::clone(&vm));
        let arguments = DumpGuestMemoryArguments {
            detach: Some(true),
            ..to(&protocol)
        };
        service.dump_guest_memory(&arguments, no_fd).unwrap();
        service.cancel();
        drop(open);
        if dropped {
            drop(service);
            // It waited for the end.
            assert_eq!(vm.counts(), (1, 1, true));
        }
        let (result, error) = one_event(&events);
        assert_eq!(result.status, DumpStatus::Failed);
        assert!(error.unwrap().contains("cancelled"));
        assert_eq!(vm.counts(), (1, 1, true));
        assert!(!path.exists());
    }
}

#[test]
fn a_refused_dump_leaves_the_last_ones_state_and_the_guest_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (_, protocol) = vmcore(&folder);
    let (vm, _events) = Vm::new(Trouble::None);
    let service = DumpService::new(Arc::clone(&vm));
    let refuse = |protocol: &str| match service.dump_guest_memory(&to(protocol), no_fd) {
        Err(CommandError::Arguments(error)) => error,
        other => panic!("{other:?}"),
    };
    assert!(matches!(refuse("tcp:host"), ArgumentsError::Protocol(_)));
    assert!(matches!(refuse("fd:9"), ArgumentsError::UnknownFd(name) if name == "9"));
    assert!(matches!(refuse("file:"), ArgumentsError::Open { .. }));
    assert!(matches!(
        refuse("file:/no/such/folder/x"),
        ArgumentsError::Open { .. }
    ));
    assert_eq!(service.query_dump().status, DumpStatus::None);
    assert_eq!(vm.counts(), (0, 0, true));
    service.dump_guest_memory(&to(&protocol), no_fd).unwrap();
    refuse("fd:9");
    assert_eq!(service.query_dump().status, DumpStatus::Completed);
    assert_eq!(vm.counts(), (1, 1, true));
}

#[test]
fn file_descriptors_come_by_name_and_raw_formats_need_a_file() {
    let (vm, _events) = Vm::new(Trouble::None);
    let service = DumpService::new(vm);
    let raw = DumpGuestMemoryArguments {
        format: Some(DumpGuestMemoryFormat::KdumpRawZlib.into()),
        ..to("fd:dump")
    };
    let flattened = DumpGuestMemoryArguments {
        format: Some(DumpGuestMemoryFormat::KdumpZlib.into()),
        ..to("fd:dump")
    };
    let begins = |mut from: File, with: &[u8]| {
        let mut start = vec![0; with.len()];
        from.read_exact(&mut start).unwrap();
        assert_eq!(start, with);
    };
    if cfg!(feature = "zlib") {
        let pipe = || std::io::pipe().unwrap();
        let (_reader, writer) = pipe();
        let refused = service.dump_guest_memory(&raw, |_| Some(writer.into()));
        assert!(matches!(
            refused,
            Err(CommandError::Arguments(ArgumentsError::NotSeekable { .. }))
        ));
        let (reader, writer) = pipe();
        let fd = |name: &str| (name == "dump").then(|| writer.into());
        service.dump_guest_memory(&flattened, fd).unwrap();
        begins(OwnedFd::from(reader).into(), b"makedumpfile");
        let path = tempfile::NamedTempFile::new().unwrap();
        let file = File::options().write(true).open(path.path()).unwrap();
        service
            .dump_guest_memory(&raw, |_| Some(file.into()))
            .unwrap();
        begins(path.reopen().unwrap(), b"KDUMP   ");
    }
}

#[test]
fn begin_and_length_select_and_must_meet_ram() {
    let (vm, _events) = Vm::new(Trouble::None);
    let service = DumpService::new(Arc::clone(&vm));
    let folder = tempfile::tempdir().unwrap();
    let (_, protocol) = vmcore(&folder);
    let part = |begin: i64, length: i64| DumpGuestMemoryArguments {
        begin: Some(begin),
        length: Some(length),
        ..to(&protocol)
    };
    let summary = service
        .dump_guest_memory(&part(4096, 1 << 20), no_fd)
        .unwrap();
    assert_eq!(summary.unwrap().pages, 8);
    assert_eq!(service.query_dump().total, 8 * 4096);
    let refused = service.dump_guest_memory(&part(1 << 30, i64::MAX), no_fd);
    assert!(matches!(
        refused,
        Err(CommandError::Arguments(ArgumentsError::NoMemory))
    ));
    assert_eq!(vm.counts(), (2, 2, true));
}

#[test]
fn every_format_of_the_capability_list_is_written_with_begin_and_length() {
    let (vm, _events) = Vm::new(Trouble::None);
    let service = DumpService::new(vm);
    let folder = tempfile::tempdir().unwrap();
    let (_, protocol) = vmcore(&folder);
    let formats = DumpGuestMemoryCapability::available(Machine::X86_64).formats;
    // Without Windows in it: tests/qapi/windows.rs has those.
    let linux = formats
        .into_iter()
        .filter(|name| !name.format().is_windows());
    for name in linux {
        let arguments = DumpGuestMemoryArguments {
            begin: Some(0),
            length: Some(8192),
            format: Some(name.into()),
            ..to(&protocol)
        };
        let summary = service.dump_guest_memory(&arguments, no_fd).unwrap();
        let summary = summary.unwrap();
        assert_eq!((summary.format, summary.pages), (name.format(), 2));
    }
}

#[test]
fn the_guard_alone_resumes_once_also_by_a_panic() {
    let (vm, _events) = Vm::new(Trouble::None);
    let paused = PausedGuest::pause(Arc::clone(&vm)).unwrap();
    assert!(paused.was_running());
    let nested = PausedGuest::pause(Arc::clone(&vm)).unwrap();
    assert!(!nested.was_running());
    drop(nested);
    assert_eq!(vm.counts(), (2, 0, false));
    let unwound = catch_unwind(AssertUnwindSafe(move || {
        let _paused = paused;
        panic!("while it stands still");
    }));
    assert!(unwound.is_err());
    assert_eq!(vm.counts(), (2, 1, true));
}

#[test]
fn of_many_commands_at_once_each_is_served_or_busy_and_pauses_pair_with_resumes() {
    let folder = tempfile::tempdir().unwrap();
    let (vm, events) = Vm::new(Trouble::None);
    let service = DumpService::new(Arc::clone(&vm));
    let one_client = &|client: usize| {
        let arguments = to(&format!("file:{}/{client}", folder.path().display()));
        let served = |_: &usize| match service.dump_guest_memory(&arguments, no_fd) {
            Ok(summary) => summary.unwrap().pages == 9,
            Err(CommandError::Arguments(ArgumentsError::Busy(_))) => false,
            Err(other) => panic!("{other:?}"),
        };
        (0..50).filter(served).count()
    };
    let served: usize = std::thread::scope(|scope| {
        let clients = [0, 1, 2, 3].map(|client| scope.spawn(move || one_client(client)));
        clients.into_iter().map(|c| c.join().unwrap()).sum()
    });
    assert!(served > 0);
    assert_eq!(vm.counts(), (served, served, true));
    // Meanwhile the next dump may have paused the guest again.
    assert_eq!(events.try_iter().count(), served);
}

#[test]
fn paging_is_passed_on() {
    let folder = tempfile::tempdir().unwrap();
    let (_, protocol) = vmcore(&folder);
    let (vm, _events) = Vm::new(Trouble::None);
    let service = DumpService::new(Arc::clone(&vm));
    let arguments = DumpGuestMemoryArguments {
        paging: true,
        ..to(&protocol)
    };
    let summary = service.dump_guest_memory(&arguments, no_fd).unwrap();
    assert!(summary.unwrap().paging.is_some());
}

//! Dumps of a guest under the real QEMU.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use guestdump::elf::note::{Note, VMCOREINFO};
use guestdump::qemu::{QemuGuest, QemuOptions};
use guestdump::read::Vmcore;
use guestdump::{Format, GuestMemory, MemoryRange};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use testkit::qemu::{Backend, Qemu, RAM};
use testkit::{Folder, Run};

/// Each page that is in `expected` is in `dump`, with the same bytes; gives
/// the number of bytes.
fn same_memory(dump: &Vmcore, expected: &Vmcore) -> u64 {
    let mut total = 0;
    for range in expected.ranges() {
        let mut at = range.start();
        while at < range.end() {
            let len = (range.end() - at).min(1 << 20) as usize;
            let (mut a, mut b) = (vec![0; len], vec![0; len]);
            dump.read(at, &mut a).unwrap();
            expected.read(at, &mut b).unwrap();
            assert!(a == b, "{len} bytes at {at:#x} differ");
            at += len as u64;
        }
        total += range.size();
    }
    total
}

fn size(dump: &Vmcore) -> u64 {
    dump.ranges().iter().map(|range| range.size()).sum()
}

fn open(folder: &Folder, name: &str) -> Vmcore {
    Vmcore::open(File::open(folder.path(name)).unwrap()).unwrap()
}

fn cpu_notes(dump: &Vmcore) -> Vec<Note<'_>> {
    let notes = dump.notes().map(|note| note.unwrap().1);
    notes.filter(|note| !note.is(VMCOREINFO, 0)).collect()
}

fn equals_qemus_dump(backend: Backend) {
    let Some(mut qemu) = Qemu::start(backend) else {
        return;
    };
    let folder = Folder::new();
    qemu.command("stop", json!({}));
    let allocated = |qemu: &Qemu| std::fs::metadata(qemu.path("ram")).map_or(0, |m| m.blocks());
    let before = allocated(&qemu);
    let source = qemu.source();
    let dump = |more: &str| folder.run(&format!("dump --from {source} {more}"));
    dump("--to ram --format elf").ok();
    let all = dump("--to all --format kdump-raw-snappy --include rom,vram --json").json();
    assert_eq!(all["standstill_seconds"], Value::Null);
    assert_eq!(all["interference"], Value::Null);
    assert_eq!(allocated(&qemu), before, "a dump must not allocate memory");
    assert_eq!(qemu.status(), "paused");

    let path = folder.path("qemu");
    qemu.command(
        "dump-guest-memory",
        json!({"paging": false, "protocol": format!("file:{}", path.display())}),
    );
    let (ram, all) = (open(&folder, "ram"), open(&folder, "all"));
    let expected = open(&folder, "qemu");
    assert_eq!(cpu_notes(&ram), cpu_notes(&expected));
    assert_eq!(cpu_notes(&all), cpu_notes(&expected));
    // QEMU dumps ROMs, and video memory that the guest has mapped.
    assert_eq!(size(&all), same_memory(&all, &expected));
    assert_eq!(same_memory(&all, &ram), size(&ram));
    assert!(size(&ram) > RAM - (1 << 20) && size(&ram) <= RAM);
    assert!(ram.ranges().iter().all(|range| range.end() <= RAM));
    let mut word = [0; 8];
    ram.read(0x123_4560, &mut word).unwrap();
    assert_eq!(u64::from_le_bytes(word), 0x123_4560);
    for name in ["ram", "all"] {
        folder.run(&format!("check {name}")).ok();
    }
    let info = folder.run("info ram --json").json();
    assert_eq!(
        info["cpus"][0]["registers"]["kernel_gs_base"],
        "0xffff888012345000"
    );

    qemu.command("cont", json!({}));
    let summary = dump("--to running --json").json();
    assert!(summary["standstill_seconds"].as_f64().unwrap() > 0.0);
    assert!(qemu.is_running());
    let text = dump("--to running --force");
    assert_eq!(text.code(), 0);
    assert!(text.stderr().contains("stood still"), "{}", text.stderr());
    assert!(qemu.is_running());
}

#[test]
fn anonymous_memory_is_dumped_as_by_qemu() {
    equals_qemus_dump(Backend::Anonymous);
}

#[test]
fn memory_that_is_kept_out_of_cores_is_dumped_as_by_qemu() {
    equals_qemus_dump(Backend::NotDumped);
}

#[test]
fn a_shared_memory_file_is_dumped_as_by_qemu() {
    equals_qemus_dump(Backend::SharedMemfd);
}

#[test]
fn a_shared_file_is_dumped_as_by_qemu() {
    equals_qemus_dump(Backend::SharedFile);
}

#[test]
fn a_private_file_is_dumped_as_by_qemu() {
    equals_qemus_dump(Backend::PrivateFile);
}

#[test]
fn shared_anonymous_memory_is_dumped_as_by_qemu() {
    equals_qemus_dump(Backend::SharedAnonymous);
}

/// What of `range` lies behind `part` of it.
fn behind(range: MemoryRange, part: MemoryRange) -> Option<MemoryRange> {
    MemoryRange::new(part.end(), range.end() - part.end()).ok()
}

#[test]
fn memory_is_read_where_it_is_cheap() {
    for (backend, in_files) in [
        (Backend::Anonymous, false),
        (Backend::PrivateFile, false),
        (Backend::SharedMemfd, true),
        (Backend::SharedFile, true),
    ] {
        let Some(mut qemu) = Qemu::start(backend) else {
            return;
        };
        let guest = QemuGuest::connect(qemu.path("qmp"), QemuOptions::default()).unwrap();
        assert_eq!(guest.pid(), qemu.pid());
        assert_eq!(guest.bytes_in_files() > 0, in_files, "{backend:?}");
        // Connecting does not stop the guest.
        assert!(qemu.is_running());
        // Most of the memory was never touched, and is known not to be there.
        let mut populated = 0;
        for range in guest.ranges() {
            let mut rest = Some(range);
            while let Some(part) = rest {
                let found = guest.next_populated(part).unwrap();
                populated += found.map_or(0, |found| found.size());
                rest = found.and_then(|found| behind(part, found));
            }
        }
        assert!(populated > 16 << 20, "{backend:?}: {populated}");
        if backend != Backend::PrivateFile {
            assert!(populated < 48 << 20, "{backend:?}: {populated}");
        }
    }
}

#[test]
fn the_guest_runs_after_a_target_fails() {
    let Some(mut qemu) = Qemu::start(Backend::Anonymous) else {
        return;
    };
    let folder = Folder::new();
    let source = qemu.source();
    for (line, words) in [
        ("guestdump dump --to fd:9 9>/dev/full", "No space"),
        (
            "guestdump dump --to fd:9 --format elf 9>/dev/full",
            "No space",
        ),
        ("ulimit -f 8; guestdump dump --to x", "too large"),
        ("guestdump dump --to - | head -c 1000 >/dev/null", ""),
        ("guestdump dump --to /nowhere/x", "No such file"),
        ("guestdump dump --to x --begin 1T --length 1", "no RAM"),
        ("guestdump dump --to x --vmcoreinfo /dev/null", "VMCOREINFO"),
    ] {
        let run = folder.shell(&line.replace("dump --to", &format!("dump --from {source} --to")));
        if words.is_empty() {
            run.ok();
        } else {
            run.fails(1, &[words]);
        }
        assert!(qemu.is_running(), "{line}");
        assert_eq!(folder.names(), [""; 0], "{line}");
    }
}

/// A dump to a pipe that nobody reads from, of a guest that stands still.
fn stuck(qemu: &mut Qemu, folder: &Folder) -> (Child, ChildStdout) {
    let source = qemu.source();
    let mut command = folder.command(["dump", "--from", &source, "--to", "-", "--json"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdout.take().unwrap();
    pipe.read_exact(&mut [0; 16]).unwrap();
    qemu.wait_for_status("paused");
    (child, pipe)
}

fn hang_ups_are_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    u64::from_str_radix(mask.unwrap().trim(), 16).unwrap() & 1 != 0
}

#[test]
fn the_guest_runs_after_a_signal() {
    let Some(mut qemu) = Qemu::start(Backend::SharedMemfd) else {
        return;
    };
    let folder = Folder::new();
    for (signal, code) in [
        (Signal::INT, 130),
        (Signal::TERM, 143),
        (Signal::HUP, 129),
        (Signal::QUIT, 131),
    ] {
        // Under nohup the command inherits that it is to be ignored.
        if signal == Signal::HUP && hang_ups_are_ignored() {
            continue;
        }
        let (child, _pipe) = stuck(&mut qemu, &folder);
        kill_process(Pid::from_child(&child), signal).unwrap();
        Run(child.wait_with_output().unwrap()).fails(code, &["signal"]);
        assert!(qemu.is_running());
    }
    // Two signals, one after the other.
    let (child, _pipe) = stuck(&mut qemu, &folder);
    for _ in 0..2 {
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        std::thread::sleep(Duration::from_millis(100));
    }
    Run(child.wait_with_output().unwrap()).fails(130, &["signal"]);
    assert!(qemu.is_running());
}

#[test]
fn a_guest_that_a_killed_dump_left_is_resumed_on_request() {
    let Some(mut qemu) = Qemu::start(Backend::SharedMemfd) else {
        return;
    };
    let folder = Folder::new();
    let socket = qemu.path("qmp");
    let resume = || {
        Run(folder
            .command(["qmp-resume".as_ref(), socket.as_os_str()])
            .output()
            .unwrap())
    };
    for _ in 0..3 {
        let (mut child, _pipe) = stuck(&mut qemu, &folder);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!qemu.is_running());
        let run = resume();
        run.ok();
        assert!(run.stderr().contains("runs again"), "{}", run.stderr());
        assert!(qemu.is_running());
    }
    // A guest that runs is left alone.
    let run = resume();
    run.ok();
    assert!(run.stderr().contains("runs already"), "{}", run.stderr());
    assert!(qemu.is_running());
    // So is one of a dump that still runs, which holds the socket.
    let (child, pipe) = stuck(&mut qemu, &folder);
    resume().fails(1, &["no greeting"]);
    assert!(!qemu.is_running());
    drop(pipe);
    Run(child.wait_with_output().unwrap()).fails(1, &["Broken pipe"]);
    assert!(qemu.is_running());
}

#[test]
fn a_guest_that_somebody_else_resumes_is_reported() {
    let Some(mut qemu) = Qemu::start(Backend::SharedMemfd) else {
        return;
    };
    let folder = Folder::new();
    let (child, mut pipe) = stuck(&mut qemu, &folder);
    qemu.command("cont", json!({}));
    std::io::copy(&mut pipe, &mut std::io::sink()).unwrap();
    let run = Run(child.wait_with_output().unwrap());
    run.ok();
    let entry = run.stderr();
    assert!(entry.contains("somebody else resumed"), "{entry}");
    assert!(qemu.is_running());
}

#[test]
fn a_qemu_that_dies_is_reported() {
    let Some(mut qemu) = Qemu::start(Backend::Anonymous) else {
        return;
    };
    let folder = Folder::new();
    let (child, mut pipe) = stuck(&mut qemu, &folder);
    qemu.kill();
    std::io::copy(&mut pipe, &mut std::io::sink()).unwrap();
    let begun = Instant::now();
    let run = Run(child.wait_with_output().unwrap());
    assert!(begun.elapsed() < Duration::from_secs(5));
    run.fails(1, &["guest memory", "may stand still"]);
}

#[test]
fn the_library_needs_no_command() {
    let Some(mut qemu) = Qemu::start(Backend::Anonymous) else {
        return;
    };
    let mut guest = QemuGuest::connect(qemu.path("qmp"), QemuOptions::default()).unwrap();
    guest.stop().unwrap();
    assert!(!qemu.is_running());
    assert!(guest.options(Format::Elf).is_ok());
    drop(guest);
    assert!(qemu.is_running());
}

//! SIGINT and SIGTERM.

use std::io::Read;
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use testkit::{Folder, Run};

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn a_signal_stops_the_dump_and_removes_the_file() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let folder = Folder::new();
        let mut command =
            folder.command(["dump", "--from", "demo:64G", "--to", "x", "--threads", "1"]);
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        let begun = Instant::now();
        while folder.names().is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(10));
        }
        send(&child, signal);
        Run(child.wait_with_output().unwrap()).fails(code, &["signal"]);
        assert!(folder.names().is_empty());
    }
}

#[test]
fn a_signal_stops_a_dump_that_waits_for_its_throttle() {
    let folder = Folder::new();
    let line = "dump --from demo:64M --to x --throttle 4K";
    let mut command = folder.command(line.split(' '));
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    while folder.names().is_empty() {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(300));
    send(&child, Signal::INT);
    Run(child.wait_with_output().unwrap()).fails(130, &["signal"]);
    assert!(folder.names().is_empty());
}

/// A dump to a pipe that nobody reads from.
fn stuck(folder: &Folder) -> (Child, ChildStdout) {
    let mut command = folder.command(["dump", "--from", "demo:64M", "--to", "-"]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap();
    let mut pipe = child.stdout.take().unwrap();
    pipe.read_exact(&mut [0; 16]).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    (child, pipe)
}

#[test]
fn a_second_signal_ends_the_command_at_once() {
    let folder = Folder::new();
    let (mut child, _pipe) = stuck(&folder);
    let begun = Instant::now();
    send(&child, Signal::INT);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(child.try_wait().unwrap(), None);
    send(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(begun.elapsed() < Duration::from_millis(1500));
}

#[test]
fn a_signal_stops_a_dump_whose_reader_does_not_read() {
    let folder = Folder::new();
    let (child, _pipe) = stuck(&folder);
    send(&child, Signal::TERM);
    Run(child.wait_with_output().unwrap()).fails(143, &["signal"]);
}

#[test]
fn a_signal_stops_rearranging_that_waits_for_input() {
    let folder = Folder::new();
    let mut command = folder.command(["rearrange", "-", "x"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stdin = child.stdin.take();
    let begun = Instant::now();
    while folder.names().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(10));
    }
    send(&child, Signal::INT);
    Run(child.wait_with_output().unwrap()).fails(130, &["signal"]);
    drop(stdin);
    assert!(folder.names().is_empty());
}

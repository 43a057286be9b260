//! A target that is the source, a closed output, a full disk, signals.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use testkit::{Folder, Run};

#[test]
fn a_target_that_is_an_input_is_refused_and_stays() {
    let folder = Folder::new();
    let ram: Vec<u8> = (0..8192_u32).flat_map(u32::to_le_bytes).collect();
    folder.write("r", &ram);
    folder
        .run("dump --from demo:16M --format kdump-zlib --to flat")
        .ok();
    folder.run("dump --from demo:16M --to d").ok();
    let dump = folder.read("d");
    std::fs::hard_link(folder.path("r"), folder.path("hard")).unwrap();
    std::os::unix::fs::symlink("r", folder.path("soft")).unwrap();
    folder.write(
        "map",
        r#"{"regions": [{"gpa": 0, "size": 8192, "offset": 0, "path": "r"}]}"#,
    );
    folder.write("info", "OSRELEASE=6.1.0-test\nPAGESIZE=4096\n");
    for line in [
        "guestdump dump --from raw:r --to r --force",
        "guestdump dump --from raw:r --to hard --force",
        "guestdump dump --from raw:hard --to ./r --force",
        "guestdump dump --from raw:soft --to r --force",
        "guestdump dump --from raw:d --map map --to r --force",
        "guestdump dump --from raw:r --map map --to map --force",
        "guestdump dump --from raw:r --vmcoreinfo info --to info --force",
        "guestdump dump --from process-core:r --to r --force",
        "guestdump dump --from d --vmcoreinfo info --to info --force",
        "guestdump dump --from vmcore:d --to fd:7 7<>d",
        "guestdump dump --from vmcore:d --to fd:7 7>>d",
        "guestdump dump --from raw:r --to - --format elf 1<>r",
        "guestdump dump --from raw:r --to fd:1 --format elf >>r",
        "guestdump map raw:r --to r --force",
        "guestdump map raw:r --to hard --force",
        "guestdump map raw:r --to fd:7 7<>r",
        "guestdump map raw:r --to - 1<>r",
        "guestdump map raw:r >>r",
        "guestdump map process-core:r --to r --force",
        "guestdump rearrange flat flat --force",
        "guestdump rearrange - flat --force <flat",
    ] {
        folder.shell(line).fails(1, &["one file", "another target"]);
        assert!(folder.read("r") == ram, "{line}");
        assert!(folder.read("d") == dump, "{line}");
    }
    // A link at the target is not followed.
    folder
        .run("dump --from raw:r --to soft --force")
        .fails(1, &["soft", "not a regular file"]);
    assert!(folder.read("r") == ram);
    folder.run("dump --from raw:r --to other --force").ok();
    // A dump may be replaced by its conversion, which gets the name at the end.
    folder.run("dump --from d --to d --force --format elf").ok();
    folder.run("check d").ok();
}

#[test]
fn a_closed_output_gets_no_dump_and_dev_null_does() {
    let folder = Folder::new();
    for (line, name) in [
        ("--to - >&-", "standard output"),
        ("--to fd:1 >&-", "fd:1"),
        ("--to fd:0 <&-", "fd:0"),
        ("--to - --json >&- 3>x", "standard output"),
    ] {
        folder
            .shell(&format!("guestdump dump --from demo:16M {line}"))
            .fails(1, &[name, "is closed", "> /dev/null"]);
    }
    std::fs::remove_file(folder.path("x")).unwrap();
    for line in [
        "--to - > /dev/null",
        "--to - >> /dev/null",
        "--to fd:4 4<>/dev/null",
    ] {
        folder
            .shell(&format!("guestdump dump --from demo:16M {line}"))
            .ok();
    }
    folder.run("dump --from demo:16M --to x").ok();
    folder.write("ram", [1; 4096]);
    for line in [
        "formats",
        "info x",
        "info x --json",
        "dump --from demo:16M --to y --json",
        "map raw:ram",
    ] {
        folder
            .shell(&format!("guestdump {line} >&-"))
            .fails(1, &["standard output", "is closed", "> /dev/null"]);
        folder.shell(&format!("guestdump {line} >/dev/null")).ok();
    }
    assert_eq!(folder.names(), ["ram", "x", "y"]);
    // The exit code tells all, as a parent that passes /dev/null both ways wants it.
    folder.shell("guestdump check x >&-").ok();
    folder.shell("guestdump --version 1<>/dev/null").ok();
}

#[test]
fn a_full_disk_is_named_with_the_target_and_the_way_out() {
    let folder = Folder::new();
    let run = |args: &str| {
        folder.shell(&format!(
            "ulimit -f 2000; guestdump dump --from demo:16M {args}"
        ))
    };
    run("--to x").fails(
        1,
        &[
            "x: cannot write",
            "File too large",
            "KiB were written",
            "--keep-partial keeps",
        ],
    );
    folder
        .shell("ulimit -f 20; guestdump dump --from demo:16M --to x --keep-partial")
        .fails(1, &["x: cannot write", "too little for --keep-partial"]);
    folder
        .run("dump --from demo:16M --format kdump-zlib --to flat")
        .ok();
    folder
        .shell("ulimit -f 20; guestdump rearrange flat x")
        .fails(1, &["x: cannot write", "File too large"]);
    std::fs::remove_file(folder.path("flat")).unwrap();
    run("--to x --format elf").fails(1, &["x: cannot write", "were written", "kdump-raw"]);
    run("--to - --format elf >y").fails(1, &["standard output: cannot write", "were written"]);
    assert_eq!(folder.names(), ["y"]);
    let full = "--to fd:5 --format elf 5>/dev/full";
    run(full).fails(1, &["fd:5: cannot write", "No space left"]);
}

#[test]
fn signals_that_end_a_process_clean_up_first() {
    for (signal, number) in [
        (Signal::HUP, 1),
        (Signal::QUIT, 3),
        (Signal::ABORT, 6),
        (Signal::USR1, 10),
        (Signal::USR2, 12),
        (Signal::ALARM, 14),
        (Signal::XCPU, 24),
    ] {
        if is_ignored(number) {
            continue;
        }
        let folder = Folder::new();
        let line = "dump --from demo:64M --to x --throttle 64K --threads 1";
        let mut command = folder.command(line.split(' '));
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        let begun = Instant::now();
        while folder.names().is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(10));
        }
        // The kernel and the shell may both send it.
        for _ in 0..2 {
            kill_process(Pid::from_child(&child), signal).unwrap();
        }
        let ended = child.wait_with_output().unwrap();
        Run(ended).fails(128 + number, &["stopped by signal"]);
        assert!(folder.names().is_empty(), "{signal:?}");
    }
}

/// Whether this process ignores the signal, as SIGHUP under nohup; its children do so too.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = u64::from_str_radix(mask.unwrap().trim(), 16).unwrap();
    mask >> (signal - 1) & 1 != 0
}

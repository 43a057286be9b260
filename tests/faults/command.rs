//! The command on a disk that is full.

use testkit::Folder;

/// Blocks of 512 bytes, as POSIX has `ulimit -f`.
fn limited(folder: &Folder, blocks: u64, arguments: &str) -> testkit::Run {
    folder.shell(&format!("ulimit -f {blocks}; guestdump dump {arguments}"))
}

#[test]
fn a_file_that_cannot_grow_is_an_error_and_nothing_is_left() {
    let folder = Folder::new();
    let mut runs = 0;
    for format in guestdump::Format::available() {
        let source = if format.is_windows() {
            "demo-windows:16M"
        } else {
            "demo:16M"
        };
        for blocks in [0, 1, 8, 40, 500, 2000] {
            let run = limited(
                &folder,
                blocks,
                &format!("--from {source} --format {format} --to x"),
            );
            run.fails(1, &["cannot write", "offset", "File too large"]);
            assert_eq!(folder.names(), [""; 0], "{format} with {blocks} blocks");
            runs += 1;
        }
    }
    eprintln!("{runs} files that could not grow");
}

#[test]
fn what_there_is_is_kept_under_the_name_and_says_so() {
    let folder = Folder::new();
    let dump = "--from demo:16M --format kdump-raw-zlib --to x --keep-partial";
    // Not even the headers.
    limited(&folder, 20, dump).fails(1, &["cannot write", "File too large"]);
    assert_eq!(folder.names(), [""; 0]);
    let run = limited(&folder, 2000, dump);
    run.fails(
        1,
        &["x is kept", "incomplete", "of 4096 pages", "File too large"],
    );
    assert_eq!(folder.names(), ["x"]);
    folder
        .run("check x")
        .fails(1, &["says that it is incomplete"]);
    let info = folder.run("info --json x").json();
    assert_eq!(info["complete"], false);
    assert!(run.stderr().contains(&format!(" {} of ", info["pages"])));
    // Not over a file that is there, unless it is said so.
    limited(&folder, 2000, dump).fails(1, &["x exists already"]);
    limited(&folder, 2000, &format!("{dump} --force")).fails(1, &["x is kept"]);
    // What is there converts.
    let convert = "dump --from vmcore:x --to y --format elf";
    folder.run(convert).fails(1, &["--keep-incomplete"]);
    let run = folder.run(&format!("{convert} --keep-incomplete"));
    assert_eq!(run.code(), 3, "{}", run.stderr());
    folder.run("check y").fails(1, &["incomplete"]);
    folder
        .run("dump --from demo:16M --format elf --to z --keep-partial")
        .fails(1, &["elf", "kdump-raw"]);
    folder
        .run("dump --from demo:16M --to - --keep-partial")
        .fails(1, &["kdump-zlib", "kdump-raw"]);
}

/// The call that gives the dump its name fails, or one beside it, by strace.
#[test]
fn a_name_that_cannot_be_given_leaves_what_was_there() {
    if !has_strace() {
        return;
    }
    let mut runs = 0;
    for format in ["elf", "kdump-zlib", "kdump-raw-zlib"] {
        for (calls, option) in [
            ("renameat,renameat2", "--fsync"),
            ("renameat,renameat2", "--fsync --force"),
            ("fsync", "--fsync"),
            ("fsync", "--fsync --force"),
        ] {
            let folder = Folder::new();
            let force = option.contains("force");
            if force {
                folder.write("x", "what was there");
            }
            let run = folder.shell(&format!(
                "strace -f -qq -o /dev/null -e trace={calls} -e inject={calls}:error=EIO \
                 guestdump dump --from demo:16M --format {format} --to x {option}"
            ));
            run.fails(1, &["Input/output error"]);
            if force {
                assert_eq!(folder.names(), ["x"]);
                assert_eq!(folder.read("x"), b"what was there");
            } else {
                assert_eq!(folder.names(), [""; 0], "{format} {calls}");
            }
            runs += 1;
        }
    }
    // The name is there, and the folder cannot be synced: the dump is whole.
    let folder = Folder::new();
    let run = folder.shell(
        "strace -f -qq -o /dev/null -e trace=fsync -e inject=fsync:error=EIO:when=2 \
         guestdump dump --from demo:16M --format elf --to x --fsync",
    );
    run.fails(1, &["Input/output error"]);
    folder.run("check x").ok();
    eprintln!("{runs} names that could not be given");
}

fn has_strace() -> bool {
    let found = std::process::Command::new("strace")
        .arg("-V")
        .output()
        .is_ok();
    assert!(
        found || std::env::var_os("CI").is_none(),
        "there is no strace"
    );
    if !found {
        eprintln!("skipped: there is no strace");
    }
    found
}

#[test]
fn a_device_that_is_full_is_an_error() {
    let folder = Folder::new();
    for format in guestdump::Format::available().filter(|f| !f.needs_positions() && !f.is_windows())
    {
        let run = folder.shell(&format!(
            "guestdump dump --from demo:16M --format {format} --to - >/dev/full"
        ));
        run.fails(1, &["cannot write", "No space left"]);
    }
}

#[test]
fn memory_that_cannot_be_read_is_reported() {
    let folder = Folder::new();
    // A dump as a source has memory that cannot be read where it is damaged.
    folder
        .run("dump --from demo:16M --to good --format kdump-raw-zlib")
        .ok();
    let mut bytes = folder.read("good");
    let end = bytes.len() - 100_000;
    bytes[end..end + 8000].fill(0xff);
    folder.write("damaged", &bytes);
    let convert = "dump --from vmcore:damaged --format kdump-raw-zlib --to";
    folder
        .run(&format!("{convert} x"))
        .fails(1, &["cannot read 4096 bytes of guest memory", "0x"]);
    let summary = folder
        .run(&format!("{convert} x --on-read-error zero --json"))
        .json();
    let lost = summary["unreadable"]["bytes"].as_u64().unwrap();
    assert!(lost >= 4096 && lost.is_multiple_of(4096), "{lost}");
    assert!(summary["unreadable"]["ranges"][0]["gpa"].is_u64());
    folder.run("check x").ok();
    let run = folder.run(&format!("{convert} y --on-read-error skip"));
    run.ok();
    let warned = run.stderr().contains("warning: ") && run.stderr().contains("could not be read");
    assert!(warned, "{}", run.stderr());
    let report = folder.run("check --json y").json();
    assert_eq!(report["excluded_pages"], lost / 4096);
    folder
        .run("dump --from vmcore:damaged --format elf --to z --on-read-error skip")
        .fails(1, &["elf", "zeroes"]);
}

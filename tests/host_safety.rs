//! The host is safe from a dump: whose files it touches, what it prints, and
//! that its code is safe Rust.
#![cfg(feature = "cli")]
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Barrier};

use guestdump::sink::{DumpSink, FileSink, FileSinkOptions, SinkAccess};
use testkit::{Folder, names};

const NEW: FileSinkOptions = FileSinkOptions::new();
const FORCE: FileSinkOptions = NEW.overwrite(true);

fn write(sink: &mut FileSink, bytes: &[u8]) {
    let SinkAccess::Positioned(sink) = sink.access() else {
        panic!("a file is positioned");
    };
    assert_eq!(sink.write_at(0, bytes).unwrap(), bytes.len());
}

#[test]
fn only_the_owner_can_read_it_whatever_the_umask() {
    for umask in ["0", "022", "277", "777"] {
        let folder = Folder::new();
        folder.write("old", "precious");
        let world = std::fs::Permissions::from_mode(0o666);
        std::fs::set_permissions(folder.path("old"), world).unwrap();
        let dump = "guestdump dump --from demo:16M --format elf --to";
        folder
            .shell(&format!("umask {umask}; {dump} x && {dump} old --force"))
            .ok();
        for name in ["x", "old"] {
            let mode = folder.path(name).metadata().unwrap().mode();
            assert_eq!(mode & 0o7777, 0o600, "umask {umask}, {name}");
        }
    }
}

/// Many begin, and one gets the name, whoever is first.
#[test]
fn of_two_dumps_without_force_one_wins() {
    const ROUNDS: usize = 100;
    const WRITERS: u8 = 4;
    let folder = tempfile::tempdir().unwrap();
    for round in 0..ROUNDS {
        let path = folder.path().join(round.to_string());
        let start = Barrier::new(WRITERS.into());
        let one = |n: u8| -> io::Result<u8> {
            let mut sink = FileSink::create(&path, NEW)?;
            write(&mut sink, &[n; 64]);
            start.wait();
            sink.finish().map(|()| n)
        };
        let results: Vec<_> = std::thread::scope(|scope| {
            let one = &one;
            let all: Vec<_> = (0..WRITERS).map(|n| scope.spawn(move || one(n))).collect();
            all.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1);
        for error in lost {
            assert_eq!(error.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        }
        let winner = *won[0].as_ref().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), [winner; 64]);
    }
    assert_eq!(names(folder.path()).len(), ROUNDS);
}

/// Somebody puts a link under the name again and again: what it leads to is
/// never written.
#[test]
fn a_link_that_comes_and_goes_is_not_followed() {
    const ROUNDS: usize = 500;
    // On a busy machine the link may be there each time for long.
    const MOST_ROUNDS: usize = 200_000;
    let folder = tempfile::tempdir().unwrap();
    let (victim, path) = (folder.path().join("victim"), folder.path().join("dump"));
    std::fs::write(&victim, b"precious").unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let attacker = {
        let (victim, path, done) = (victim.clone(), path.clone(), Arc::clone(&done));
        std::thread::spawn(move || {
            let mut planted = 0u64;
            while !done.load(Relaxed) {
                planted += u64::from(symlink(&victim, &path).is_ok());
                let _ = std::fs::remove_file(&path);
            }
            planted
        })
    };
    let (mut finished, mut refused) = (0, 0);
    for round in 0..MOST_ROUNDS {
        if round >= ROUNDS && finished > 0 {
            break;
        }
        match FileSink::create(&path, FORCE) {
            Ok(mut sink) => {
                write(&mut sink, &round.to_le_bytes());
                sink.finish().unwrap();
                finished += 1;
            }
            Err(e) => {
                assert_eq!(e.kind(), io::ErrorKind::InvalidInput, "{e}");
                refused += 1;
            }
        }
        assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
    }
    done.store(true, Relaxed);
    let planted = attacker.join().unwrap();
    assert!(
        planted > 0 && finished > 0,
        "{planted} {finished} {refused}"
    );
}

/// The temporary name is easy to guess.
#[test]
fn what_has_the_temporary_name_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (victim, path) = (folder.path().join("victim"), folder.path().join("dump"));
    std::fs::write(&victim, b"precious").unwrap();
    let planted = |n: usize| {
        let pid = std::process::id();
        folder.path().join(format!(".guestdump-{pid}-{n}.partial"))
    };
    symlink(&victim, planted(0)).unwrap();
    symlink("nowhere", planted(1)).unwrap();
    std::fs::write(planted(2), b"of a dump that was killed").unwrap();
    std::fs::create_dir(planted(3)).unwrap();
    let mut sink = FileSink::create(&path, FORCE).unwrap();
    write(&mut sink, b"new");
    sink.finish().unwrap();
    drop(sink);
    assert_eq!(std::fs::read(&path).unwrap(), b"new");
    assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
    assert_eq!(
        std::fs::read(planted(2)).unwrap(),
        b"of a dump that was killed"
    );
    assert!(!folder.path().join("nowhere").exists());
    assert_eq!(names(folder.path()).len(), 6);
}

/// Other names of the old file keep the old file.
#[test]
fn a_hard_link_is_not_written_through() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("dump"), folder.path().join("other"));
    std::fs::write(&path, b"precious").unwrap();
    std::fs::hard_link(&path, &other).unwrap();
    let mut sink = FileSink::create(&path, FORCE).unwrap();
    write(&mut sink, b"new");
    sink.finish().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"new");
    assert_eq!(std::fs::read(&other).unwrap(), b"precious");
}

/// Also without waiting for the other end of a pipe.
#[test]
fn what_is_no_file_is_refused() {
    let folder = Folder::new();
    folder.shell("mkfifo pipe").ok();
    let _socket = UnixListener::bind(folder.path("socket")).unwrap();
    symlink("elsewhere", folder.path("link")).unwrap();
    symlink("pipe", folder.path("link-to-pipe")).unwrap();
    let before = folder.names();
    for target in [
        "pipe",
        "socket",
        "link",
        "link-to-pipe",
        "/dev/null",
        "/dev/stdout",
        ".",
    ] {
        for force in ["", " --force"] {
            let words = ["regular file", "no file name"];
            let run = folder.run(&format!("dump --from demo:16M --to {target}{force}"));
            run.fails(1, &[]);
            assert!(
                words.iter().any(|w| run.stderr().contains(w)),
                "{}",
                run.stderr()
            );
        }
    }
    assert_eq!(folder.names(), before);
}

/// Links in the path are followed when the dump begins, and not again.
#[test]
fn a_folder_that_is_exchanged_meanwhile_gets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["true", "evil"] {
        std::fs::create_dir(at(name)).unwrap();
    }
    std::fs::write(at("evil/dump"), b"precious").unwrap();
    symlink("true", at("way")).unwrap();
    for options in [NEW.sync(true), FORCE] {
        let mut sink = FileSink::create(at("way/dump"), options).unwrap();
        write(&mut sink, b"new");
        std::fs::remove_file(at("way")).unwrap();
        symlink("evil", at("way")).unwrap();
        sink.finish().unwrap();
        assert_eq!(std::fs::read(at("true/dump")).unwrap(), b"new");
        assert_eq!(names(&at("evil")), ["dump"]);
        assert_eq!(std::fs::read(at("evil/dump")).unwrap(), b"precious");
        std::fs::remove_file(at("way")).unwrap();
        symlink("true", at("way")).unwrap();
    }
}

/// The order of the system calls, as strace sees them; `None` without strace.
fn traced(folder: &Folder, args: &str) -> Option<Vec<String>> {
    let calls = "openat,fchmod,fsync,rename,renameat,renameat2,linkat";
    let run = Command::new("strace")
        .args(["-f", "-q", "-o", "trace", "-e", &format!("trace={calls}")])
        .arg(env!("CARGO_BIN_EXE_guestdump"))
        .args(args.split(' '))
        .current_dir(folder.path(""))
        .output();
    let run = match run {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            assert!(std::env::var_os("CI").is_none(), "there is no strace");
            let _ = writeln!(io::stderr(), "skip: there is no strace");
            return None;
        }
        run => run.unwrap(),
    };
    assert!(run.status.success(), "{run:?}");
    let trace = String::from_utf8(folder.read("trace")).unwrap();
    let lines = trace.lines();
    let mut calls: Vec<_> = lines
        .filter_map(|line| line.split_once(' ').map(|(_, call)| call.trim().to_owned()))
        .filter(|call| !call.starts_with("+++"))
        .collect();
    let first = calls.iter().position(|call| call.contains(".partial"));
    Some(calls.split_off(first.unwrap()))
}

#[test]
fn on_request_the_file_and_its_name_are_on_the_disk() {
    let folder = Folder::new();
    let dump = "dump --from demo:16M --format elf --threads 1 --to";
    let Some(calls) = traced(&folder, &format!("{dump} x")) else {
        return;
    };
    for flag in ["O_CREAT", "O_EXCL", "O_NOFOLLOW", "0600"] {
        assert!(calls[0].contains(flag), "{calls:?}");
    }
    assert!(
        calls.iter().all(|call| !call.starts_with("fsync")),
        "{calls:?}"
    );
    let last = calls.last().unwrap();
    assert!(last.contains("RENAME_NOREPLACE"), "{calls:?}");

    folder
        .run("dump --from demo:16M --to flat --format kdump-zlib")
        .ok();
    for command in [
        format!("{dump} x --force --fsync"),
        format!("{dump} y --fsync"),
        "rearrange flat z --fsync".into(),
    ] {
        let calls = traced(&folder, &command).unwrap();
        let descriptor = |call: &str| call.split(['(', ')', ',']).nth(1).unwrap().to_owned();
        let created = calls[0].rsplit(' ').next().unwrap();
        let folder_of = descriptor(&calls[0]);
        let [.., file, name, of_folder] = &calls[..] else {
            panic!("{calls:?}");
        };
        assert!(file.starts_with(&format!("fsync({created})")), "{calls:?}");
        assert!(name.starts_with("rename"), "{calls:?}");
        assert!(
            of_folder.starts_with(&format!("fsync({folder_of})")),
            "{calls:?}"
        );
    }
    // What is no file has no disk.
    let run = folder.shell(&format!(
        "guestdump {dump} fd:7 --fsync 7>&1 >&2 | cat >pipe; true"
    ));
    assert!(
        run.stderr().contains("cannot be synced"),
        "{}",
        run.stderr()
    );
    assert!(folder.read("pipe").is_empty());
    folder
        .shell(&format!("guestdump {dump} fd:7 --fsync 7>w"))
        .ok();
}

/// Every file of Rust in the folder, without comments and strings of what it
/// would forbid.
fn sources(folder: &Path) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.lines().map(|line| line.split("//").next().unwrap());
            let name = path.to_str().unwrap().to_owned();
            all.push((name, code.collect::<Vec<_>>().join("\n")));
        }
    }
    all
}

fn files_with(words: &[&str]) -> Vec<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let with = sources(&source).into_iter().filter(|(_, code)| {
        let mut tokens = code.split(|c: char| !c.is_alphanumeric() && c != '_');
        tokens.any(|token| words.contains(&token))
    });
    let prefix = format!("{}/", source.display());
    with.map(|(name, _)| name.strip_prefix(&prefix).unwrap().to_owned())
        .collect()
}

/// Cargo.toml denies `unsafe`; this one file allows it.
#[test]
fn one_file_has_unsafe_code() {
    assert_eq!(files_with(&["unsafe"]), ["host/raw_fd.rs"]);
    let manifest = include_str!("../Cargo.toml");
    assert!(manifest.contains("unsafe_code = \"deny\""));
}

/// Only `/proc/PID/pagemap` is read in the host's byte order.
#[test]
fn no_file_has_the_hosts_byte_order() {
    let words = [
        "to_ne_bytes",
        "from_ne_bytes",
        "native_endian",
        "NativeEndian",
        "target_endian",
    ];
    assert_eq!(files_with(&words), ["host/pagemap.rs"]);
}

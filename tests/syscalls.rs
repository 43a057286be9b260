//! The system calls of a dump are those that docs/embedding.md lists, as
//! strace sees them. A list that grows is a surprise for whoever has a seccomp
//! filter.
#![cfg(all(target_os = "linux", feature = "snappy"))]
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr)]

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use guestdump::memory::SliceMemory;
use guestdump::sink::{FdSink, FileSink, FileSinkOptions};
use guestdump::{DumpOptions, Format, dump};

const DOCUMENT: &str = include_str!("../docs/embedding.md");
const MODE: &str = "GUESTDUMP_SYSCALLS_MODE";
const FOLDER: &str = "GUESTDUMP_SYSCALLS_FOLDER";
/// Calls for these paths, which do not exist, enclose what counts.
const BEGIN: &str = "/guestdump-syscalls-begin";
const END: &str = "/guestdump-syscalls-end";

/// What the allocator and locks may call or not, as it comes, and what a
/// thread does when it ends, perhaps after the dump has.
const AS_IT_COMES: [&str; 10] = [
    "brk",
    "mmap",
    "munmap",
    "mremap",
    "madvise",
    "mprotect",
    "futex",
    "sigaltstack",
    "rt_sigprocmask",
    "exit",
];

fn mark(path: &str) {
    assert!(fs::metadata(path).is_err());
}

fn options(threads: usize) -> DumpOptions {
    DumpOptions::new(Format::KdumpRawSnappy).threads(threads)
}

fn to_descriptor(folder: &Path, threads: usize) {
    let ram: Vec<u8> = (0..8 << 20).map(|i| (i / 4096 + i % 13) as u8).collect();
    let memory = SliceMemory::new([(0, &ram[..])]).unwrap();
    let file = File::create_new(folder.join("dump")).unwrap();
    mark(BEGIN);
    let mut sink = FdSink::new(file.into()).unwrap();
    dump(&memory, &mut sink, &options(threads)).unwrap();
    mark(END);
}

fn to_file(folder: &Path) {
    let ram = vec![1; 8 << 20];
    let memory = SliceMemory::new([(0, &ram[..])]).unwrap();
    let path = folder.join("dump");
    mark(BEGIN);
    let mut sink = FileSink::create(path, FileSinkOptions::default().sync(true)).unwrap();
    dump(&memory, &mut sink, &options(1)).unwrap();
    drop(sink);
    mark(END);
}

#[cfg(feature = "vm-memory")]
fn of_vm_memory(folder: &Path, populated: guestdump::adapters::vm_memory::Populated) {
    use guestdump::adapters::vm_memory::VmMemory;
    use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap};

    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(folder.join("ram"))
        .unwrap();
    file.set_len(8 << 20).unwrap();
    let ram = GuestMemoryMmap::<()>::from_ranges_with_files([
        (GuestAddress(0), 8 << 20, None),
        (
            GuestAddress(8 << 20),
            8 << 20,
            Some(FileOffset::new(file, 0)),
        ),
    ])
    .unwrap();
    ram.write_slice(&[1; 8 << 20], GuestAddress(4 << 20))
        .unwrap();
    let file = File::create_new(folder.join("dump")).unwrap();
    mark(BEGIN);
    let memory = VmMemory::new(&ram).unwrap().populated(populated);
    let mut sink = FdSink::new(file.into()).unwrap();
    dump(&memory, &mut sink, &options(1)).unwrap();
    mark(END);
}

#[cfg(feature = "qemu")]
fn of_qemu(folder: &Path) {
    use guestdump::qemu::{QemuGuest, QemuOptions};

    let socket = folder.join("qmp");
    let file = File::create_new(folder.join("dump")).unwrap();
    mark(BEGIN);
    let mut guest = QemuGuest::connect(&socket, QemuOptions::default()).unwrap();
    guest.stop().unwrap();
    let options = guest.options(Format::KdumpRawSnappy).unwrap();
    let mut sink = FdSink::new(file.into()).unwrap();
    let dumped = guest.dump(&mut sink, &options);
    let resumed = guest.resume();
    drop(guest);
    mark(END);
    dumped.unwrap();
    resumed.unwrap();
}

/// A stopped QEMU for `of_qemu`.
struct Qemu(Child);

impl Qemu {
    fn start(folder: &Path) -> Self {
        let socket = folder.join("qmp");
        let qemu = Command::new("qemu-system-x86_64")
            .args(["-S", "-display", "none", "-nodefaults", "-m", "16M", "-qmp"])
            .arg(format!("unix:{},server=on,wait=off", socket.display()))
            .spawn();
        let qemu = Self(qemu.unwrap());
        let begun = Instant::now();
        while !socket.exists() {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "QEMU does not start"
            );
            sleep(Duration::from_millis(20));
        }
        qemu
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Not a test: what strace runs.
#[test]
#[ignore = "runs under strace, by the other test"]
fn child() {
    let folder = env::var(FOLDER).unwrap();
    let folder = Path::new(&folder);
    match env::var(MODE).unwrap().as_str() {
        "FdSink, threads(1)" => to_descriptor(folder, 1),
        "FdSink, threads(2)" => to_descriptor(folder, 2),
        "FdSink, threads(0)" => to_descriptor(folder, 0),
        "FileSink, threads(1)" => to_file(folder),
        #[cfg(feature = "vm-memory")]
        "VmMemory, FdSink, threads(1)" => of_vm_memory(folder, Default::default()),
        #[cfg(feature = "vm-memory")]
        "VmMemory without /proc, FdSink, threads(1)" => {
            of_vm_memory(
                folder,
                guestdump::adapters::vm_memory::Populated::SharedFiles,
            );
        }
        #[cfg(feature = "qemu")]
        "QemuGuest, FdSink, threads(1)" => of_qemu(folder),
        other => panic!("{other}"),
    }
}

/// Mode and system calls, by the table in the document.
fn documented() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let (_, rest) = DOCUMENT.split_once("<!-- syscalls:begin -->").unwrap();
    let (table, _) = rest.split_once("<!-- syscalls:end -->").unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let mut cells = row.split('`').skip(1).step_by(2);
        (cells.next().unwrap(), cells.collect())
    })
    .collect()
}

/// What strace wrote between the two marks, of all threads.
fn calls(trace: &str) -> BTreeSet<&str> {
    let between = trace
        .lines()
        .skip_while(|line| !line.contains(BEGIN))
        .skip(1)
        .take_while(|line| !line.contains(END));
    // `PID call(…`; signals, exits and the second half of a call that another
    // thread interrupted are no calls.
    between
        .filter_map(|line| line.split_once(' ')?.1.trim_start().split_once('('))
        .map(|(name, _)| name)
        .filter(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
        .collect()
}

fn is_built(mode: &str) -> bool {
    (cfg!(feature = "vm-memory") || !mode.contains("VmMemory"))
        && (cfg!(feature = "qemu") || !mode.contains("QemuGuest"))
}

#[test]
fn a_dump_makes_the_documented_system_calls_and_no_others() {
    let works = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let there = works("strace") && (!cfg!(feature = "qemu") || works("qemu-system-x86_64"));
    if !there {
        assert!(
            env::var("CI").as_deref() != Ok("true"),
            "strace or QEMU is missing"
        );
        eprintln!("skipped: strace or QEMU is missing");
        return;
    }
    let documented = documented();
    assert_eq!(documented.len(), 7);
    for (mode, expected) in documented.iter().filter(|(mode, _)| is_built(mode)) {
        let folder = tempfile::tempdir().unwrap();
        let trace = folder.path().join("trace");
        let _qemu = mode.contains("Qemu").then(|| Qemu::start(folder.path()));
        let output = Command::new("strace")
            .args(["-f", "-o"])
            .arg(&trace)
            .arg(env::current_exe().unwrap())
            .args(["--exact", "child", "--ignored", "--test-threads", "1"])
            .env(MODE, mode)
            .env(FOLDER, folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{mode}: {output:?}");
        let trace = fs::read_to_string(trace).unwrap();
        assert!(trace.contains(END), "{mode}");
        let found = calls(&trace);
        let surprises: Vec<_> = found.difference(expected).collect();
        assert!(
            surprises.is_empty(),
            "{mode}: not in the list: {surprises:?} of {found:?}"
        );
        let never: Vec<_> = expected
            .difference(&found)
            .filter(|name| !AS_IT_COMES.contains(name))
            .collect();
        assert!(
            never.is_empty(),
            "{mode}: in the list, and not called: {never:?}"
        );
    }
}

//! The system calls of a dump are those that docs/embedding.md lists, as
//! strace sees them. A list that grows is a surprise for whoever has a seccomp
//! filter.
#![cfg(all(target_os = "linux", feature = "snappy"))]
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr)]

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::memory::{FileMemory, SliceMemory};
use guestdump::sink::{FdSink, FileSink, FileSinkOptions, StreamSink};
use guestdump::{
    DumpJob, DumpOptions, Error, Executor, Format, FormatOptions, GuestInfo, GuestMemory, Machine,
    MemoryRange, dump,
};
use testkit::options::With;

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

fn begin() {
    // After the first path that does not exist, std may ask whether the system
    // has statx at all.
    for _ in 0..2 {
        assert!(fs::metadata(BEGIN).is_err());
    }
}

fn end() {
    assert!(fs::metadata(END).is_err());
}

fn options(threads: usize) -> DumpOptions {
    DumpOptions::new(GuestInfo::new(Machine::X86_64), Format::KDUMP_RAW_SNAPPY).threads(threads)
}

fn ram() -> Vec<u8> {
    (0..8 << 20).map(|i| (i / 4096 + i % 13) as u8).collect()
}

fn to_descriptor(folder: &Path, options: &DumpOptions) {
    let ram = ram();
    let memory = SliceMemory::new([(0, &ram[..])]).unwrap();
    let file = File::create_new(folder.join("dump")).unwrap();
    begin();
    let mut sink = FdSink::new(file.into()).unwrap();
    dump(&memory, &mut sink, options).unwrap();
    end();
}

/// The caller's thread is there already; no other is started.
#[derive(Debug)]
struct Here;

impl Executor for Here {
    fn run(&self, _: usize, work: &(dyn Fn() + Sync)) {
        work();
    }
}

fn to_stream(folder: &Path) {
    let ram = ram();
    let memory = SliceMemory::new([(0, &ram[..])]).unwrap();
    let file = File::create_new(folder.join("dump")).unwrap();
    begin();
    let mut sink = StreamSink::new(file);
    dump(
        &memory,
        &mut sink,
        &DumpOptions::new(GuestInfo::new(Machine::X86_64), Format::KDUMP_SNAPPY),
    )
    .unwrap();
    end();
}

fn to_file(folder: &Path) {
    let ram = vec![1; 8 << 20];
    let memory = SliceMemory::new([(0, &ram[..])]).unwrap();
    let path = folder.join("dump");
    begin();
    let mut sink = FileSink::create(path, FileSinkOptions::default().sync(true)).unwrap();
    dump(&memory, &mut sink, &options(1)).unwrap();
    drop(sink);
    end();
}

/// Cannot be read behind 6 MiB.
struct Broken<'a>(SliceMemory<'a>);

impl GuestMemory for Broken<'_> {
    fn ranges(&self) -> Vec<MemoryRange> {
        self.0.ranges()
    }
    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        if gpa < 6 << 20 {
            self.0.read(gpa, buf)
        } else {
            Err(io::ErrorKind::Other.into())
        }
    }
}

fn to_kept_file(folder: &Path) {
    let ram = ram();
    let memory = Broken(SliceMemory::new([(0, &ram[..])]).unwrap());
    let path = folder.join("dump");
    begin();
    let mut sink = FileSink::create(&path, FileSinkOptions::default()).unwrap();
    // The scan for VMCOREINFO would meet the error before the dump begins.
    let options = options(1)
        .with_guest(|guest| guest.vmcoreinfo(VmcoreinfoSource::None))
        .with_format(FormatOptions::keep_partial);
    let result = dump(&memory, &mut sink, &options);
    drop(sink);
    end();
    assert!(
        matches!(result, Err(Error::Incomplete { .. })),
        "{result:?}"
    );
    assert!(path.exists());
}

fn of_file(folder: &Path, nocache: bool) {
    let ram = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(folder.join("ram"))
        .unwrap();
    ram.set_len(32 << 20).unwrap();
    for at in [0, 8 << 20] {
        ram.write_all_at(&self::ram(), at).unwrap();
    }
    let path = folder.join("dump");
    let file = (!nocache).then(|| File::create_new(&path).unwrap());
    begin();
    let memory = FileMemory::flat(ram).unwrap().nocache(nocache);
    match file {
        Some(file) => {
            let mut sink = FdSink::new(file.into()).unwrap();
            dump(&memory, &mut sink, &options(1)).unwrap();
        }
        None => {
            let options = FileSinkOptions::default().nocache(true);
            let mut sink = FileSink::create(path, options).unwrap();
            dump(&memory, &mut sink, &self::options(1)).unwrap();
        }
    }
    drop(memory);
    end();
}

fn in_the_background(folder: &Path) {
    let file = File::create_new(folder.join("ram")).unwrap();
    file.write_all_at(&ram(), 0).unwrap();
    let memory = FileMemory::flat(File::open(folder.join("ram")).unwrap()).unwrap();
    let file = File::create_new(folder.join("dump")).unwrap();
    begin();
    let sink = FdSink::new(file.into()).unwrap();
    let job = DumpJob::start(memory, sink, options(1));
    assert_eq!(job.wait().unwrap().pages, 2048);
    end();
}

#[cfg(feature = "mapped")]
fn of_mapping(folder: &Path) {
    let ram = ram();
    let file = File::create_new(folder.join("dump")).unwrap();
    begin();
    let range = MemoryRange::new(0, ram.len() as u64).unwrap();
    let memory = guestdump::memory::MappedMemory::new([(range, ram.as_ptr().addr())]).unwrap();
    let mut sink = FdSink::new(file.into()).unwrap();
    dump(&memory, &mut sink, &options(1)).unwrap();
    end();
}

#[cfg(feature = "vm-memory")]
fn of_vm_memory(
    folder: &Path,
    populated: guestdump::adapters::vm_memory::Populated,
    reads: guestdump::adapters::vm_memory::Reads,
) {
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
    begin();
    let memory = VmMemory::new(&ram).unwrap();
    let memory = memory.populated(populated).reads(reads);
    let mut sink = FdSink::new(file.into()).unwrap();
    dump(&memory, &mut sink, &options(1)).unwrap();
    end();
}

#[cfg(feature = "qemu")]
fn of_qemu(folder: &Path) {
    use guestdump::qemu::{QemuGuest, QemuOptions};

    let socket = folder.join("qmp");
    let file = File::create_new(folder.join("dump")).unwrap();
    begin();
    let mut guest = QemuGuest::connect(&socket, QemuOptions::default()).unwrap();
    guest.stop().unwrap();
    let options = guest.options(Format::KDUMP_RAW_SNAPPY).unwrap();
    let mut sink = FdSink::new(file.into()).unwrap();
    let dumped = guest.dump(&mut sink, &options);
    let resumed = guest.resume();
    drop(guest);
    end();
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
    #[cfg(feature = "vm-memory")]
    use guestdump::adapters::vm_memory::{Populated, Reads};
    let folder = env::var(FOLDER).unwrap();
    let folder = Path::new(&folder);
    match env::var(MODE).unwrap().as_str() {
        "FdSink, threads(1)" => to_descriptor(folder, &options(1)),
        "FdSink, threads(2)" => to_descriptor(folder, &options(2)),
        "FdSink, threads(0)" => to_descriptor(folder, &options(0)),
        "FdSink, threads(2), executor" => {
            to_descriptor(folder, &options(2).executor(Arc::new(Here)));
        }
        "FdSink, threads(1), throttle" => {
            to_descriptor(folder, &options(1).throttle(64 << 20));
        }
        "StreamSink of a file, threads(1)" => to_stream(folder),
        "FileSink with sync, threads(1)" => to_file(folder),
        "FileSink, threads(1), keep_partial of a dump that fails" => to_kept_file(folder),
        "FileMemory, FdSink, threads(1)" => of_file(folder, false),
        "FileMemory and FileSink with nocache, threads(1)" => of_file(folder, true),
        "DumpJob: FileMemory, FdSink, threads(1)" => in_the_background(folder),
        #[cfg(feature = "mapped")]
        "MappedMemory, FdSink, threads(1)" => of_mapping(folder),
        #[cfg(feature = "vm-memory")]
        "VmMemory, FdSink, threads(1)" => {
            of_vm_memory(folder, Populated::Detect, Reads::SystemCall);
        }
        #[cfg(feature = "vm-memory")]
        "VmMemory without /proc, FdSink, threads(1)" => {
            of_vm_memory(folder, Populated::SharedFiles, Reads::SystemCall);
        }
        #[cfg(feature = "vm-memory")]
        "VmMemory without /proc, Reads::Volatile, FdSink, threads(1)" => {
            of_vm_memory(folder, Populated::SharedFiles, Reads::Volatile);
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
    let (_, behind) = trace.rsplit_once(BEGIN).unwrap();
    let lines = behind.lines().skip(1);
    let between = lines.take_while(|line| !line.contains(END));
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
        && (cfg!(feature = "mapped") || !mode.contains("MappedMemory"))
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
    assert_eq!(documented.len(), 16);
    let mut wrong = Vec::new();
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
        let never: Vec<_> = expected
            .difference(&found)
            .filter(|name| !AS_IT_COMES.contains(name))
            // Only where the system cannot read past its page cache.
            .filter(|name| !(mode.contains("nocache") && **name == "pread64"))
            .collect();
        if !surprises.is_empty() || !never.is_empty() {
            wrong.push(format!(
                "{mode}: called and not in the list: {surprises:?}; in the list and not called: {never:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

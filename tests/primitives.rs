//! The formats alone: a program with its own Cargo.toml (tests/primitives) uses guestdump without
//! features. Foreign readers open what it writes.
#![allow(clippy::print_stderr, clippy::unwrap_used)]
#![cfg(all(feature = "file", feature = "zlib", feature = "snappy"))]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::memory::{GuestMemory, SliceMemory};
use guestdump::read::Vmcore;
use guestdump::sink::BufferSink;
use guestdump::{DumpOptions, Format, GuestInfo, Machine, Progress, dump};
use testkit::{Random, range};

/// The program, built once.
static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Below the folder of this test's own build.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("primitives");
    let build = |offline: &[&str]| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet"]).args(offline);
        cargo.arg("--manifest-path");
        cargo.arg(root.join("tests/primitives/Cargo.toml"));
        cargo.arg("--target-dir").arg(&target);
        cargo.output().unwrap()
    };
    let mut result = build(&["--offline"]);
    if !result.status.success() {
        result = build(&[]);
    }
    assert!(result.status.success(), "{}", text(&result.stderr));
    target.join("debug/primitives")
});

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn run(arguments: &[&str]) -> String {
    let output = Command::new(&*PROGRAM).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// Runs a foreign reader. `None` if it is not installed, which CI forbids.
fn foreign(command: &mut Command) -> Option<Output> {
    match command.output() {
        Ok(output) => Some(output),
        Err(error) => {
            let name = command.get_program().to_string_lossy();
            assert!(std::env::var_os("CI").is_none(), "{name}: {error}");
            eprintln!("skip  {name}: {error}");
            None
        }
    }
}

/// Three pages of text and random bytes, a page of zeroes, and a gap.
fn ram() -> [(u64, Vec<u8>); 2] {
    let text: Vec<u8> = b"text of a guest; "
        .iter()
        .copied()
        .cycle()
        .take(8192)
        .collect();
    let mut high = Random::new(1).bytes(4096);
    high.resize(8192, 0);
    [(0x1000, text), (0x10_0000, high)]
}

#[test]
fn program_without_features_reads_a_dump_of_each_codec_raw_and_flattened() {
    let ram = ram();
    let folder = tempfile::tempdir().unwrap();
    for (format, codec) in [
        (Format::KDUMP_RAW_ZLIB, "zlib"),
        (Format::KDUMP_ZLIB, "zlib"),
        (Format::KDUMP_RAW_SNAPPY, "snappy"),
        (Format::KDUMP_SNAPPY, "snappy"),
    ] {
        let slices = ram.iter().map(|(gpa, bytes)| (*gpa, &bytes[..]));
        let memory = SliceMemory::new(slices).unwrap();
        let mut sink = BufferSink::new();
        let info = b"OSRELEASE=6.1.0\nPAGESIZE=4096\n".to_vec();
        let guest = GuestInfo::new(Machine::X86_64).vmcoreinfo(VmcoreinfoSource::Bytes(info));
        dump(&memory, &mut sink, &DumpOptions::new(guest, format)).unwrap();
        let path = folder.path().join("dump");
        let path = path.to_str().unwrap();
        fs::write(path, sink.into_bytes()).unwrap();

        let told = run(&["read", path]);
        for line in [
            "abi Bits64 Little Eight\n",
            "block_size 4096 max_mapnr 0x102 complete true\n",
            "note VMCOREINFO type 0 bytes 30\n",
            "ram 0x1..0x3\nram 0x100..0x102\n",
            "dumped 0x1..0x3\ndumped 0x100..0x102\n",
            "pages 4\n",
        ] {
            assert!(told.contains(line), "{line:?} is not in:\n{told}");
        }
        let out = folder.path().join("page");
        for (gpa, bytes) in &ram {
            for (frame, page) in (gpa / 4096..).zip(bytes.chunks(4096)) {
                let (frame, out) = (frame.to_string(), out.to_str().unwrap());
                run(&["page", path, &frame, codec, out]);
                assert!(fs::read(out).unwrap() == page, "{format} {frame}");
            }
        }
    }
}

#[track_caller]
fn open_whole(path: &Path) -> Vmcore {
    let vmcore = Vmcore::open(File::open(path).unwrap()).unwrap();
    let report = vmcore.check(&Progress::new()).unwrap();
    assert_eq!(report.pages, 4);
    assert_eq!(
        vmcore.ranges(),
        [range(0x2000, 0x3000), range(0x10_0000, 0x1000)]
    );
    let mut start = [0; 16];
    vmcore.read(0x3000, &mut start).unwrap();
    assert_eq!(&start, b"a page of text t");
    vmcore
}

#[test]
fn flattened_dump_written_by_hand_is_opened_and_rearranged() {
    let folder = tempfile::tempdir().unwrap();
    let [flat, raw] = ["flat", "raw"].map(|name| folder.path().join(name));
    run(&["write-flattened", flat.to_str().unwrap()]);
    let vmcore = open_whole(&flat);
    assert!(vmcore.is_flattened());
    assert_eq!(vmcore.cpus(), 1);
    let read = run(&["read", flat.to_str().unwrap()]);

    let mut makedumpfile = Command::new("makedumpfile");
    makedumpfile.arg("-R").arg(&raw);
    makedumpfile.stdin(File::open(&flat).unwrap());
    let Some(output) = foreign(&mut makedumpfile) else {
        return;
    };
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(!open_whole(&raw).is_flattened());
    assert_eq!(run(&["read", raw.to_str().unwrap()]), read);
}

#[test]
fn elf_core_written_by_hand_is_opened_by_readelf_and_gdb() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("core");
    run(&["write-elf", path.to_str().unwrap()]);
    let vmcore = open_whole(&path);
    assert_eq!(vmcore.cpus(), 1);

    if let Some(output) = foreign(Command::new("readelf").arg("-aW").arg(&path)) {
        let stdout = text(&output.stdout);
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{}",
            text(&output.stderr)
        );
        assert!(!stdout.to_lowercase().contains("warning"), "{stdout}");
        assert!(stdout.contains("CORE (Core file)"), "{stdout}");
        assert_eq!(stdout.matches("  LOAD  ").count(), 2, "{stdout}");
        assert!(
            stdout.contains("NT_PRSTATUS") && stdout.contains("VMCOREINFO"),
            "{stdout}"
        );
    }
    let mut gdb = Command::new("gdb");
    gdb.args(["--batch", "-nx", "-ex", "x/s 0x3000", "-core"])
        .arg(&path);
    if let Some(output) = foreign(&mut gdb) {
        let stdout = text(&output.stdout);
        assert!(
            stdout.contains("a page of text that repeats"),
            "{stdout}{}",
            text(&output.stderr)
        );
    }
}

//! Each program in `examples/` is run, as its first lines say, and its dump
//! opened again.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::BufRead;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use guestdump::read::Vmcore;
use guestdump::{GuestMemory, Progress};
use serde_json::Value;
use tempfile::TempDir;

/// The features that this test was built with, so that nothing is built twice.
fn features() -> Vec<&'static str> {
    let all = [
        ("file", cfg!(feature = "file")),
        ("zlib", cfg!(feature = "zlib")),
        ("lzo", cfg!(feature = "lzo")),
        ("snappy", cfg!(feature = "snappy")),
        ("zstd", cfg!(feature = "zstd")),
        ("minilzo", cfg!(feature = "minilzo")),
        ("libdeflate", cfg!(feature = "libdeflate")),
        ("demo", cfg!(feature = "demo")),
        ("mapped", cfg!(feature = "mapped")),
        ("qemu", cfg!(feature = "qemu")),
        ("qapi", cfg!(feature = "qapi")),
        ("serde", cfg!(feature = "serde")),
        ("vm-memory", cfg!(feature = "vm-memory")),
        ("vm-memory-0-17", cfg!(feature = "vm-memory-0-17")),
        ("kvm-bindings", cfg!(feature = "kvm-bindings")),
        ("cli", cfg!(feature = "cli")),
        ("default", cfg!(feature = "default")),
    ];
    let on = all.into_iter().filter(|(_, on)| *on);
    on.map(|(name, _)| name).collect()
}

/// The program of an example. `cargo test` has built all of them, but not
/// `cargo test --test examples`, so cargo is asked again, which costs little.
fn program(name: &str) -> PathBuf {
    static BUILT: OnceLock<Vec<PathBuf>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["build", "--quiet", "--examples", "--no-default-features"])
            .args(["--features", &features().join(","), "--message-format=json"]);
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        let output = cargo.stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success());
        let messages = output.stdout.lines().map(|line| line.unwrap());
        messages
            .map(|line| serde_json::from_str::<Value>(&line).unwrap())
            .filter(|message| message["target"]["kind"][0] == "example")
            .filter_map(|message| Some(message["executable"].as_str()?.into()))
            .collect()
    });
    let found = built.iter().find(|path| path.ends_with(name));
    found.unwrap_or_else(|| panic!("{name}: {built:?}")).clone()
}

/// Runs an example in a folder.
fn run(folder: &Path, name: &str, args: &[&str]) -> Output {
    let mut command = Command::new(program(name));
    command.current_dir(folder).args(args).stdin(Stdio::null());
    command.output().unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[track_caller]
fn succeeds(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn fails(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Opens a dump and checks all of it.
#[track_caller]
fn opens(path: &Path) -> Vmcore {
    let vmcore = Vmcore::open(File::open(path).unwrap()).unwrap();
    vmcore.check(&Progress::new()).unwrap();
    vmcore
}

/// Opens a dump of the demo guest.
#[cfg(feature = "demo")]
#[track_caller]
fn opens_demo(path: &Path, size: u64) {
    let vmcore = opens(path);
    assert_eq!(vmcore.pages(), size / 4096);
    assert_eq!(vmcore.cpus(), 2);
    assert!(vmcore.vmcoreinfo().is_some());
}

#[test]
fn examples_are_short() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    for name in names(&folder) {
        let lines = fs::read_to_string(folder.join(&name))
            .unwrap()
            .lines()
            .count();
        assert!(lines < 100, "{name} has {lines} lines");
        let test = name.trim_end_matches(".rs");
        let this = include_str!("examples.rs");
        assert!(this.contains(&format!("fn {test}")), "no test runs {name}");
    }
}

#[test]
fn custom_memory_writes_holes_and_refuses_an_existing_file() {
    let folder = TempDir::new().unwrap();
    let output = run(folder.path(), "custom_memory", &["dump"]);
    assert_eq!(succeeds(&output), "24576 pages, 24574 of zeroes\n");
    let path = folder.path().join("dump");
    let vmcore = opens(&path);
    let ranges: Vec<_> = vmcore
        .ranges()
        .iter()
        .map(|r| (r.start(), r.size()))
        .collect();
    assert_eq!(ranges, [(0, 32 << 20), (4 << 30, 64 << 20)]);
    for (gpa, text) in [
        (0x1000, "in the memory of the start"),
        ((4 << 30) + (10 << 20), "in the DIMM"),
        ((4 << 30) + (12 << 20), "\0\0\0"),
    ] {
        let mut bytes = vec![0xcc; text.len()];
        vmcore.read(gpa, &mut bytes).unwrap();
        assert_eq!(bytes, text.as_bytes());
    }
    // Of 96 MiB all but two pages are holes.
    assert!(path.metadata().unwrap().blocks() * 512 < 1 << 20);
    assert!(fails(&run(folder.path(), "custom_memory", &["dump"])).contains("AlreadyExists"));
}

#[cfg(all(feature = "demo", feature = "snappy"))]
#[test]
fn upload_parts_in_order_or_leaves_the_old_object() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("guest.vmcore");
    let said = succeeds(&run(folder.path(), "upload_parts", &["."]));
    let parts = said
        .split(' ')
        .rev()
        .nth(1)
        .unwrap()
        .parse::<u32>()
        .unwrap();
    assert!(parts > 1, "{said}");
    assert_eq!(names(folder.path()), ["guest.vmcore"]);
    opens_demo(&path, 64 << 20);
    assert!(
        Vmcore::open(File::open(&path).unwrap())
            .unwrap()
            .is_flattened()
    );
    // The object is there: it stays, and the parts are gone.
    fs::write(&path, "before").unwrap();
    fails(&run(folder.path(), "upload_parts", &["."]));
    assert_eq!(names(folder.path()), ["guest.vmcore"]);
    assert_eq!(fs::read(&path).unwrap(), b"before");
}

#[cfg(all(feature = "demo", feature = "snappy"))]
#[test]
fn pipe_to_process_gives_the_dump_or_the_processs_failure() {
    let folder = TempDir::new().unwrap();
    let piped = |script| run(folder.path(), "pipe_to_process", &["sh", "-c", script]);
    let said = succeeds(&piped("cat > dump"));
    let path = folder.path().join("dump");
    assert_eq!(
        said,
        format!("{} bytes taken\n", path.metadata().unwrap().len())
    );
    opens_demo(&path, 64 << 20);
    // It ends before the dump, or fails behind it.
    let early = fails(&piped("head -c 100 > part; exit 3"));
    assert!(early.contains("Broken pipe"), "{early}");
    assert!(fails(&piped("cat > dump; exit 4")).contains("exit status: 4"));
    assert!(fails(&run(folder.path(), "pipe_to_process", &["/no/program"])).contains("NotFound"));
}

#[cfg(all(feature = "demo", feature = "file", feature = "snappy"))]
#[test]
fn async_vmm_writes_a_dump_that_opens() {
    let folder = TempDir::new().unwrap();
    let said = succeeds(&run(folder.path(), "async_vmm", &["dump"]));
    assert_eq!(said, "dump: 16384 pages\n");
    opens_demo(&folder.path().join("dump"), 64 << 20);
}

#[cfg(all(feature = "demo", feature = "snappy"))]
#[test]
fn detached_job_finishes_or_is_given_up_without_a_file() {
    let folder = TempDir::new().unwrap();
    let said = succeeds(&run(folder.path(), "detached_job", &["dump"]));
    assert!(said.ends_with("dump: 65536 pages\n"), "{said}");
    opens_demo(&folder.path().join("dump"), 256 << 20);
    assert_eq!(
        succeeds(&run(folder.path(), "detached_job", &["no", "0"])),
        "given up\n"
    );
    assert_eq!(names(folder.path()), ["dump"]);
}

#[cfg(all(feature = "kvm-bindings", feature = "vm-memory"))]
#[test]
fn minimal_vmm_dumps_memory_and_registers_at_its_panic() {
    let folder = TempDir::new().unwrap();
    let said = succeeds(&run(folder.path(), "minimal_vmm", &["dump"]));
    assert!(said.starts_with("vCPU 0 panicked\n"), "{said}");
    assert!(said.ends_with("vCPU 0 ran on to 100000\n"), "{said}");
    let vmcore = opens(&folder.path().join("dump"));
    assert_eq!(vmcore.pages(), (128 << 20) / 4096);
    // Memory and registers are of the same moment, behind the panic.
    let notes = vmcore.notes().map(|note| note.unwrap().1.desc);
    let prstatus: Vec<_> = notes.take(2).collect();
    for (cpu, desc) in prstatus.iter().enumerate() {
        let rip = u64::from_le_bytes(*desc[240..].first_chunk().unwrap());
        let mut written = [0; 8];
        vmcore.read(0x1000 * cpu as u64, &mut written).unwrap();
        assert_eq!(u64::from_le_bytes(written), rip);
        assert!(cpu == 1 || rip > 1000);
    }
}

#[cfg(all(feature = "demo", feature = "qapi"))]
#[test]
fn qmp_server_answers_and_leaves_no_unfinished_file() {
    use std::io::{BufReader, Write};

    let folder = TempDir::new().unwrap();
    let mut server = Command::new(program("qmp_server"))
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut commands = server.stdin.take().unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    let mut send = |line: &str| writeln!(commands, "{line}").unwrap();

    assert!(next()["QMP"].is_object());
    send(r#"{"execute": "qmp_capabilities", "id": 1}"#);
    assert_eq!(next(), serde_json::json!({"return": {}, "id": 1}));
    send("nonsense");
    assert_eq!(next()["error"]["class"], "GenericError");
    let dump = r#"{"execute": "dump-guest-memory", "arguments":
        {"paging": false, "protocol": "file:dump", "detach": true}}"#;
    send(&dump.replace('\n', ""));
    // Reply and event come in any order.
    let (one, other) = (next(), next());
    let (reply, event) = if one["event"].is_null() {
        (one, other)
    } else {
        (other, one)
    };
    assert_eq!(reply["return"], serde_json::json!({}));
    assert_eq!(event["event"], "DUMP_COMPLETED");
    assert_eq!(event["data"]["result"]["status"], "completed");
    send(r#"{"execute": "query-dump"}"#);
    assert_eq!(next()["return"]["total"], 64 << 20);
    opens_demo(&folder.path().join("dump"), 64 << 20);
    // The client goes away in the middle of a dump: it is as if there was none.
    send(&dump.replace('\n', "").replace("file:dump", "file:half"));
    drop(commands);
    assert!(server.wait().unwrap().success());
    let _ = lines.count();
}

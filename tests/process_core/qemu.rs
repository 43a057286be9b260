//! Cores of the real QEMU, which gdb writes.

use std::path::PathBuf;
use std::process::Command;

use guestdump::GuestMemory;
use guestdump::read::Vmcore;
use serde_json::{Value, json};
use testkit::Folder;
use testkit::qemu::{Backend, Qemu, RAM};

/// A stopped guest, and QEMU's core.
struct Guest {
    qemu: Qemu,
    folder: Folder,
    core: PathBuf,
    /// Host-virtual address of the RAM block.
    hva: u64,
}

/// `None` if QEMU or gdb is missing, which is an error where tests are
/// mandatory.
fn guest(backend: Backend) -> Option<Guest> {
    let mut qemu = Qemu::start(backend)?;
    qemu.command("stop", json!({}));
    let line = json!({"command-line": "gpa2hva 0x100000"});
    let text = qemu.command("human-monitor-command", line);
    // "Host virtual address for 0x100000 (ram0) is 0x7f..."
    let hva = text.as_str().unwrap().trim().rsplit("0x").next().unwrap();
    let hva = u64::from_str_radix(hva, 16).unwrap() - 0x10_0000;
    let folder = Folder::new();
    let result = Command::new("gcore")
        .arg("-o")
        .arg(folder.path("core"))
        .arg(qemu.pid().to_string())
        .output();
    let core = folder.path(&format!("core.{}", qemu.pid()));
    let failure = match result {
        Ok(output) if output.status.success() => {
            return Some(Guest {
                qemu,
                folder,
                core,
                hva,
            });
        }
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    let mandatory = std::env::var_os("CI").is_some_and(|ci| ci == "true");
    assert!(!mandatory, "gcore: {failure}");
    eprintln!("skipped: gcore: {failure}");
    None
}

impl Guest {
    fn run(&self, more: &str) -> testkit::Run {
        let core = self.core.display();
        self.folder.run(&format!(
            "dump --from process-core:{core} --to dump --force {more}"
        ))
    }

    /// A map of all RAM but the window of video memory.
    fn write_map(&self, place: impl Fn(u64) -> Value) {
        let region = |gpa: u64, size: u64| {
            let mut region = place(gpa);
            region["gpa"] = gpa.into();
            region["size"] = size.into();
            region
        };
        let regions = [region(0, 0xa_0000), region(0x10_0000, RAM - 0x10_0000)];
        let map = json!({"machine": "x86_64", "regions": regions});
        self.folder.write("map.json", map.to_string());
    }

    /// The dump has what QEMU itself says is in the guest's memory.
    fn check_dump(&mut self) {
        let dump = std::fs::File::open(self.folder.path("dump")).unwrap();
        let dump = Vmcore::open(dump).unwrap();
        assert_eq!(dump.ranges().len(), 2);
        for range in dump.ranges() {
            let name = self.folder.path("expected");
            self.qemu.command(
                "pmemsave",
                json!({"val": range.start(), "size": range.size(), "filename": name}),
            );
            let expected = std::fs::read(name).unwrap();
            let mut bytes = vec![0; expected.len()];
            dump.read(range.start(), &mut bytes).unwrap();
            assert!(bytes == expected, "{range}");
        }
        let mut word = [0; 8];
        dump.read(0x123_4560, &mut word).unwrap();
        assert_eq!(u64::from_le_bytes(word), 0x123_4560);
    }
}

#[test]
fn the_guest_is_taken_out_of_qemus_core() {
    let Some(mut guest) = guest(Backend::Anonymous) else {
        return;
    };
    let hva = guest.hva;
    guest.write_map(|gpa| json!({"hva": format!("{:#x}", hva + gpa)}));
    for format in ["elf", "kdump-raw-zlib"] {
        let summary = guest.run(&format!("--map map.json --json --format {format}"));
        assert_eq!(summary.json()["missing"], json!([]));
        guest.check_dump();
    }
    // The guest is a boot sector: there is no kernel to find.
    guest.run("--json").fails(1, &["VMCOREINFO", "map"]);

    // Half of the file, in which most of RAM is lost.
    let file = std::fs::File::options().write(true).open(&guest.core);
    let at = rest_at(&guest.core, hva + RAM / 2);
    file.unwrap().set_len(at).unwrap();
    guest
        .run("--map map.json --json")
        .fails(1, &["not in the core file", "--keep-incomplete"]);
    let run = guest.run("--map map.json --json --keep-incomplete");
    let missing = &run.incomplete_json()["missing"];
    assert_eq!(missing[0]["gpa"], RAM / 2);
    assert_eq!(missing[0]["size"], RAM / 2);
    assert_eq!(missing[0]["reason"], "cut_short");
    assert!(run.stderr().contains("64.0 MiB"), "{}", run.stderr());
}

/// The core's offset of the byte at the host-virtual address `hva`.
fn rest_at(core: &std::path::Path, hva: u64) -> u64 {
    let file = std::fs::File::open(core).unwrap();
    let core = guestdump::process_core::ProcessCore::open(file).unwrap();
    let mut segments = core.segments().iter();
    let segment = segments.find(|s| s.hva <= hva && hva < s.end()).unwrap();
    segment.offset + (hva - segment.hva)
}

#[test]
fn memory_that_qemu_keeps_out_of_cores_is_named() {
    let Some(guest) = guest(Backend::NotDumped) else {
        return;
    };
    let hva = guest.hva;
    guest.write_map(|gpa| json!({"hva": hva + gpa}));
    let run = guest.run("--map map.json");
    run.fails(1, &["none of the guest's RAM", "dump-guest-core=off"]);
    guest.run("--json").fails(1, &["dump-guest-core=off"]);
}

#[test]
fn memory_in_a_shared_file_is_taken_from_there() {
    let Some(mut guest) = guest(Backend::SharedFile) else {
        return;
    };
    let hva = guest.hva;
    guest.write_map(|gpa| json!({"hva": hva + gpa}));
    let ram = guest.qemu.path("ram");
    let run = guest.run("--map map.json");
    run.fails(1, &["none of the guest's RAM", &ram.display().to_string()]);
    guest
        .run("--json")
        .fails(1, &["VMCOREINFO", &ram.display().to_string()]);
    guest.write_map(|gpa| json!({"path": ram, "offset": gpa}));
    guest.run("--map map.json").ok();
    guest.check_dump();
}

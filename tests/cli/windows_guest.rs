//! The synthetic Windows guest: by itself, and as a file with its RAM.

use std::io::Write;

use guestdump::GuestMemory;
use guestdump::demo::WindowsGuest;
use guestdump::windmp::Header;
use testkit::Folder;

/// Writes the guest's RAM to the file `ram`, range behind range, and a map to
/// `map`; `cpus` is the map's list of CPUs.
fn write_raw(folder: &Folder, cpus: &str) {
    let guest = WindowsGuest::new(16 << 20).unwrap();
    let mut file = std::fs::File::create(folder.path("ram")).unwrap();
    let mut offset = 0;
    let mut regions = Vec::new();
    for range in guest.ranges() {
        let mut bytes = vec![0; range.size() as usize];
        guest.read(range.start(), &mut bytes).unwrap();
        file.write_all(&bytes).unwrap();
        let (gpa, size) = (range.start(), range.size());
        regions.push(format!(
            r#"{{"gpa": {gpa}, "size": {size}, "offset": {offset}}}"#
        ));
        offset += size;
    }
    let regions = regions.join(",");
    folder.write(
        "map",
        format!(r#"{{"machine": "x86_64", "regions": [{regions}], "cpus": {cpus}}}"#),
    );
}

#[test]
fn demo_windows_guest_is_dumped_by_name_with_a_built_header() {
    let folder = Folder::new();
    for format in ["win-dmp", "win-dmp-bitmap"] {
        let line = format!("dump --from demo-windows:16M --to {format} --format {format} --json");
        let json = folder.run(&line).json();
        assert_eq!(json["windows"]["header"], "guest");
        assert_eq!(json["windows"]["bug_check_code"], 0xd1);
        assert_eq!(json["windows"]["skipped_cpus"].as_array().unwrap().len(), 0);
        let info = folder.run(&format!("info {format} --json")).json();
        assert_eq!(info["format"], format);
        folder.run(&format!("check {format}")).ok();
    }
    for (name, pae) in [
        ("demo-windows-i386", true),
        ("demo-windows-i386-nopae", false),
    ] {
        for format in ["win-dmp", "win-dmp-bitmap"] {
            let line = format!("dump --from {name}:16M --to dmp --format {format} --json --force");
            let json = folder.run(&line).json();
            assert_eq!(json["machine"], "i386");
            assert_eq!(json["windows"]["header"], "guest");
            assert_eq!(json["windows"]["bug_check_code"], 0xd1);
            assert_eq!(json["windows"]["skipped_cpus"].as_array().unwrap().len(), 0);
            assert_eq!(json["windows"]["damage"].as_array().unwrap().len(), 0);
            let info = folder.run("info dmp --json").json();
            assert_eq!(info["format"], format);
            assert_eq!(info["header"]["bits"], 32);
            assert_eq!(folder.read("dmp")[0x5c], u8::from(pae));
            folder.run("check dmp").ok();
        }
    }
    folder
        .run("dump --from demo-windows-i386-nopae:4G --to y --format win-dmp")
        .fails(1, &["at most 3221225472"]);
    let run = folder.run("dump --from demo-windows:16M --to x --format win-dmp");
    run.ok();
    let text = run.stderr();
    assert!(
        text.contains("built from the guest's kernel; bug check 0xd1"),
        "{text}"
    );
}

#[test]
fn windows_guest_in_a_ram_file_is_dumped_with_a_built_or_given_header() {
    let folder = Folder::new();
    let guest = WindowsGuest::new(16 << 20).unwrap();
    let mut cpus = guest.cpus();
    cpus.push(cpus[1]);
    write_raw(&folder, &serde_json::to_string(&cpus).unwrap());
    let line = "dump --from raw:ram --map map --to x --format win-dmp";
    let run = folder.run(line);
    run.ok();
    let text = run.stderr();
    let warning =
        "warning: the registers of vCPU 2 are not in the dump's memory: Windows has 2 processors";
    assert!(text.contains(warning), "{text}");
    folder
        .run("dump --from demo-windows:16M --to y --format win-dmp")
        .ok();
    assert!(folder.read("x") == folder.read("y"));

    // With a header it need not be found.
    folder.write("header", &folder.read("y")[..Header::MAX_SIZE]);
    write_raw(&folder, "[]");
    folder
        .run(
            line.replace("--to x", "--to z --windows-header header")
                .as_str(),
        )
        .ok();
}

#[test]
fn a_damaged_guest_is_refused_or_reported() {
    let folder = Folder::new();
    let guest = WindowsGuest::new(16 << 20).unwrap();
    write_raw(&folder, &serde_json::to_string(&guest.cpus()).unwrap());
    // The first process is linked to nothing.
    let head = guest.translate(guest.processes()).unwrap();
    let mut offset = head;
    for range in guest.ranges() {
        if head < range.end() {
            offset -= range.start();
            break;
        }
        offset += range.size();
    }
    let mut ram = folder.read("ram");
    ram[offset as usize..][..8].fill(0);
    folder.write("ram", ram);
    let line = "dump --from raw:ram --map map --to x --format win-dmp";
    folder.run(line).fails(
        1,
        &[
            "processes",
            "--windows-header FILE",
            "--windows-damaged",
            "--format elf",
        ],
    );
    assert!(!folder.names().contains(&"x".to_owned()));
    let run = folder.run(&format!("{line} --windows-damaged"));
    run.ok();
    let text = run.stderr();
    let warning = "warning: the kernel's list of processes (PsActiveProcessHead) is broken";
    assert!(text.contains(warning), "{text}");
    let json = folder
        .run(&format!("{line} --windows-damaged --force --json"))
        .json();
    assert_eq!(json["windows"]["damage"].as_array().unwrap().len(), 1);
    folder
        .run("dump --from raw:ram --map map --to elf --format elf")
        .ok();
}

#[test]
fn a_guest_without_windows_is_told_what_to_give() {
    let folder = Folder::new();
    // Linux; RAM and nothing else.
    let line = "dump --from demo:16M --to x --format win-dmp";
    folder
        .run(line)
        .fails(1, &["no Windows kernel found", "--windows-header FILE"]);
    write_raw(&folder, "[]");
    folder.write("ram", vec![0; 16 << 20]);
    let line = "dump --from raw:ram --map map --to x --format win-dmp-bitmap";
    folder
        .run(line)
        .fails(1, &["no CPU registers", "--windows-header FILE"]);
    // Without a map the place may be wrong.
    folder.write("ones", vec![1; 1 << 20]);
    folder
        .run("dump --from raw:ones --to x --format win-dmp")
        .fails(1, &["only assumed", "--map"]);
    assert!(!folder.names().contains(&"x".to_owned()));
}

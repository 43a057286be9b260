//! What is done with dump files: `info`, `check`, `rearrange`, converting.

use std::io::Write;
use std::process::Stdio;

use testkit::{Folder, Run, linux_formats};

fn dump(folder: &Folder, name: &str, format: &str) {
    folder
        .run(&format!(
            "dump --from demo:16M --to {name} --format {format}"
        ))
        .ok();
}

#[test]
fn info_tells_what_the_dump_was_made_of() {
    let folder = Folder::new();
    let made = folder
        .run("dump --from demo:16M --to first --format elf --json")
        .json();
    let guest = guestdump::demo::DemoGuest::new(16 << 20).unwrap();
    let rip = format!("{:#x}", guest.cpus()[1].rip);
    let cr3 = format!("{:#x}", guest.cpus()[1].cr3);
    for format in linux_formats() {
        dump(&folder, format.name(), format.name());
        let info = folder.run(&format!("info {format} --json")).json();
        assert_eq!(info["format"], format.name());
        let codec = format.codec().map(guestdump::codec::Codec::feature);
        assert_eq!(info["codec"].as_str(), codec);
        let flattened = format.codec().is_some() && !format.needs_positions();
        assert_eq!(info["flattened"], flattened);
        assert_eq!(info["complete"], true);
        assert_eq!(info["machine"], "x86_64");
        assert_eq!(info["page_size"], 4096);
        assert_eq!(info["file_size"], folder.read(format.name()).len());
        assert_eq!(info["pages"], made["pages"]);
        assert_eq!(info["bytes_total"], made["bytes_total"]);
        assert_eq!(
            info["vmcoreinfo"]["osrelease"],
            made["vmcoreinfo"]["osrelease"]
        );
        assert_eq!(info["vmcoreinfo"]["page_size"], 4096);
        assert!(info["vmcoreinfo"]["phys_base"].is_i64());
        assert_eq!(info["cpus"].as_array().unwrap().len(), 2);
        assert_eq!(info["cpus"][1]["pid"], 2);
        assert_eq!(info["cpus"][1]["program_counter"], rip);
        assert_eq!(info["cpus"][1]["page_table_root"], cr3);
        assert_eq!(info["cpus"][1]["registers"]["cr3"], cr3);
        assert_eq!(info["notes"].as_array().unwrap().len(), 5);
        assert_eq!(info["notes"][0]["name"], "CORE");
        assert_eq!(info["notes"][0]["type"], 1);
        assert_eq!(info["notes"][0]["size"], 336);
        assert_eq!(info["ranges"][0]["gpa"], 0);
        if format.codec().is_none() {
            assert!(info["utsname"].is_null());
            assert_eq!(info["header"]["elf_type"], 4);
        } else {
            assert_eq!(info["utsname"]["release"], made["vmcoreinfo"]["osrelease"]);
            assert_eq!(info["header"]["version"], 6);
        }

        let text = folder.run(&format!("info {format}"));
        let release = made["vmcoreinfo"]["osrelease"].as_str().unwrap();
        for word in [
            format.name(),
            "complete",
            "x86_64",
            &rip,
            &cr3,
            release,
            "16.0 MiB",
            "QEMU",
        ] {
            assert!(text.ok().contains(word), "{word}: {}", text.ok());
        }
        assert_eq!(text.ok().contains("flattened"), flattened);
    }
}

#[test]
fn registers_of_info_can_go_into_a_map() {
    let folder = Folder::new();
    dump(&folder, "x", "elf");
    let info = folder.run("info x --json").json();
    let registers: Vec<_> = info["cpus"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cpu| cpu["registers"].clone())
        .collect();
    let map = serde_json::json!({
        "regions": [{"gpa": 0, "size": 4096, "offset": 0}],
        "cpus": registers,
    });
    folder.write("map.json", map.to_string());
    folder.write("ram", [1; 4096]);
    folder
        .run("dump --from raw:ram --map map.json --to y --format elf")
        .ok();
    assert_eq!(folder.run("info y --json").json()["cpus"], info["cpus"]);
}

#[test]
fn text_from_the_guest_is_escaped() {
    let folder = Folder::new();
    folder.write("ram", [1; 4096]);
    folder.write(
        "info",
        "OSRELEASE=6.1\u{1b}[2J\u{9b}31m\nBUILD-ID=\u{7}\u{202e}abc\u{1b}]0;x\n",
    );
    let dump = folder.run("dump --from raw:ram --to x --vmcoreinfo info --format kdump-raw-zlib");
    dump.ok();
    let text = folder.run("info x");
    let json = folder.run("info x --json");
    for out in [dump.stderr(), text.ok(), json.ok()] {
        let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!out.contains(steers), "{out:?}");
        assert!(out.contains("6.1"), "{out}");
    }
    assert!(
        text.ok().contains("\\u{7}\\u{202e}abc\\u{1b}]0;x"),
        "{}",
        text.ok()
    );
    assert_eq!(
        json.json()["vmcoreinfo"]["build_id"],
        "\u{7}\u{202e}abc\u{1b}]0;x"
    );
}

#[test]
fn what_is_no_dump_is_refused() {
    let folder = Folder::new();
    folder.write("text", "hello");
    folder.write("empty", "");
    std::fs::create_dir(folder.path("folder")).unwrap();
    for (name, word) in [
        ("text", "neither"),
        ("empty", "neither"),
        ("folder", "folder: "),
        ("missing", "No such file"),
    ] {
        for line in [
            format!("info {name}"),
            format!("check {name}"),
            format!("dump --from vmcore:{name} --to x"),
        ] {
            folder.run(&line).fails(1, &[name, word]);
        }
        let verdict = folder.run(&format!("check {name} --json"));
        verdict.fails(1, &[name]);
    }
    assert!(!folder.path("x").exists());
}

#[test]
fn check_counts_what_is_there() {
    let folder = Folder::new();
    for format in linux_formats() {
        let line = format!("dump --from demo:16M --to {format} --format {format} --json");
        let made = folder.run(&line).json();
        let checked = folder.run(&format!("check {format} --json")).json();
        assert_eq!(checked["ok"], true);
        assert_eq!(checked["notes"], 5);
        assert_eq!(checked["pages"], made["pages"]);
        assert_eq!(checked["zero_pages"], made["zero_pages"], "{format}");
        let number = |key: &str| checked[key].as_u64().unwrap();
        assert_eq!(
            number("raw_pages") + number("compressed_pages"),
            number("pages")
        );
        let text = folder.run(&format!("check {format}"));
        assert!(
            text.ok()
                .starts_with(&format!("{format}: good, 4096 pages")),
            "{}",
            text.ok()
        );
    }
}

#[test]
fn check_finds_a_damaged_page_and_says_where() {
    let folder = Folder::new();
    let lines = (0..4096).map(|n| format!("line {n}\n")).collect::<String>();
    folder.write("ram", &lines.as_bytes()[..4 * 4096]);
    folder.run("dump --from raw:ram --raw-anyway --to x").ok();
    let mut bytes = folder.read("x");
    // The last page's data lies at the end.
    let last = bytes.len();
    bytes[last - 20..].fill(0xff);
    folder.write("x", &bytes);
    let text = folder.run("check x");
    text.fails(1, &["x: ", "guest-physical address 0x3000"]);
    assert_eq!(text.stdout(), "");
    let json = folder.run("check x --json");
    json.fails(1, &["x: "]);
    let verdict: serde_json::Value = serde_json::from_str(json.stdout()).unwrap();
    assert_eq!(verdict["ok"], false);
    let offset = verdict["offset"].as_u64().unwrap();
    assert!((last - 4096..last).contains(&(offset as usize)), "{offset}");
    assert!(
        text.stderr().contains(&offset.to_string()),
        "{}",
        text.stderr()
    );
}

#[test]
fn check_finds_every_cut() {
    let folder = Folder::new();
    for format in ["elf", "kdump-raw-zlib", "kdump-zlib"] {
        dump(&folder, "whole", format);
        let bytes = folder.read("whole");
        for len in [10, 100, 5000, bytes.len() / 2, bytes.len() - 1] {
            folder.write("cut", &bytes[..len]);
            folder.run("check cut").fails(1, &["cut: "]);
        }
        std::fs::remove_file(folder.path("whole")).unwrap();
    }
}

#[test]
fn a_rearranged_dump_is_the_raw_one() {
    let folder = Folder::new();
    for codec in guestdump::codec::Codec::ALL
        .iter()
        .filter(|c| c.is_available())
    {
        let name = codec.feature();
        dump(&folder, "flat", &format!("kdump-{name}"));
        dump(&folder, "raw", &format!("kdump-raw-{name}"));
        let run = folder.run("rearrange flat back");
        assert_eq!(run.ok(), "");
        assert!(
            run.stderr().starts_with("guestdump: back: "),
            "{}",
            run.stderr()
        );
        assert!(folder.read("raw") == folder.read("back"), "{name}");
        for name in ["flat", "raw", "back"] {
            std::fs::remove_file(folder.path(name)).unwrap();
        }
    }
}

#[test]
fn rearranging_works_from_a_pipe_and_into_a_descriptor() {
    let folder = Folder::new();
    folder.run("dump --from demo:16M --to raw").ok();
    folder
        .shell("guestdump dump --from demo:16M --to - | guestdump rearrange - piped")
        .ok();
    assert!(folder.read("raw") == folder.read("piped"));
    folder
        .shell("guestdump dump --from demo:16M --to flat --format kdump-zlib && guestdump rearrange flat fd:5 5>fd")
        .ok();
    assert!(folder.read("raw") == folder.read("fd"));
    folder.run("rearrange flat -").fails(1, &["position"]);
}

#[test]
fn rearranging_is_careful_with_files() {
    let folder = Folder::new();
    dump(&folder, "flat", "kdump-zlib");
    folder.write("old", "precious");
    folder
        .run("rearrange flat old")
        .fails(1, &["old exists", "--force"]);
    let flat = folder.read("flat");
    folder.write("cut", &flat[..flat.len() / 2]);
    folder
        .run("rearrange cut old --force")
        .fails(1, &["cut: ", "ends"]);
    folder
        .run("rearrange old x")
        .fails(1, &["old: ", "flattened"]);
    folder
        .run("rearrange missing x")
        .fails(1, &["missing", "No such file"]);
    assert_eq!(folder.read("old"), b"precious");
    assert_eq!(folder.names(), ["cut", "flat", "old"]);
    folder.run("rearrange flat old --force").ok();
    assert!(folder.read("old").starts_with(b"KDUMP"));

    let mut child = folder
        .command(["rearrange", "-", "x"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(&flat[..9000])
        .unwrap();
    Run(child.wait_with_output().unwrap()).fails(1, &["standard input: "]);
    assert_eq!(folder.names(), ["cut", "flat", "old"]);
}

#[test]
fn converting_there_and_back_gives_the_same_bytes() {
    let folder = Folder::new();
    dump(&folder, "elf", "elf");
    dump(&folder, "raw", "kdump-raw-zlib");
    for format in linux_formats() {
        let there = format!("dump --from vmcore:elf --to there --format {format} --force");
        folder.run(&there).ok();
        folder
            .run("dump --from vmcore:there --to back --format elf --force")
            .ok();
        assert!(folder.read("elf") == folder.read("back"), "{format}");
        folder
            .run("dump --from vmcore:there --to back --format kdump-raw-zlib --force")
            .ok();
        assert!(folder.read("raw") == folder.read("back"), "{format}");
    }
}

#[test]
fn a_dump_can_be_replaced_by_its_conversion() {
    let folder = Folder::new();
    dump(&folder, "x", "elf");
    folder
        .run("dump --from vmcore:x --to x --format kdump-raw-zlib")
        .fails(1, &["x exists"]);
    let json = folder
        .run("dump --from vmcore:x --to x --force --json --begin 1M --length 1M")
        .json();
    assert_eq!(json["vmcoreinfo"]["source"], "dump");
    assert_eq!(json["pages"], 256);
    folder.run("check x").ok();
    assert_eq!(folder.names(), ["x"]);
}

#[test]
fn windows_dumps_are_written_told_of_and_converted() {
    use testkit::windows::{HeaderBytes, header_64};
    let folder = Folder::new();
    let ram: Vec<u8> = (0..64u8).flat_map(|n| [n; 4096]).collect();
    folder.write("ram", &ram);
    folder.write("header", header_64(0x3000).bytes());
    for (format, dump_type) in [("win-dmp", 1), ("win-dmp-bitmap", 5)] {
        let run = folder.run(&format!(
            "dump --from raw:ram --windows-header header --to {format} --format {format}"
        ));
        run.ok();
        assert!(!run.stderr().contains("VMCOREINFO"), "{}", run.stderr());
        let info = folder.run(&format!("info {format} --json")).json();
        assert_eq!(info["format"], format);
        assert_eq!(info["complete"], true);
        assert_eq!(info["machine"], "x86_64");
        assert_eq!(info["pages"], 64);
        let header = &info["header"];
        assert_eq!(header["bits"], 64);
        assert_eq!(header["dump_type"], dump_type);
        assert_eq!(header["directory_table_base"], "0x3000");
        assert_eq!(header["bugcheck_code"], "0x161");
        assert_eq!(header["version"][1], 19041);
        let text = folder.run(&format!("info {format}"));
        for word in [format, "Windows 64-bit", "bug check:   0x161"] {
            assert!(text.ok().contains(word), "{word}");
        }
        let checked = folder.run(&format!("check {format} --json")).json();
        assert_eq!(
            (&checked["pages"], &checked["zero_pages"]),
            (&64.into(), &1.into())
        );
        folder
            .run(&format!(
                "dump --from vmcore:{format} --to {format}.elf --format elf"
            ))
            .ok();
        assert!(folder.read(&format!("{format}.elf")).ends_with(&ram));
        folder
            .run(&format!(
                "dump --from vmcore:{format} --to again --format {format} --force"
            ))
            .ok();
        assert!(folder.read("again") == folder.read(format));
    }
    folder
        .run("dump --from raw:ram --to x --format win-dmp")
        .fails(1, &["no CPU registers", "--windows-header FILE"]);
    folder
        .run("dump --from raw:ram --to x --format win-dmp --windows-header ram")
        .fails(1, &["4096 or 8192 bytes", "8193"]);
    assert!(!folder.path("x").exists());
}

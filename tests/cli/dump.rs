//! `dump`: formats, options, the summary.

use testkit::{Folder, Run, linux_formats};

#[test]
fn the_summary_has_its_fields() {
    let folder = Folder::new();
    let run = folder.run("dump --from demo:16M --to x --json");
    let json = run.json();
    assert_eq!(run.stderr(), "");
    assert_eq!(json["format"], "kdump-raw-zlib");
    assert_eq!(json["machine"], "x86_64");
    assert_eq!(json["page_size"], 4096);
    assert_eq!(json["bytes_total"], 16 << 20);
    assert_eq!(json["pages"], 4096);
    let number = |key: &str| json[key].as_u64().unwrap();
    assert!(number("zero_pages") > 0 && number("zero_pages") < 4096);
    assert!(number("threads") >= 1);
    assert!(number("bytes_written") > 0);
    assert_eq!(number("file_size"), folder.read("x").len() as u64);
    assert!(json["seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(json["vmcoreinfo"]["source"], "fw_cfg");
    assert!(json["vmcoreinfo"]["osrelease"].is_string());
    assert!(json["vmcoreinfo"]["address"].as_u64().unwrap() > 0);
    assert!(json["vmcoreinfo"].get("candidates").is_none());
}

#[test]
fn a_scan_lists_its_candidates() {
    let folder = Folder::new();
    let mut ram = vec![0; 4 << 12];
    for (page, text) in [(1, "OSRELEASE=6.1\n"), (3, "OSRELEASE=6.2\nCRASHTIME=9\n")] {
        ram[page << 12..][..text.len()].copy_from_slice(text.as_bytes());
    }
    folder.write("ram", ram);
    folder.write(
        "map",
        r#"{"regions": [{"gpa": 0, "size": "16K", "offset": 0}]}"#,
    );
    let dump = "dump --from raw:ram --map map --to";
    let json = folder.run(&format!("{dump} x --json")).json();
    let found = &json["vmcoreinfo"];
    assert_eq!(found["source"], "scan");
    let candidates = found["candidates"].as_array().unwrap();
    assert_eq!(candidates.len(), 2);
    assert_eq!(candidates[0]["osrelease"], found["osrelease"]);
    assert_eq!(candidates[0]["address"], found["address"]);
    let crashed = candidates.iter().find(|c| c["crash_time"] == 9).unwrap();
    assert_eq!(crashed["osrelease"], "6.2");
    assert_eq!(crashed["verified"], false);
    let run = folder.run(&format!("{dump} y"));
    run.ok();
    assert!(run.stderr().contains("the best of 2"), "{}", run.stderr());
}

#[test]
fn throttle_and_page_cache_make_no_difference() {
    let folder = Folder::new();
    folder.run("dump --from demo:16M --to x").ok();
    let options = "--throttle 1G --nocache";
    folder
        .run(&format!("dump --from demo:16M --to y {options}"))
        .ok();
    let stdout = format!("guestdump dump --from demo:16M --to - {options} --format kdump-raw-zlib");
    folder.shell(&format!("{stdout} > z")).ok();
    assert!(folder.read("x") == folder.read("y"));
    assert!(folder.read("x") == folder.read("z"));
    // A number that was meant to be mebibytes.
    folder
        .run("dump --from demo:16M --to w --throttle 100")
        .fails(1, &["100 bytes a second", "less than a page"]);
    assert_eq!(folder.names(), ["x", "y", "z"]);
}

#[test]
fn without_json_people_are_told_on_stderr() {
    let folder = Folder::new();
    let run = folder.run("dump --from demo:16M --to x --threads 1");
    assert_eq!(run.ok(), "");
    for word in [
        "x: kdump-raw-zlib",
        "16.0 MiB",
        "4096 pages",
        "1 thread\n",
        "VMCOREINFO",
        "from QEMU's vmcoreinfo device, at 0x",
        "verified",
    ] {
        assert!(run.stderr().contains(word), "{}", run.stderr());
    }
    folder.write("ram", [1; 4096]);
    let run = folder.run("dump --from raw:ram --to y");
    run.ok();
    assert!(run.stderr().contains("no VMCOREINFO"), "{}", run.stderr());
}

#[test]
fn every_format_is_written() {
    let folder = Folder::new();
    for format in linux_formats() {
        let line = format!("dump --from demo:16M --to {format} --format {format} --json");
        assert_eq!(folder.run(&line).json()["format"], format.name());
        let bytes = folder.read(format.name());
        let magic: &[u8] = match format.codec() {
            None => b"\x7fELF",
            Some(_) if format.needs_positions() => b"KDUMP   ",
            Some(_) => b"makedumpfile\0",
        };
        assert!(bytes.starts_with(magic), "{format}");
    }
}

#[test]
fn the_number_of_threads_does_not_show() {
    let folder = Folder::new();
    for format in ["elf", "kdump-zlib", "kdump-raw-zlib"] {
        for threads in [1, 2, 5] {
            let line = format!(
                "dump --from demo:32M --to {threads} --format {format} --threads {threads} --force --json"
            );
            assert_eq!(folder.run(&line).json()["threads"], threads);
        }
        assert!(folder.read("1") == folder.read("2"), "{format}");
        assert!(folder.read("1") == folder.read("5"), "{format}");
    }
    // As many as there are cores.
    let cores = std::thread::available_parallelism().unwrap().get();
    let json = folder
        .run("dump --from demo:16M --to all --threads 0 --json")
        .json();
    assert_eq!(json["threads"], cores);
}

#[test]
fn a_part_can_be_dumped() {
    let folder = Folder::new();
    let json = folder
        .run("dump --from demo:16M --to x --json --begin 1M --length 0x200000")
        .json();
    assert_eq!(json["pages"], 512);
    folder
        .run("dump --from demo:16M --to y --begin 1G --length 4K")
        .fails(1, &["0x40000000", "no RAM"]);
    assert_eq!(folder.names(), ["x"]);
}

#[test]
fn a_demo_guest_of_an_impossible_size_is_refused() {
    let folder = Folder::new();
    for size in ["1M", "16777217", "16777215T"] {
        folder
            .run(&format!("dump --from demo:{size} --to x"))
            .fails(1, &["demo guest"]);
    }
    assert!(folder.names().is_empty());
}

#[test]
fn progress_is_shown_when_asked_for() {
    let folder = Folder::new();
    let dump = "dump --from demo:16M --to x --force --json --progress";
    let stderr = |run: &Run| run.stderr().to_owned();
    let always = stderr(&folder.run(&format!("{dump} always")));
    assert!(
        always.ends_with(" written\n") && always.contains("100% of 16.0 MiB"),
        "{always}"
    );
    assert_eq!(stderr(&folder.run(&format!("{dump} auto"))), "");
    assert_eq!(stderr(&folder.run(&format!("{dump} never"))), "");
}

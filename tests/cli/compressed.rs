//! Compressed dumps.

use std::io::Write;
use std::process::Stdio;

use testkit::Folder;
use testkit::core_file::{Core, Load};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Compresses the file `name` in each way; by xz if that is installed.
fn packed(folder: &Folder, name: &str) -> Vec<String> {
    let bytes = folder.read(name);
    let mut names = vec![format!("{name}.gz"), format!("{name}.zst")];
    folder.write(&names[0], gzip(&bytes));
    folder.write(&names[1], zstd::stream::encode_all(&bytes[..], 1).unwrap());
    if folder.shell(&format!("xz -0 -k -f {name}")).code() == 0 {
        names.push(format!("{name}.xz"));
    }
    names
}

#[test]
fn a_compressed_dump_is_read_as_what_is_in_it() {
    let folder = Folder::new();
    for format in ["elf", "kdump-zlib"] {
        let line = format!("dump --from demo:16M --format {format} --to plain --force");
        folder.run(&line).ok();
        for name in packed(&folder, "plain") {
            let mut info = folder.run(&format!("info --json {name}")).json();
            assert_eq!(info["file_size"], folder.read(&name).len());
            let mut plain = folder.run("info --json plain").json();
            for key in ["file", "file_size"] {
                plain[key].take();
                info[key].take();
            }
            assert_eq!(info, plain, "{name}");
            let check = folder.run(&format!("check {name}"));
            assert!(
                check.ok().contains("good, 4096 pages"),
                "{}",
                check.stdout()
            );
            let convert = |from: &str, to: &str| {
                let line = format!("dump --from {from} --format kdump-raw-lzo --to {to} --force");
                folder.run(&line).ok();
            };
            convert("plain", "x");
            convert(&name, "y");
            assert!(folder.read("x") == folder.read("y"), "{name}");
            folder
                .run(&format!("dmesg {name}"))
                .fails(1, &["kernel's log"]);
        }
    }
}

#[test]
fn a_stream_that_is_cut_or_damaged_is_never_a_dump() {
    let folder = Folder::new();
    folder.run("dump --from demo:16M --to plain").ok();
    for name in packed(&folder, "plain") {
        let whole = folder.read(&name);
        for cut in [30, whole.len() / 2, whole.len() - 1] {
            folder.write("cut", &whole[..cut]);
            folder
                .run("info cut")
                .fails(1, &["cut: ", "cut short after"]);
            folder
                .run("check cut")
                .fails(1, &["cut: ", "cut short after"]);
            folder
                .run("dump --from cut --to x")
                .fails(1, &["cut: ", "cut short after"]);
        }
        let verdict = folder.run("check --json cut");
        assert_eq!(verdict.code(), 1);
        assert!(
            verdict.stdout().contains("\"ok\":false"),
            "{}",
            verdict.stdout()
        );
    }
    folder
        .run("rearrange plain.gz x")
        .fails(1, &["plain.gz: ", "flattened", "`gzip -d` first"]);
    folder
        .run("rearrange plain x")
        .fails(1, &["plain: ", "flattened", "raw form already"]);
    folder.write("other.gz", gzip(b"QEVM\0\0\0\x03"));
    folder
        .run("info other.gz")
        .fails(1, &["other.gz: unpacked", "QEMU migration stream"]);
    folder.write("twice.gz", gzip(&gzip(b"text")));
    folder.run("info twice.gz").fails(1, &["unpacked", "gzip"]);
}

#[test]
fn a_compressed_core_of_a_process_is_unpacked_too() {
    let folder = Folder::new();
    let ram: Vec<u8> = (1..=8_u8).flat_map(|n| [n; 4096]).collect();
    let file = std::fs::File::create(folder.path("core")).unwrap();
    Core::new([Load::filled(0x7f00_0000_0000, ram)]).write_to(&file);
    let map =
        r#"{"machine": "x86_64", "regions": [{"gpa": 0, "size": 32768, "hva": "0x7f0000000000"}]}"#;
    folder.write("map", map);
    let dump = |from: &str, to: &str| {
        let line = format!("dump --from process-core:{from} --map map --to {to} --force");
        folder.run(&line).ok();
    };
    dump("core", "x");
    for name in packed(&folder, "core") {
        dump(&name, "y");
        assert!(folder.read("x") == folder.read("y"), "{name}");
    }
    folder.write("core.gz", &folder.read("core.gz")[..100]);
    folder
        .run("dump --from process-core:core.gz --map map --to z")
        .fails(1, &["core.gz: ", "cut short"]);
}

#[test]
fn the_spool_is_where_the_user_says_and_has_no_name() {
    let folder = Folder::new();
    folder.run("dump --from demo:16M --to plain").ok();
    let name = packed(&folder, "plain").remove(0);
    let names = folder.names();
    folder.run(&format!("check {name} --spool .")).ok();
    folder
        .run(&format!("dump --from {name} --to x --spool . --force"))
        .ok();
    folder
        .run(&format!("info {name} --spool missing"))
        .fails(1, &[&name, "missing", "--spool DIR", "No such file"]);
    let mut command = folder.command(["info", &name]);
    let output = command
        .env("TMPDIR", "/nowhere")
        .stderr(Stdio::piped())
        .output();
    testkit::Run(output.unwrap()).fails(1, &["/nowhere", "--spool DIR"]);
    let full = format!("ulimit -f 64; guestdump info {name} --spool .");
    folder
        .shell(&full)
        .fails(1, &["--spool DIR", "File too large"]);
    std::fs::remove_file(folder.path("x")).unwrap();
    assert_eq!(folder.names(), names);
}

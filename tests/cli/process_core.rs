//! Sources of the kind process-core:CORE, with and without a map.

use guestdump::demo::DemoGuest;
use serde_json::{Value, json};
use testkit::core_file::{Core, DEMO_SIZE, LINUX_HVA, Load, linux_guest};
use testkit::{Folder, VMCOREINFO};

const HVA: u64 = 0x7f00_0000_0000;

/// A folder with the core file `core`.
fn folder(loads: impl IntoIterator<Item = Load>) -> Folder {
    let folder = Folder::new();
    let file = std::fs::File::create(folder.path("core")).unwrap();
    Core::new(loads).write_to(&file);
    folder
}

/// Pages of guest memory, each full of its number plus one, and VMCOREINFO
/// in the third.
fn ram(pages: u8) -> Vec<u8> {
    let mut bytes: Vec<u8> = (1..=pages).flat_map(|n| [n; 4096]).collect();
    bytes[8192..8192 + VMCOREINFO.len()].copy_from_slice(VMCOREINFO.as_bytes());
    bytes[8192 + VMCOREINFO.len()] = 0;
    bytes
}

/// A map whose two regions are placed by `place`, which is given an offset
/// in RAM.
fn map(place: impl Fn(u64) -> Value) -> String {
    let region = |gpa: u64, size: u64, offset: u64| {
        let mut region = place(offset);
        region["gpa"] = gpa.into();
        region["size"] = size.into();
        region
    };
    let regions = [region(0, 0x4000, 0), region(0x1_0000_0000, 0x4000, 0x4000)];
    json!({"machine": "x86_64", "regions": regions, "cpus": [{"rip": 1}, {"rip": 2}]}).to_string()
}

#[test]
fn a_core_gives_the_same_dump_as_the_guests_ram() {
    let folder = folder([Load::filled(HVA, ram(8))]);
    folder.write("ram", ram(8));
    folder.write("raw.json", map(|offset| json!({"offset": offset})));
    folder.write(
        "core.json",
        map(|offset| json!({"hva": format!("{:#x}", HVA + offset)})),
    );
    for format in ["elf", "kdump-zlib", "kdump-raw-zlib"] {
        let dump = |from: &str, map: &str, to: &str| {
            folder
                .run(&format!(
                    "dump --from {from} --map {map} --to {to} --format {format} --json --force"
                ))
                .json()
        };
        let raw = dump("raw:ram", "raw.json", "a");
        let core = dump("process-core:core", "core.json", "b");
        assert!(folder.read("a") == folder.read("b"), "{format}");
        assert_eq!(core["missing"], json!([]));
        assert_eq!(core["vmcoreinfo"]["osrelease"], "6.1.0-test");
        assert_eq!(raw.get("missing"), None);
    }
}

#[test]
fn what_is_missing_is_said_and_left_out() {
    let folder = folder([
        Load::filled(HVA, ram(4)),
        Load::left_out(HVA + 0x4000, 0x1000),
        Load::filled(HVA + 0x5000, vec![6; 0x1000]),
    ]);
    folder.write("map.json", map(|offset| json!({"hva": HVA + offset})));
    let dump = "dump --from process-core:core --map map.json --to x --format elf --json";
    folder
        .run(dump)
        .fails(1, &["12288 bytes", "0x100000000", "--keep-incomplete"]);
    let run = folder.run(&format!("{dump} --keep-incomplete"));
    let summary = run.incomplete_json();
    assert_eq!(summary["pages"], 5);
    assert_eq!(summary["complete"], false);
    assert_eq!(summary["lacks"][0]["kind"], "not-in-core");
    assert_eq!(summary["absent_bytes"], 0x3000);
    assert_eq!(
        summary["missing"],
        json!([
            {"gpa": 0x1_0000_0000_u64, "size": 0x1000, "hva": "0x7f0000004000", "reason": "left_out"},
            {"gpa": 0x1_0000_2000_u64, "size": 0x2000, "hva": "0x7f0000006000", "reason": "no_segment"},
        ])
    );
    let lines: Vec<_> = run.stderr().lines().collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].contains("0x100000000..0x100001000") && lines[0].contains("MADV_DONTDUMP"));
    assert!(lines[1].contains("8.0 KiB") && lines[1].contains("no segment"));
    assert!(lines[2].contains("incomplete"));
    let info = folder.run("info x --json").json();
    assert_eq!(
        info["ranges"],
        json!([{"gpa": 0, "size": 0x4000}, {"gpa": 0x1_0000_1000_u64, "size": 0x1000}])
    );
    assert_eq!(info["complete"], false);
    assert_eq!(info["absent_bytes"], 0x3000);
}

#[test]
fn long_lists_of_what_is_missing_are_for_json() {
    let folder = folder((0..40).map(|i| Load::filled(HVA + i * 0x2000, vec![7; 0x1000])));
    folder.write(
        "map.json",
        json!({"regions": [{"gpa": 0, "size": 0x5_0000, "hva": HVA}]}).to_string(),
    );
    let dump = "dump --from process-core:core --map map.json --keep-incomplete --json";
    let run = folder.run(&format!("{dump} --to x"));
    let json = run.incomplete_json();
    assert_eq!(json["missing"].as_array().unwrap().len(), 40);
    assert_eq!(run.stderr().lines().count(), 10);
    let last = run.stderr().lines().nth(8).unwrap();
    assert!(
        last.contains("32 more ranges") && last.contains("128.0 KiB"),
        "{last}"
    );
    // The one line of JSON is all that goes to stderr with the dump on stdout.
    let run = folder.run(&format!("{dump} --to -"));
    assert_eq!(run.code(), 3);
    let json: Value = serde_json::from_str(run.stderr()).unwrap();
    assert_eq!(json["missing"].as_array().unwrap().len(), 40);
}

#[test]
fn qemus_ram_is_found_without_a_map() {
    let demo = DemoGuest::new(DEMO_SIZE).unwrap();
    let folder = folder([Load::filled(HVA, vec![1; 0x1000]), linux_guest(&demo)]);
    let run = folder.run("dump --from process-core:core --to x --format elf --json");
    let summary = run.json();
    assert_eq!(summary["machine"], "x86_64");
    assert_eq!(summary["bytes_total"], (32 << 20) - 0x2_0000);
    assert_eq!(summary["missing"], json!([]));
    assert_eq!(summary["vmcoreinfo"]["osrelease"], "6.1.0-guestdump-demo");
    assert_eq!(summary["vmcoreinfo"]["candidates"][0]["verified"], true);
    folder.run("check x").ok();

    let folder = self::folder([Load::filled(LINUX_HVA, vec![1; 16 << 20])]);
    folder
        .run("dump --from process-core:core --to x")
        .fails(1, &["core: ", "VMCOREINFO", "--map"]);
    assert_eq!(folder.names(), ["core"]);
}

#[test]
fn regions_say_one_place_only() {
    let folder = folder([Load::filled(HVA, ram(8))]);
    folder.write("ram", ram(8));
    for (from, place, words) in [
        (
            "raw:ram",
            json!({"hva": 0}),
            &["`hva`", "process-core:"][..],
        ),
        (
            "raw:ram",
            json!({"hva": 0, "offset": 0}),
            &["`hva`", "process-core:"],
        ),
        (
            "process-core:core",
            json!({}),
            &["`hva`", "`path` and `offset`"],
        ),
        (
            "process-core:core",
            json!({"offset": 0}),
            &["`path` and `offset`"],
        ),
        (
            "process-core:core",
            json!({"hva": HVA, "offset": 0}),
            &["either `hva`"],
        ),
        (
            "process-core:core",
            json!({"hva": HVA, "path": "ram"}),
            &["either `hva`"],
        ),
        (
            "process-core:core",
            json!({"hva": 1}),
            &["0x1", "page-aligned"],
        ),
        (
            "process-core:core",
            json!({"hva": 0x1000}),
            &["none of the guest's RAM", "0x1000"],
        ),
    ] {
        folder.write("map.json", map(|_| place.clone()));
        folder
            .run(&format!("dump --from {from} --map map.json --to x"))
            .fails(1, &[&["map.json: "], words].concat());
    }
    // Part in the core, part in the file that was mapped.
    folder.write(
        "map.json",
        json!({"regions": [
            {"gpa": 0, "size": 0x2000, "hva": HVA},
            {"gpa": 0x2000, "size": 0x6000, "path": "ram", "offset": 0x2000},
        ]})
        .to_string(),
    );
    folder
        .run("dump --from process-core:core --map map.json --to a")
        .ok();
    folder.write(
        "raw.json",
        r#"{"regions": [{"gpa": 0, "size": "32K", "offset": 0}]}"#,
    );
    folder.run("dump --from raw:ram --map raw.json --to b").ok();
    assert!(folder.read("a") == folder.read("b"));
}

/// By the map's machine or the command line's, with VMCOREINFO found in RAM.
#[test]
fn guests_of_every_machine_come_out_in_every_format() {
    let folder = folder([Load::filled(HVA, ram(32))]);
    let region = json!({"gpa": 0x8000_0000u64, "size": 0x20000, "hva": HVA});
    let map = |machine: Value| json!({"machine": machine, "regions": [region], "cpus": [{}]});
    for machine in guestdump::Machine::ALL.iter().map(|m| m.name()) {
        folder.write("named.json", map(json!(machine)).to_string());
        folder.write("silent.json", map(Value::Null).to_string());
        let formats = guestdump::Format::available().filter(|f| !f.is_windows());
        for format in formats.map(guestdump::Format::name) {
            let dump = |map: &str, to: &str| {
                let to = format!("--to {to} --format {format} --json --force");
                let dump = format!("dump --from process-core:core --map {map} {to}");
                folder.run(&dump).json()
            };
            dump("named.json", "a");
            let summary = dump(&format!("silent.json --machine {machine}"), "b");
            assert!(folder.read("a") == folder.read("b"), "{machine} {format}");
            assert_eq!(summary["vmcoreinfo"]["osrelease"], "6.1.0-test");
            let info = folder.run("info a --json").json();
            assert_eq!(info["machine"], machine, "{format}");
            assert_eq!(info["cpus"].as_array().map(Vec::len), Some(1));
            assert_eq!(
                info["ranges"],
                json!([{"gpa": 0x8000_0000u64, "size": 0x20000}])
            );
            folder.run("check a").ok();
        }
    }
}

#[test]
fn other_files_are_refused() {
    let folder = Folder::new();
    folder.write("junk", "hello");
    folder
        .run("dump --from process-core:junk --to x")
        .fails(1, &["junk: ", "decompress"]);
    folder
        .run("dump --from process-core:missing --to x")
        .fails(1, &["missing", "No such file"]);
    assert_eq!(folder.names(), ["junk"]);
}

#[test]
fn the_example_of_the_documentation_works() {
    let example = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/docs/examples/map-process-core.json"
    );
    let mut load = Load::new(0x7f52_c000_0000, 4 << 30);
    load.data.push((3 << 30, b"high".to_vec()));
    let folder = folder([load]);
    std::fs::copy(example, folder.path("map.json")).unwrap();
    let json = folder
        .run("dump --from process-core:core --map map.json --to x --json --begin 4G --length 1M")
        .json();
    assert_eq!(json["pages"], 256);
    assert_eq!(json["zero_pages"], 255);
    assert_eq!(json["missing"], json!([]));
}

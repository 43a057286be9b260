//! Sources of the kind raw:PATH, with and without a map.

use std::os::unix::fs::FileExt;

use testkit::{Folder, VMCOREINFO};

/// Pages of guest memory, each full of its number plus one.
fn ram(pages: u8) -> Vec<u8> {
    (1..=pages).flat_map(|n| [n; 4096]).collect()
}

/// The bytes of the segments of an ELF dump with their addresses.
fn loads(elf: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let word = |at: usize| u64::from_le_bytes(elf[at..at + 8].try_into().unwrap());
    let count = u16::from_le_bytes([elf[56], elf[57]]);
    (0..usize::from(count))
        .map(|i| word(32) as usize + i * 56)
        .filter(|at| elf[*at] == 1)
        .map(|at| {
            let (offset, paddr, size) = (word(at + 8) as usize, word(at + 24), word(at + 32));
            (paddr, elf[offset..offset + size as usize].to_vec())
        })
        .collect()
}

#[test]
fn a_plain_file_is_ram_from_address_0_on() {
    let folder = Folder::new();
    folder.write("ram", ram(4));
    let json = folder
        .run("dump --from raw:ram --to x --format elf --json")
        .json();
    assert_eq!(json["pages"], 4);
    assert_eq!(json["bytes_total"], 4 * 4096);
    assert!(json["vmcoreinfo"].is_null());
    assert_eq!(loads(&folder.read("x")), [(0, ram(4))]);
}

#[test]
fn a_map_says_what_lies_where() {
    let folder = Folder::new();
    folder.write("ram", ram(4));
    std::fs::create_dir(folder.path("maps")).unwrap();
    folder.write("maps/other", ram(2));
    folder.write(
        "maps/map.json",
        r#"{
            "machine": "x86_64", "page_size": "0x1000",
            "regions": [
                {"gpa": 0, "size": 8192, "offset": 8192},
                {"gpa": "0x100000", "size": "0x1000", "offset": "4096", "path": "other"},
                {"gpa": "0x100000000", "size": 4096, "offset": 0}
            ],
            "cpus": [
                {"rip": "0xffffffff81000000", "rsp": "0xffffffff82003f00", "cr3": "0x2a10000",
                 "cs": {"selector": 16, "limit": "0xffffffff", "flags": "0xa09b00"},
                 "gdt": {"base": "0xfffffe0000001000", "limit": 127}},
                {}
            ]
        }"#,
    );
    folder
        .run("dump --from raw:ram --map maps/map.json --to x --format elf")
        .ok();
    let elf = folder.read("x");
    assert_eq!(
        loads(&elf),
        [
            (0, ram(4)[8192..].to_vec()),
            (0x10_0000, ram(2)[4096..].to_vec()),
            (0x1_0000_0000, ram(1)),
        ]
    );
    let rip = 0xffff_ffff_8100_0000_u64.to_le_bytes();
    // In both notes of the one CPU that has it.
    assert_eq!(elf.windows(8).filter(|w| *w == rip).count(), 2);
}

#[test]
fn a_map_may_point_to_vmcoreinfo_and_an_option_counts_more() {
    let folder = Folder::new();
    let mut note = Vec::new();
    for word in [11u32, VMCOREINFO.len() as u32, 0] {
        note.extend(word.to_le_bytes());
    }
    note.extend(b"VMCOREINFO\0\0");
    note.extend(VMCOREINFO.as_bytes());
    note.resize(4096, 0);
    let mut memory = ram(4);
    memory[8192..8192 + note.len()].copy_from_slice(&note);
    folder.write("ram", memory);
    folder.write(
        "map.json",
        r#"{"regions": [{"gpa": 0, "size": 16384, "offset": 0}],
            "vmcoreinfo": {"gpa": "0x2000", "size": 128}}"#,
    );
    folder.write("text", "OSRELEASE=6.9.9\n");
    folder.write("note", &note);
    let osrelease = |line: &str| {
        let json = folder.run(line).json();
        let found = &json["vmcoreinfo"];
        let word = |key: &str| found[key].as_str().unwrap().to_owned();
        (word("source"), word("osrelease"), found["address"].as_u64())
    };
    let dump = "dump --from raw:ram --force --json --to x";
    let test = || "6.1.0-test".to_owned();
    assert_eq!(
        osrelease(&format!("{dump} --map map.json")),
        ("note".into(), test(), Some(0x2000))
    );
    assert_eq!(
        osrelease(&format!("{dump} --map map.json --vmcoreinfo scan")),
        ("scan".into(), test(), Some(0x2000))
    );
    assert_eq!(
        osrelease(&format!("{dump} --map map.json --vmcoreinfo text")),
        ("given".into(), "6.9.9".into(), None)
    );
    assert_eq!(
        osrelease(&format!("{dump} --map map.json --vmcoreinfo note")),
        ("given".into(), test(), None)
    );
    folder.write("junk", "hello");
    folder
        .run(&format!("{dump} --map map.json --vmcoreinfo junk"))
        .fails(1, &["VMCOREINFO", "OSRELEASE="]);
    folder
        .run(&format!("{dump} --vmcoreinfo missing"))
        .fails(1, &["missing", "No such file"]);
}

#[test]
fn a_bad_map_is_refused_by_name_and_reason() {
    let folder = Folder::new();
    folder.write("ram", ram(4));
    for (map, words) in [
        ("", &["EOF"][..]),
        ("{}", &["regions"]),
        (
            r#"{"regions": [], "cpu": []}"#,
            &["unknown field `cpu`", "line 1"],
        ),
        (
            r#"{"regions": [{"gpa": 0, "size": 4096, "offset": 0, "file": "x"}]}"#,
            &["`file`"],
        ),
        (r#"{"regions": [{"gpa": 0, "size": 4096}]}"#, &["`offset`"]),
        (
            r#"{"regions": [{"gpa": -1, "size": 4096, "offset": 0}]}"#,
            &["`-1`", "0x"],
        ),
        (
            r#"{"regions": [{"gpa": "1GB", "size": 4096, "offset": 0}]}"#,
            &["1GB"],
        ),
        (
            r#"{"regions": [{"gpa": 1, "size": 4096, "offset": 0}]}"#,
            &["0x1", "aligned"],
        ),
        (
            r#"{"regions": [{"gpa": 0, "size": 0, "offset": 0}]}"#,
            &["empty"],
        ),
        (
            r#"{"regions": [{"gpa": 0, "size": 20480, "offset": 0}]}"#,
            &["past the end"],
        ),
        (
            r#"{"regions": [{"gpa": 0, "size": 4096, "offset": "0xffffffffffffffff"}]}"#,
            &["past the end"],
        ),
        (
            r#"{"regions": [{"gpa": 0, "size": 8192, "offset": 0}, {"gpa": 4096, "size": 4096, "offset": 0}]}"#,
            &["overlap"],
        ),
        (r#"{"regions": [], "machine": "z80"}"#, &["z80"]),
        (r#"{"regions": [], "cpus": [{"rix": 1}]}"#, &["`rix`"]),
        (
            r#"{"regions": [], "cpus": [{"cs": {"limit": "0x100000000"}}]}"#,
            &["32 bits"],
        ),
    ] {
        folder.write("map.json", map);
        let run = folder.run("dump --from raw:ram --map map.json --to x");
        run.fails(1, &[&["map.json: "], words].concat());
    }
    folder.write(
        "map.json",
        r#"{"regions": [{"gpa": 0, "size": 4096, "offset": 0, "path": "missing"}]}"#,
    );
    folder
        .run("dump --from raw:ram --map map.json --to x")
        .fails(1, &["missing", "No such file"]);
    folder
        .run("dump --from raw:ram --map missing.json --to x")
        .fails(1, &["missing.json", "No such file"]);
    assert_eq!(folder.names(), ["map.json", "ram"]);
}

#[test]
fn a_missing_or_empty_file_is_refused() {
    let folder = Folder::new();
    folder
        .run("dump --from raw:missing --to x")
        .fails(1, &["missing", "No such file"]);
    folder.write("short", [1; 100]);
    folder
        .run("dump --from raw:short --to x")
        .fails(1, &["short", "100 bytes", "whole pages"]);
    assert_eq!(folder.names(), ["short"]);
}

#[test]
fn page_sizes_are_checked() {
    let folder = Folder::new();
    folder.write("ram", ram(4));
    let dump = "dump --from raw:ram --json --force --to x --page-size";
    assert_eq!(folder.run(&format!("{dump} 16K")).json()["pages"], 1);
    folder.run(&format!("{dump} 5000")).fails(1, &["5000"]);
}

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/examples");

#[test]
fn the_example_of_the_documentation_works() {
    let folder = Folder::new();
    let example = format!("{EXAMPLES}/map-x86_64.json");
    std::fs::copy(example, folder.path("map.json")).unwrap();
    let ram = std::fs::File::create(folder.path("ram")).unwrap();
    ram.set_len(4 << 30).unwrap();
    ram.write_all_at(b"high", 3 << 30).unwrap();
    folder.write("pflash", [7; 0x2_0000]);
    let json = folder
        .run("dump --from raw:ram --map map.json --to x --json --begin 4G --length 1M")
        .json();
    assert_eq!(json["pages"], 256);
    assert_eq!(json["zero_pages"], 255);
}

/// One for each machine; `info` gives its registers back.
#[test]
fn there_is_an_example_of_every_machine() {
    let help = Folder::new().run("dump --help");
    for machine in guestdump::Machine::ALL {
        assert!(help.ok().contains(machine.name()), "{machine}");
        let folder = Folder::new();
        let text = std::fs::read_to_string(format!("{EXAMPLES}/map-{machine}.json"))
            .unwrap_or_else(|e| panic!("no example for {machine}: {e}"));
        let mut map: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(map["machine"], machine.name());
        for name in ["ram", "map", "bios", "pflash"] {
            std::fs::File::create(folder.path(name))
                .and_then(|file| file.set_len(4 << 30))
                .unwrap();
        }
        folder.write("map", &text);
        let dump = "dump --from raw:ram --map map --format elf --force --to";
        folder.run(&format!("{dump} first")).ok();
        let info = folder.run("info first --json").json();
        assert_eq!(info["machine"], machine.name());
        let cpu = &info["cpus"][0];
        assert!(cpu["program_counter"].as_str().unwrap().starts_with("0x"));
        // The registers that it prints are those of the map file.
        map["cpus"] = serde_json::json!([cpu["registers"]]);
        folder.write("map", map.to_string());
        folder.run(&format!("{dump} second")).ok();
        let second = folder.run("info second --json").json();
        assert_eq!(second["cpus"], info["cpus"], "{machine}");
        assert_eq!(second["notes"], info["notes"]);
    }
}

#[test]
fn registers_are_those_of_the_machine() {
    let folder = Folder::new();
    folder.write("ram", ram(4));
    let regions = r#""regions": [{"gpa": 0, "size": 4096, "offset": 0}]"#;
    let map = |rest: &str| folder.write("map", format!("{{{regions}, {rest}}}"));
    let dump = "dump --from raw:ram --map map --format elf --force --to x";
    // The machine may be named behind the CPUs, or on the command line.
    map(r#""cpus": [{"pc": 1}], "machine": "riscv64""#);
    folder.run(dump).ok();
    map(r#""cpus": [{"eip": 1}], "machine": "riscv64""#);
    folder.run(dump).fails(1, &["CPU 0", "riscv64", "`eip`"]);
    folder.run(&format!("{dump} --machine i686")).ok();
    map(r#""cpus": [{}, {"eip": "0x100000000"}], "machine": "i386""#);
    folder.run(dump).fails(1, &["CPU 1", "32 bits"]);
    map(r#""machine": "vax""#);
    folder.run(dump).fails(1, &["vax", "loongarch64"]);
}

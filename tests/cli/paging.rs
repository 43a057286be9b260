//! `dump --paging`.

use serde_json::json;
use testkit::{Folder, VMCOREINFO};

/// 64 KiB of RAM with page tables from 0x1000 on that map the page at 0x5000.
fn folder() -> Folder {
    let folder = Folder::new();
    let mut ram = vec![0x11u8; 0x1_0000];
    ram[0x1000..0x5000].fill(0);
    for (table, next) in [
        (0x1000, 0x2003u64),
        (0x2000, 0x3003),
        (0x3000, 0x4003),
        (0x4000, 0x5003),
    ] {
        ram[table..table + 8].copy_from_slice(&next.to_le_bytes());
    }
    folder.write("ram", ram);
    folder.write("vmcoreinfo", VMCOREINFO);
    let map = json!({
        "regions": [{"gpa": 0, "size": 0x1_0000, "offset": 0}],
        "cpus": [{"cr0": "0x80000001", "cr3": "0x1000", "cr4": "0x20"}],
    });
    folder.write("map.json", map.to_string());
    folder
}

const DUMP: &str =
    "dump --from raw:ram --map map.json --vmcoreinfo vmcoreinfo --to x --progress never --paging";

#[test]
fn paging_is_reported() {
    let folder = folder();
    let summary = folder.run(&format!("{DUMP} --format elf --json")).json();
    let expected = json!({
        "mappings": 1,
        "tables": 4,
        "partial": false,
        "cut_tables": 0,
        "cut_bytes": 0,
        "unreadable_tables": 0,
    });
    assert_eq!(summary["paging"], expected);
    assert_eq!(folder.run("info --json x").json()["header"]["loads"], 2);
    folder.run("check x").ok();
    let run = folder.run(&format!("{DUMP} --format elf --force"));
    run.ok();
    assert!(
        run.stderr().contains("1 mapping by 4 page tables"),
        "{}",
        run.stderr()
    );
    // The dump's own notes lead to the page tables as well.
    let again = "dump --from vmcore:x --to y --format elf --paging --json --progress never";
    assert_eq!(folder.run(again).json()["paging"], expected);
    assert_eq!(folder.read("x"), folder.read("y"));
    let plain = "dump --from vmcore:x --to z --format elf --json --progress never";
    assert_eq!(folder.run(plain).json().get("paging"), None);
}

#[test]
fn paging_without_a_place_or_page_tables_is_refused() {
    let folder = folder();
    folder
        .run(&format!("{DUMP} --format kdump-zlib"))
        .fails(1, &["kdump-zlib", "elf"]);
    folder
        .run("dump --from raw:ram --to x --format elf --paging")
        .fails(1, &["page tables", "registers", "VMCOREINFO"]);
    assert_eq!(folder.names(), ["map.json", "ram", "vmcoreinfo"]);
}

//! `map`: a map file that `--map` takes back.

use std::fs::File;

use guestdump::demo::DemoGuest;
use serde_json::{Value, json};

use testkit::Folder;
use testkit::core_file::{Core, DEMO_SIZE, LINUX_HVA, Load, linux_guest};

const MIB: u64 = 1 << 20;

fn linux_demo() -> Load {
    linux_guest(&DemoGuest::new(DEMO_SIZE).unwrap())
}

fn folder_with_core(load: Load) -> Folder {
    let folder = Folder::new();
    let file = File::create(folder.path("core")).unwrap();
    Core::new([load]).write_to(&file);
    folder
}

#[test]
fn the_map_of_a_core_gives_the_same_dump() {
    let folder = folder_with_core(linux_demo());
    let run = folder.run("map process-core:core");
    let map: Value = serde_json::from_str(run.ok()).unwrap();
    assert_eq!(run.stderr(), "");
    let hva = |offset: u64| format!("{:#x}", LINUX_HVA + offset);
    assert_eq!(
        map,
        json!({"machine": "x86_64", "regions": [
            {"gpa": "0x0", "size": "0xa0000", "hva": hva(0)},
            {"gpa": "0xc0000", "size": "0x1f40000", "hva": hva(0xc_0000)},
        ]})
    );
    folder.run("map process-core:core --to map.json").ok();
    assert_eq!(folder.read("map.json"), run.stdout().as_bytes());
    folder.run("dump --from process-core:core --to a").ok();
    folder
        .run("dump --from process-core:core --map map.json --to b")
        .ok();
    assert!(folder.read("a") == folder.read("b"));
    folder
        .run("map process-core:core --to map.json")
        .fails(1, &["map.json exists"]);
    folder
        .run("map process-core:core --to map.json --force")
        .ok();
}

#[test]
fn memory_that_a_core_lacks_is_in_the_map_and_named() {
    let mut load = linux_demo();
    load.filesz -= MIB / 2;
    load.data
        .retain(|(at, bytes)| at + bytes.len() as u64 <= 32 * MIB - MIB / 2);
    let folder = folder_with_core(load);
    let run = folder.run("map process-core:core");
    let map: Value = serde_json::from_str(run.ok()).unwrap();
    assert_eq!(map["regions"][1]["size"], "0x1f40000");
    assert!(
        run.stderr()
            .contains("512.0 KiB of guest memory are missing")
    );
}

#[test]
fn the_map_of_raw_memory_gives_the_same_dump() {
    let folder = Folder::new();
    let file = File::create(folder.path("ram")).unwrap();
    file.set_len(32 * MIB).unwrap();
    for (offset, bytes) in linux_demo().data {
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes, offset).unwrap();
    }
    let run = folder.run("map raw:ram --to map.json");
    run.ok();
    assert!(run.stderr().contains("by the guest's kernel"));
    folder.run("dump --from raw:ram --to a").ok();
    folder.run("dump --from raw:ram --map map.json --to b").ok();
    assert!(folder.read("a") == folder.read("b"));
    // What is only assumed is said, not hidden in the map.
    folder.write("ones", [1; 4096]);
    let run = folder.run("map raw:ones");
    run.ok();
    assert!(run.stderr().contains("assumed x86_64"));
}

#[test]
fn sizes_in_a_map_have_units() {
    let folder = Folder::new();
    let file = File::create(folder.path("ram")).unwrap();
    file.set_len(3 * MIB).unwrap();
    folder.write(
        "map.json",
        r#"{"page_size": "4K", "regions": [
            {"gpa": "1M", "size": "512K", "offset": "2M"},
            {"gpa": "4G", "size": "0x100000", "offset": 0}
        ]}"#,
    );
    folder
        .run("dump --from raw:ram --map map.json --to x --format elf")
        .ok();
    assert_eq!(
        folder.run("info x --json").json()["ranges"],
        json!([{"gpa": MIB, "size": MIB / 2}, {"gpa": 4096 * MIB, "size": MIB}])
    );
}

#[test]
fn what_needs_no_map_has_none() {
    let folder = Folder::new();
    for source in ["demo", "vmcore:x", "demo-windows"] {
        folder
            .run(&format!("map {source}"))
            .fails(2, &["qmp:SOCKET", "process-core:CORE"]);
    }
    folder
        .run("map qmp:nothing")
        .fails(1, &["nothing", "cannot connect"]);
}

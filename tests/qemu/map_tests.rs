//! `guestdump map qmp:SOCKET`: what it writes leads to the same dump of a core of QEMU.

use std::fs::File;

use guestdump::qemu::{QemuGuest, QemuOptions};
use serde_json::Value;

use crate::fake::{Fake, RIP, SIZE};
use testkit::Folder;
use testkit::core_file::{Core, Load};
use testkit::qemu::{Backend, Qemu};

#[test]
fn places_are_those_of_qemus_process() {
    let fake = Fake::start("running");
    let mut guest = QemuGuest::connect(fake.path(), QemuOptions::new()).unwrap();
    assert!(guest.cpus().is_err());
    guest.stop().unwrap();
    let places = guest.places();
    let sizes: u64 = places.iter().map(|place| place.range.size()).sum();
    assert_eq!(sizes, SIZE as u64);
    for place in places {
        assert_eq!(place.hva, fake.memory.as_ptr() as u64 + place.range.start());
        assert_eq!(place.file, None);
    }
    let (machine, cpus) = guest.cpus().unwrap();
    assert_eq!(machine, guestdump::Machine::X86_64);
    let counters: Vec<_> = cpus.iter().map(|cpu| cpu.program_counter()).collect();
    assert_eq!(counters, [RIP]);
}

#[test]
fn the_map_of_a_guest_gives_the_same_dump_of_a_core() {
    let folder = Folder::new();
    let fake = Fake::start("running");
    let source = format!("qmp:{}", fake.path().display());
    folder.run(&format!("map {source} --to map.json")).ok();
    assert_eq!(fake.status(), "running");
    assert_eq!(fake.count("stop"), 1);
    let map: Value = serde_json::from_slice(&folder.read("map.json")).unwrap();
    assert_eq!(map["machine"], "x86_64");
    assert_eq!(map["cpus"][0]["rip"], format!("{RIP:#x}"));
    let hva = fake.memory.as_ptr() as u64;
    let file = File::create(folder.path("core")).unwrap();
    Core::new([Load::filled(hva, fake.memory.to_vec())]).write_to(&file);
    // The socket serves one client.
    let fake = Fake::start("running");
    let source = format!("qmp:{}", fake.path().display());
    folder.write("info", "OSRELEASE=6.1.0-fake\n");
    for (from, to) in [
        (source.as_str(), "a"),
        ("process-core:core --map map.json", "b"),
    ] {
        folder
            .run(&format!(
                "dump --from {from} --vmcoreinfo info --to {to} --format elf"
            ))
            .ok();
    }
    assert!(folder.read("a") == folder.read("b"));
}

/// RAM in a file with a name is in the map by that name; other RAM is not.
#[test]
fn the_map_of_a_real_guest_gives_the_same_dump_of_its_file() {
    for (backend, is_named) in [
        (Backend::SharedFile, true),
        (Backend::SharedMemfd, false),
        (Backend::Anonymous, false),
    ] {
        let Some(mut qemu) = Qemu::start(backend) else {
            return;
        };
        let folder = Folder::new();
        qemu.command("stop", serde_json::json!({}));
        let source = qemu.source();
        folder.run(&format!("map {source} --to map.json")).ok();
        assert_eq!(qemu.status(), "paused");
        let map: Value = serde_json::from_slice(&folder.read("map.json")).unwrap();
        let regions = map["regions"].as_array().unwrap();
        assert!(!regions.is_empty());
        for region in regions {
            assert_eq!(region.get("hva").is_none(), is_named, "{region}");
            if is_named {
                let path = region["path"].as_str().unwrap();
                assert_eq!(path, qemu.path("ram").to_str().unwrap());
            }
        }
        assert_eq!(map["cpus"].as_array().unwrap().len(), 2);
        if !is_named {
            continue;
        }
        for (from, to) in [
            (source, "a"),
            (
                format!("raw:{} --map map.json", qemu.path("ram").display()),
                "b",
            ),
        ] {
            for format in ["elf", "kdump-raw-zlib"] {
                folder
                    .run(&format!(
                        "dump --from {from} --to {to}.{format} --format {format}"
                    ))
                    .ok();
            }
        }
        assert!(folder.read("a.elf") == folder.read("b.elf"));
        assert!(folder.read("a.kdump-raw-zlib") == folder.read("b.kdump-raw-zlib"));
    }
}

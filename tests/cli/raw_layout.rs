//! Where the RAM of raw:PATH lies without a map, and files that are no RAM.

use std::fs::File;
use std::os::unix::fs::FileExt;

use guestdump::abi::Utsname;
use guestdump::demo::DemoGuest;
use guestdump::{GuestMemory, MemoryRange};
use serde_json::json;
use zerocopy::IntoBytes;

use testkit::core_file::{DEMO_SIZE, LINUX_HVA, Load, linux_guest};
use testkit::{Folder, VMCOREINFO};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Writes the bytes of `load` as a sparse file.
fn write_ram(folder: &Folder, load: &Load) {
    let file = File::create(folder.path("ram")).unwrap();
    file.set_len(load.memsz).unwrap();
    for (offset, bytes) in &load.data {
        file.write_all_at(bytes, *offset).unwrap();
    }
}

/// A guest of 64 MiB with a kernel that is not x86_64's.
fn arm64_guest() -> Load {
    let uts = Utsname {
        sysname: Utsname::field("Linux"),
        release: Utsname::field("6.1.0-arm64"),
        machine: Utsname::field("aarch64"),
        ..Utsname::default()
    };
    let info = "OSRELEASE=6.1.0-arm64\nPAGESIZE=4096\nSYMBOL(init_uts_ns)=ffff800008100000\n\
                OFFSET(uts_namespace.name)=0\nNUMBER(kimage_voffset)=0xffff7fffc8000000\n\
                NUMBER(PHYS_OFFSET)=0x40000000\n\0";
    let mut load = Load::new(LINUX_HVA, 64 * MIB);
    load.data.push((MIB, uts.as_bytes().to_vec()));
    load.data.push((2 * MIB, info.as_bytes().to_vec()));
    load
}

#[test]
fn the_ram_of_a_pc_with_more_than_3_gib_is_put_around_the_hole() {
    let folder = Folder::new();
    let guest = DemoGuest::new(7 * GIB - 0x6_0000).unwrap();
    let load = Load::new(LINUX_HVA, 7 * GIB)
        .with(&guest, MIB, 7 * MIB, MIB)
        .with(&guest, 4 * GIB, 16 * MIB, 3 * GIB);
    write_ram(&folder, &load);
    let run = folder.run("dump --from raw:ram --to x --format elf --json --begin 4G --length 16M");
    let json = run.json();
    assert!(
        run.stderr().contains("by the guest's kernel"),
        "{}",
        run.stderr()
    );
    assert_eq!(json["vmcoreinfo"]["verified"], true);
    assert_eq!(
        json["ram"],
        json!({"machine": "x86_64", "by": "kernel", "regions": [
            {"gpa": 0, "size": 0xa_0000, "offset": 0},
            {"gpa": 0xc_0000, "size": 3 * GIB - 0xc_0000, "offset": 0xc_0000},
            {"gpa": 4 * GIB, "size": 4 * GIB, "offset": 3 * GIB},
        ]})
    );
    let dump = guestdump::read::Vmcore::open(File::open(folder.path("x")).unwrap()).unwrap();
    let range = MemoryRange::new(4 * GIB, 16 * MIB).unwrap();
    assert_eq!(dump.ranges(), [range]);
    let (mut ours, mut theirs) = (vec![0; 16 << 20], vec![0; 16 << 20]);
    dump.read(range.start(), &mut ours).unwrap();
    guest.read(range.start(), &mut theirs).unwrap();
    assert!(ours == theirs);
}

#[test]
fn the_ram_of_an_arm64_guest_begins_at_1_gib() {
    let folder = Folder::new();
    write_ram(&folder, &arm64_guest());
    let json = folder.run("dump --from raw:ram --to x --json").json();
    assert_eq!(json["machine"], "aarch64");
    // The file may be cut short: the kernel is not asked.
    assert_eq!(json["ram"]["by"], "usual");
    let run = folder.run("map raw:ram");
    run.ok();
    let words = "warning: assumed RAM of aarch64 at 0x40000000";
    assert!(run.stderr().contains(words), "{}", run.stderr());
    let info = folder.run("info x --json").json();
    assert_eq!(info["ranges"], json!([{"gpa": GIB, "size": 64 * MIB}]));
    // What the user says and what the kernel says is not the same.
    folder
        .run("dump --from raw:ram --to y --machine x86_64")
        .fails(1, &["ram", "6.1.0-arm64", "x86_64", "--map"]);
    assert_eq!(folder.names(), ["ram", "x"]);
}

/// A guest that crashed and was rebooted may have both kernels in memory.
#[test]
fn another_kernel_in_place_is_named() {
    let folder = Folder::new();
    let mut load = arm64_guest();
    let text = |at: usize| String::from_utf8(load.data[at].1.clone()).unwrap();
    // The first one moved by 8 MiB.
    let moved = text(1)
        .replace("ffff800008100000", "ffff800008900000")
        .replace('\0', "KERNELOFFSET=800000\nCRASHTIME=1700000000\n\0");
    let uts = load.data[0].1.clone();
    load.data.push((9 * MIB, uts));
    load.data.push((10 * MIB, moved.into_bytes()));
    write_ram(&folder, &load);
    let run = folder.run("dump --from raw:ram --to x");
    run.ok();
    for words in [
        "another kernel, 6.1.0-arm64",
        "6.1.0-arm64 (KERNELOFFSET 0x800000, CRASHTIME 1700000000)",
        "--vmcoreinfo 0x40200000",
    ] {
        assert!(run.stderr().contains(words), "{}", run.stderr());
    }
    let line = "dump --from raw:ram --to y --vmcoreinfo 0x40200000";
    let run = folder.run(line);
    run.ok();
    assert!(!run.stderr().contains("another"), "{}", run.stderr());
}

/// The first page of RAM may be one of a file that the guest has read.
#[test]
fn ram_with_a_kernel_may_begin_like_another_file() {
    let folder = Folder::new();
    let mut load = arm64_guest();
    for page in [
        vec![b'x'; 4096],
        b"\x7fELF\x02\x01\x01".to_vec(),
        b"\x1f\x8b\x08\x08".to_vec(),
        b"MDMP".to_vec(),
        b"EMiL\x01\0\0\0".to_vec(),
    ] {
        load.data.push((0, page));
        write_ram(&folder, &load);
        let json = folder
            .run("dump --from raw:ram --to x --force --json")
            .json();
        assert_eq!(json["ram"]["by"], "usual");
    }
}

/// Both the kind of the file and the reason why its kernel does not tell are named.
#[test]
fn a_doubt_does_not_hide_why_the_place_is_unknown() {
    let folder = Folder::new();
    let mut ram = vec![0; 8192];
    ram[..8].copy_from_slice(b"EMiL\x01\0\0\0");
    ram[4096..][..VMCOREINFO.len()].copy_from_slice(VMCOREINFO.as_bytes());
    folder.write("ram", ram);
    folder
        .run("dump --from raw:ram --to x")
        .fails(1, &["LiME", "6.1.0-test", "--map", "--raw-anyway"]);
}

#[test]
fn what_is_assumed_is_named() {
    let folder = Folder::new();
    folder.write("ram", [1; 8192]);
    let run = folder.run("dump --from raw:ram --to x --json");
    assert_eq!(run.json()["ram"]["by"], "assumed");
    let words = "assumed x86_64, RAM from address 0 on";
    assert!(run.stderr().contains(words), "{}", run.stderr());
    let run = folder.run("dump --from raw:ram --to y --machine s390x");
    run.ok();
    let words = "assumed RAM of s390x at 0x0";
    assert!(run.stderr().contains(words), "{}", run.stderr());
    let run = folder.run("dump --from raw:ram --to arm --machine aarch64 --json");
    assert_eq!(run.json()["ram"]["regions"][0]["gpa"], GIB);
    let words = "assumed RAM of aarch64 at 0x40000000";
    assert!(run.stderr().contains(words), "{}", run.stderr());
    // A PC has a hole below 4 GiB.
    let file = File::create(folder.path("large")).unwrap();
    file.set_len(5 * GIB).unwrap();
    file.write_all_at(&[1], 0).unwrap();
    folder
        .run("dump --from raw:large --to x --force")
        .fails(1, &["large", "x86_64", "several places", "--map"]);
    // A map says it.
    folder.write(
        "map",
        r#"{"regions": [{"gpa": 0, "size": 8192, "offset": 0}]}"#,
    );
    let run = folder.run("dump --from raw:ram --to z --map map");
    run.ok();
    assert!(!run.stderr().contains("assumed"), "{}", run.stderr());
}

#[test]
fn a_kernel_that_is_not_where_it_says_needs_a_map() {
    let folder = Folder::new();
    let mut ram = vec![0; 8192];
    ram[4096..][..VMCOREINFO.len()].copy_from_slice(VMCOREINFO.as_bytes());
    folder.write("ram", ram);
    for command in ["dump --to x --from", "dmesg"] {
        folder
            .run(&format!("{command} raw:ram"))
            .fails(1, &["ram", "6.1.0-test", "--map", "docs/map.md"]);
    }
    folder.write(
        "map",
        r#"{"regions": [{"gpa": 0, "size": 8192, "offset": 0}]}"#,
    );
    let run = folder.run("dump --from raw:ram --to x --map map --json");
    assert_eq!(run.json()["vmcoreinfo"]["verified"], false);
    let run = folder.run("dump --from raw:ram --to y --map map");
    run.ok();
    assert!(run.stderr().contains("not verified"), "{}", run.stderr());
}

#[test]
fn what_is_not_ram_is_refused_unless_told() {
    let folder = Folder::new();
    folder
        .run("dump --from demo:16M --to elf --format elf")
        .ok();
    folder.run("dump --from demo:16M --to kdump").ok();
    folder
        .run("dump --from demo:16M --to flat --format kdump-zlib")
        .ok();
    folder.write("gz", b"\x1f\x8b\x08\x08 and so on");
    folder.write("lime", [&b"EMiL\x01\0\0\0"[..], &[0; 4088]].concat());
    folder.write("odd", [1; 5000]);
    folder.write("text", [b'x'; 8192]);
    for (name, words) in [
        ("elf", &["ELF core", "vmcore:"][..]),
        ("kdump", &["kdump", "vmcore:"]),
        ("flat", &["flattened", "vmcore:"]),
        ("gz", &["gzip"]),
        ("lime", &["LiME", "map"]),
        ("odd", &["5000 bytes", "whole pages"]),
        ("text", &["it is text"]),
    ] {
        let words = [&[name, "--raw-anyway"], words].concat();
        for command in ["dump --to x --from", "dmesg"] {
            folder
                .run(&format!("{command} raw:{name}"))
                .fails(1, &words);
        }
    }
    for name in ["lime", "odd"] {
        let line = format!("dump --from raw:{name} --raw-anyway --to x --force --json");
        assert_eq!(folder.run(&line).json()["pages"], 1);
    }
    folder
        .run("dump --from vmcore:elf --raw-anyway --to y")
        .fails(2, &["--raw-anyway", "raw:PATH"]);
}

#[test]
fn vmcoreinfo_of_another_boot_is_named_and_replaced() {
    let folder = Folder::new();
    write_ram(&folder, &linux_guest(&DemoGuest::new(DEMO_SIZE).unwrap()));
    let json = folder
        .run("dump --from raw:ram --to x --format elf --json")
        .json();
    let at = json["vmcoreinfo"]["address"].as_u64().unwrap();
    folder.write(
        "other",
        "OSRELEASE=5.10.0-other\nBUILD-ID=abcd\nCRASHTIME=1700000000\nNUMBER(phys_base)=0\n\
         SYMBOL(init_uts_ns)=ffffffff81000000\nOFFSET(uts_namespace.name)=4\n",
    );
    for from in ["raw:ram", "vmcore:x"] {
        let dump = format!("dump --from {from} --force --to y --vmcoreinfo other");
        let run = folder.run(&dump);
        run.ok();
        for word in [
            "5.10.0-other (build ID abcd, CRASHTIME 1700000000)",
            "6.1.0-guestdump-demo (build ID 6775",
            "found at 0x",
            "verified",
        ] {
            assert!(run.stderr().contains(word), "{}", run.stderr());
        }
        let found = folder.run(&format!("{dump} --json")).json()["vmcoreinfo"].clone();
        assert_eq!(found["source"], "scan");
        assert_eq!(found["osrelease"], "6.1.0-guestdump-demo");
        assert_eq!(found["rejected"]["source"], "given");
        assert_eq!(found["rejected"]["crash_time"], 1_700_000_000);
        let dump = format!("dump --from {from} --force --to y --json --vmcoreinfo");
        let source = |value: &str| {
            let json = folder.run(&format!("{dump} {value}")).json();
            assert_eq!(json["vmcoreinfo"]["verified"], true);
            json["vmcoreinfo"]["source"].as_str().unwrap().to_owned()
        };
        assert_eq!(source("scan"), "scan");
        assert_eq!(source(&format!("{at:#x}")), "note");
    }
    folder
        .run("dump --from raw:ram --force --to y --vmcoreinfo 0x1000")
        .fails(1, &["VMCOREINFO"]);
    let text = folder.run("dump --from vmcore:x --to z");
    text.ok();
    assert!(
        text.stderr().contains("from the dump's note"),
        "{}",
        text.stderr()
    );
}

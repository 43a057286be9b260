//! Files of other kinds, and names of the wrong kind.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixListener;

use testkit::{Folder, Run};

/// First bytes of files that people hold instead of dumps, and words of the message.
const KINDS: [(&str, &[u8], [&str; 2]); 17] = [
    (
        "save",
        b"LibvirtQemudSave\x02\0\0\0",
        ["libvirt save image", "virsh restore"],
    ),
    (
        "part",
        b"LibvirtQemudPart\x02\0\0\0",
        ["not finished", "again"],
    ),
    (
        "mig",
        b"QEVM\0\0\0\x03",
        ["QEMU migration stream", "--memory-only"],
    ),
    ("lime", b"EMiL\x01\0\0\0", ["LiME", "map"]),
    ("zdmp", b"ZDMP\x01\0\0\0", ["DumpIt", "z2dmp"]),
    ("avml", b"AVML\x02\0\0\0", ["AVML", "avml-convert"]),
    ("vmss", b"\xd2\xbe\xd2\xbe\x08\0\0\0", ["VMware", ".vmem"]),
    ("vmrs", b"\x14\x20\x28\x01", ["Hyper-V", "MemProcFS"]),
    ("old", b"DISKDUMP\0\0\0\0", ["diskdump", "crash"]),
    (
        "s390",
        b"\xa8\x19\x01\x73\x61\x8f\x23\xfd",
        ["s390", "zgetdump"],
    ),
    (
        "lkcd",
        b"\xed\x23\x8f\x61\x73\x01\x19\xa8",
        ["LKCD", "crash"],
    ),
    ("sadump", b"sadump\0\0", ["sadump", "makedumpfile"]),
    ("hiber", b"HIBR", ["hibernation", "volatility3"]),
    ("mini", b"MDMP\x93\xa7", ["minidump", "MEMORY.DMP"]),
    ("qcow2", b"QFI\xfb\0\0\0\x03", ["qcow2", "loadvm"]),
    ("bz2", b"BZh91AY&SY", ["bzip2", "`bzip2 -d` first"]),
    (
        "xen",
        b"Xen saved domain, xl format\n \0 \r",
        ["Xen", "dump-core"],
    ),
];

#[test]
fn other_kinds_are_named_by_every_command_that_reads_dumps() {
    let folder = Folder::new();
    for (name, begin, words) in KINDS {
        let mut bytes = begin.to_vec();
        bytes.resize(9000, 0);
        folder.write(name, bytes);
        for line in [
            format!("info {name}"),
            format!("check vmcore:{name}"),
            format!("dmesg {name}"),
            format!("dump --from vmcore:{name} --to x"),
            format!("dump --from {name} --to x"),
        ] {
            folder
                .run(&line)
                .fails(1, &[&format!("{name}: the file is "), words[0], words[1]]);
        }
    }
    assert_eq!(folder.names().len(), KINDS.len());
}

#[test]
fn empty_zero_and_unknown_files_are_told_apart() {
    let folder = Folder::new();
    folder.write("empty", "");
    folder.write("zero", [0; 8192]);
    folder.write("noise", [0x5a, 0xff, 0x80, 3].repeat(2048));
    folder.write("program", std::fs::read("/proc/self/exe").unwrap());
    folder
        .run("info empty")
        .fails(1, &["empty: the file is empty, "]);
    folder
        .run("check zero")
        .fails(1, &["zero: the file is all zeroes"]);
    folder
        .run("check noise")
        .fails(1, &["noise: the file is neither an ELF core"]);
    folder
        .run("info program")
        .fails(1, &["program: the file is an ELF program"]);
    // Without a scheme, a file of no known kind may be RAM.
    folder
        .run("dump --from noise --to x")
        .fails(1, &["write raw:noise"]);
    folder
        .run("dmesg zero")
        .fails(1, &["zero is all zeroes", "write raw:zero"]);
}

#[test]
fn every_command_takes_a_path_and_vmcore_and_a_path() {
    let folder = Folder::new();
    folder.run("dump --from demo:16M --to a").ok();
    for name in ["a", "vmcore:a", "./a"] {
        let info = folder.run(&format!("info --json {name}")).json();
        assert_eq!(info["pages"], 4096);
        folder.run(&format!("check {name}")).ok();
        folder
            .run(&format!("dump --from {name} --to b --force"))
            .ok();
        assert!(folder.read("a") == folder.read("b"));
        folder
            .run(&format!("dmesg {name}"))
            .fails(1, &["kernel's log"]);
    }
    // Files whose names look like other sources.
    folder.write("raw:a", folder.read("a"));
    folder.write("a:b", folder.read("a"));
    folder.run("check raw:a").ok();
    folder.run("check a:b").ok();
    folder.run("dump --from a:b --to c").ok();
    folder.run("check qmp:a").fails(2, &["vmcore:PATH"]);
    folder.run("info demo").fails(2, &["vmcore:PATH"]);
    folder.run("info vmcore:").fails(2, &["vmcore:PATH"]);
    folder
        .run("info other")
        .fails(1, &["other", "No such file"]);
}

#[test]
fn a_wrong_scheme_is_answered_by_the_right_one() {
    let folder = Folder::new();
    folder.run("dump --from demo:16M --to dump").ok();
    folder.write("ram", [1; 8192]);
    let _socket = UnixListener::bind(folder.path("vm.qmp")).unwrap();
    std::fs::create_dir(folder.path("dir")).unwrap();
    for line in [
        "info vm.qmp",
        "check vmcore:vm.qmp",
        "dmesg vm.qmp",
        "dump --from vm.qmp --to x",
        "dump --from raw:vm.qmp --to x",
        "dump --from vmcore:vm.qmp --to x",
        "dump --from process-core:vm.qmp --to x",
    ] {
        folder
            .run(line)
            .fails(1, &["vm.qmp is a socket", "write qmp:vm.qmp"]);
    }
    folder
        .run("dump --from qmp:dump --to x")
        .fails(1, &["not a socket", "write vmcore:dump"]);
    folder
        .run("dmesg qmp:ram")
        .fails(1, &["not a socket", "write raw:ram"]);
    folder.run("qmp-resume ram").fails(1, &["not a socket"]);
    folder
        .run("dump --from process-core:dump --to x")
        .fails(1, &["kdump", "write vmcore:dump"]);
    folder.run("info dir").fails(1, &["dir: this is a folder"]);
    folder
        .run("dump --from raw:dir --to x")
        .fails(1, &["dir: this is a folder"]);
    assert_eq!(folder.names(), ["dir", "dump", "ram", "vm.qmp"]);
}

/// A prefix, a name that is not UTF-8, and a suffix as one argument.
fn odd(prefix: &str, suffix: &str) -> OsString {
    OsString::from_vec([prefix.as_bytes(), b"od\xffd", suffix.as_bytes()].concat())
}

#[test]
fn paths_need_not_be_utf_8() {
    let folder = Folder::new();
    let run = |args: &[&OsStr]| Run(folder.command(args).output().unwrap());
    let word = OsStr::new;
    let (path, dump, ram) = (odd("", ""), odd("file:", ".elf"), odd("raw:", ".ram"));
    run(&[
        word("dump"),
        word("--from"),
        word("demo:16M"),
        word("--to"),
        &path,
    ])
    .ok();
    let made = run(&[
        word("dump"),
        word("--from"),
        &odd("vmcore:", ""),
        word("--to"),
        &dump,
    ]);
    made.ok();
    assert!(
        made.stderr().contains("od\\xffd.elf: "),
        "{}",
        made.stderr()
    );
    for name in [odd("", ".elf"), odd("vmcore:", ".elf")] {
        run(&[word("check"), &name]).ok();
        let info = run(&[word("info"), word("--json"), &name]).json();
        assert_eq!(info["file"], "od\\xffd.elf");
    }
    std::fs::write(folder.path("").join(odd("", ".ram")), [1; 8192]).unwrap();
    std::fs::write(
        folder.path("").join(odd("", ".json")),
        r#"{"regions": [{"gpa": 0, "size": 8192, "offset": 0}]}"#,
    )
    .unwrap();
    let map = odd("", ".json");
    let to = odd("", ".raw");
    run(&[
        word("dump"),
        word("--from"),
        &ram,
        word("--map"),
        &map,
        word("--to"),
        &to,
    ])
    .ok();
    run(&[word("info"), OsStr::from_bytes(b"\xfe")]).fails(1, &["cannot open \\xfe"]);
    run(&[word("qmp-resume"), OsStr::from_bytes(b"\xfe")]).fails(1, &["\\xfe"]);
    run(&[
        word("dump"),
        word("--from"),
        word("demo"),
        word("--to"),
        OsStr::from_bytes(b"fd:\xfe"),
    ])
    .fails(2, &["fd:"]);
}

#[test]
fn a_map_of_any_length_is_read_in_part() {
    let folder = Folder::new();
    folder.write("ram", [1; 8192]);
    folder
        .shell("ulimit -v 1000000; guestdump dump --from raw:ram --map /dev/zero --to x")
        .fails(1, &["/dev/zero", "no map"]);
    for option in ["--vmcoreinfo", "--windows-header"] {
        folder
            .shell(&format!("ulimit -v 1000000; guestdump dump --from demo:16M {option} /dev/zero --to x --format win-dmp"))
            .fails(1, &[]);
    }
    assert_eq!(folder.names(), ["ram"]);
}

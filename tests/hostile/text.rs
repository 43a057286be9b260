//! Text of a guest, a file or a peer on a terminal: every command, with every
//! string that comes from outside one that would steer the terminal.

use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use guestdump::abi::Utsname;
use guestdump::elf::Note;
use guestdump::elf::{PT_LOAD, PT_NOTE, ProgramHeader};
use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::memory::SliceMemory;
use guestdump::sink::{FileSink, FileSinkOptions};
use guestdump::{ByteOrder, CpuState, DumpOptions, Format, GuestInfo, Machine, dump};

use crate::elf::head;
use crate::meter::alone;

/// Colours, a title, direction of text, what erases a line, and a line that
/// looks like one of the command's own. Short enough for utsname.
const EVIL: &str = "\u{1b}[2J\u{1b}]0;x\u{7}\u{9b}31m\u{202e}\u{2066}\r\u{8}\nFORGED";

fn run(folder: &Path, args: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_guestdump"))
        .args(args)
        .current_dir(folder)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

/// Nothing but what has a picture, in lines that the command made itself.
#[track_caller]
fn harmless(args: &[&str], text: &str) {
    let is_plain = |c: char| {
        c == '\n' || "\"'\\".contains(c) || (c.escape_debug().count() == 1 && !c.is_control())
    };
    assert!(text.chars().all(is_plain), "{args:?}: {text:?}");
    assert!(!text.lines().any(|l| l.starts_with("FORGED")), "{text}");
    assert!(text.len() < 64 << 10, "{args:?}: {} bytes", text.len());
}

/// The command succeeds or fails as said, prints something, and that is
/// harmless.
#[track_caller]
fn says(folder: &Path, succeeds: bool, args: &[&str]) -> String {
    let (success, text) = run(folder, args);
    assert_eq!(success, succeeds, "{args:?}: {text}");
    assert!(!text.is_empty(), "{args:?}");
    harmless(args, &text);
    text
}

/// A dump of a guest whose every string is evil.
fn evil_dump(path: &Path, format: Format) {
    let info = format!(
        "OSRELEASE={}\nBUILD-ID={EVIL}\n",
        EVIL.replace('\n', "\u{2028}")
    );
    let mut notes = Vec::new();
    for name in [EVIL.to_owned(), "x\n".repeat(50_000)] {
        let note = Note {
            name: name.as_bytes(),
            kind: 7,
            desc: EVIL.as_bytes(),
        };
        note.encode(ByteOrder::Little, &mut notes).unwrap();
    }
    let field = Utsname::field(EVIL);
    let utsname = Utsname {
        sysname: Utsname::field("Linux"),
        nodename: field,
        release: field,
        version: field,
        machine: field,
        domainname: field,
    };
    let page = vec![1; 1 << 20];
    let memory = SliceMemory::new([(0, &page[..])]).unwrap();
    let options = DumpOptions::new(
        GuestInfo::new(Machine::X86_64)
            .vmcoreinfo(VmcoreinfoSource::Bytes(info.into_bytes()))
            .raw_notes(notes)
            .cpus([CpuState::from(guestdump::arch::x86_64::Registers::default())])
            .utsname(utsname),
        format,
    );
    let mut sink = FileSink::create(path, FileSinkOptions::new()).unwrap();
    dump(&memory, &mut sink, &options).unwrap();
}

#[test]
fn text_in_dumps_of_an_evil_guest_is_escaped() {
    let Some(_meter) = alone!() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for format in [Format::Elf, Format::KDUMP_RAW_ZLIB, Format::KDUMP_ZLIB] {
        let name = format!("{EVIL}-{format}");
        evil_dump(&folder.join(&name), format);
        for args in [["info", &name], ["check", &name]] {
            says(folder, true, &args);
            let (_, json) = run(folder, &[args[0], &name, "--json"]);
            assert!(json.is_ascii());
            assert_eq!(json.matches('\n').count(), 1, "{json}");
        }
        let source = format!("vmcore:{name}");
        let to = format!("{EVIL}-again");
        says(
            folder,
            true,
            &["dump", "--from", &source, "--to", &to, "--force"],
        );
        says(folder, false, &["dump", "--from", &source, "--to", &to]);

        // Cut, so that errors name it.
        let file = std::fs::File::options()
            .write(true)
            .open(folder.join(&name));
        let file = file.unwrap();
        file.set_len(file.metadata().unwrap().len() - 8).unwrap();
        says(folder, false, &["check", &name]);
        let (_, json) = run(folder, &["check", &name, "--json"]);
        assert!(json.is_ascii() || !json.contains('\u{1b}'));
    }
    let flat = format!("{EVIL}-kdump-zlib");
    says(folder, false, &["rearrange", &flat, "raw"]);
    let nothing = format!("{EVIL}-nothing");
    for args in [
        ["info", &nothing],
        ["check", &nothing],
        [&nothing, &nothing],
        ["info", &format!("--{EVIL}")],
    ] {
        says(folder, false, &args);
    }
}

#[test]
fn names_and_values_on_the_command_line_are_escaped() {
    let Some(_meter) = alone!() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("ram"), [1; 1 << 16]).unwrap();
    let at = |prefix: &str| format!("{prefix}{EVIL}");
    for source in ["raw:", "vmcore:", "process-core:", "qmp:", "demo:", ""] {
        says(folder, false, &["dump", "--from", &at(source), "--to", "x"]);
    }
    for target in ["no/", "fd:", "file:no/"] {
        says(
            folder,
            false,
            &["dump", "--from", "demo:16M", "--to", &at(target)],
        );
    }
    for option in [
        "--map",
        "--vmcoreinfo",
        "--machine",
        "--format",
        "--page-size",
        "--threads",
    ] {
        let args = ["dump", "--from", "raw:ram", "--to", "x", option, EVIL];
        says(folder, false, &args);
    }
    let long = "x".repeat(60_000) + EVIL;
    let text = says(folder, false, &["info", &long]);
    assert!(text.len() < 32 << 10, "{}", text.len());
}

#[test]
fn text_of_maps_is_escaped() {
    let Some(_meter) = alone!() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("ram"), [1; 1 << 16]).unwrap();
    let evil = serde_json::to_string(EVIL).unwrap();
    let region = r#"{"gpa": 0, "size": 65536, "offset": 0"#;
    for map in [
        format!("{{\"regions\": [{region}, \"path\": {evil}}}]}}"),
        format!("{{\"regions\": [{region}}}], \"machine\": {evil}}}"),
        format!("{{\"regions\": [{region}}}], {evil}: 1}}"),
        format!("{{\"regions\": [{region}}}], \"page_size\": {evil}}}"),
        format!("{{\"regions\": [{region}}}], \"cpus\": [{{{evil}: {evil}}}]}}"),
        format!("{{\"regions\": [{region}}}], \"cpus\": [{{\"rip\": {evil}}}]}}"),
        EVIL.to_owned(),
    ] {
        std::fs::write(folder.join("map"), map).unwrap();
        says(
            folder,
            false,
            &["dump", "--from", "raw:ram", "--map", "map", "--to", "x"],
        );
    }
}

/// Names of mapped files, in the lines about what is missing.
#[test]
fn names_in_core_files_are_escaped() {
    let Some(_meter) = alone!() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let words = [1, 4096, 0x10_0000, 0x20_0000, 0u64];
    let mut desc: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    desc.extend(format!("/{EVIL}{}\0", "x".repeat(1 << 20)).as_bytes());
    let mut notes = Vec::new();
    Note {
        name: b"CORE",
        kind: 0x4649_4c45,
        desc: &desc,
    }
    .encode(ByteOrder::Little, &mut notes)
    .unwrap();
    let at = 128 + 2 * 56;
    let mut bytes = head(
        2,
        &[
            ProgramHeader {
                kind: PT_NOTE,
                offset: at,
                filesz: notes.len() as u64,
                ..ProgramHeader::default()
            },
            ProgramHeader {
                kind: PT_LOAD,
                flags: 6,
                offset: 8 << 20,
                vaddr: 0x20_0000,
                filesz: 8192,
                memsz: 8192,
                ..ProgramHeader::default()
            },
        ],
    );
    bytes.extend(&notes);
    bytes.resize((8 << 20) + 8192, 1);
    std::fs::write(folder.join("core"), bytes).unwrap();
    let map = r#"{"regions": [{"gpa": 0, "size": 1052672, "hva": 1048576}]}"#;
    std::fs::write(folder.join("map"), map).unwrap();
    let mut args = vec!["dump", "--from", "process-core:core", "--to", "x"];
    says(folder, false, &args);
    args.extend(["--map", "map", "--keep-incomplete"]);
    // The exit code says that the dump is incomplete.
    let text = says(folder, false, &args);
    assert!(text.contains("FORGED"), "{text}");
}

/// What a peer says, and errors that quote it.
#[test]
fn text_of_a_peer_on_the_socket_is_escaped() {
    let Some(_meter) = alone!() else {
        return;
    };
    let evil = serde_json::to_string(EVIL).unwrap();
    let error = format!("{{\"error\": {{\"class\": {evil}, \"desc\": {evil}}}, \"id\": 1}}\n");
    let greeting = "{\"QMP\": {}}\n";
    let hello = format!("{greeting}{{\"return\": {{}}, \"id\": 1}}\n");
    for said in [
        format!("{EVIL}\n"),
        format!("{{{evil}: {evil}}}\n"),
        format!("{greeting}{error}"),
        format!("{greeting}{{\"event\": {evil}}}\n{error}"),
        format!("{hello}{{\"return\": {evil}, \"id\": 2}}\n"),
        format!("{greeting}{{\"x\": {evil}, \"id\": 1}}\n"),
        format!("{hello}{{\"return\": {{\"status\": {evil}, \"running\": false}}, \"id\": 2}}\n"),
    ] {
        for args in [
            &["dump", "--from", "qmp:qmp", "--to", "x"][..],
            &["dmesg", "qmp:qmp"],
            &["qmp-resume", "qmp"],
        ] {
            let folder = tempfile::tempdir().unwrap();
            let peer = peer(&folder.path().join("qmp"), said.clone());
            says(folder.path(), false, args);
            peer.join().unwrap();
        }
    }
}

/// Says it to the first who comes.
fn peer(socket: &Path, said: String) -> std::thread::JoinHandle<()> {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.write_all(said.as_bytes());
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    })
}

/// The socket's name, in what is said of a guest that runs again.
#[test]
fn names_of_sockets_are_escaped() {
    let Some(_meter) = alone!() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    says(folder, false, &["qmp-resume", EVIL]);
    says(folder, false, &["qmp-resume", &format!("--{EVIL}")]);
    let mut said = "{\"QMP\": {}}\n{\"return\": {}, \"id\": 1}\n".to_owned();
    said.push_str("{\"return\": {\"status\": \"running\", \"running\": true}, \"id\": 2}\n");
    let peer = peer(&folder.join(EVIL), said);
    let text = says(folder, true, &["qmp-resume", EVIL]);
    assert!(text.contains("FORGED"), "{text}");
    peer.join().unwrap();
}

/// A kernel's log, its release, and where they come from.
#[test]
fn text_of_logs_is_escaped() {
    let Some(_meter) = alone!() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let kernel = 0xc000_0000_0000_0000u64;
    // Of a PowerPC guest: where the log is, and its only record.
    let mut ram = vec![0; 0x2000];
    let mut put = |at: usize, bytes: &[u8]| ram[at..at + bytes.len()].copy_from_slice(bytes);
    let (text_len, len) = (EVIL.len() as u16, EVIL.len() as u16 + 16);
    put(0x100, &(kernel + 0x1000).to_le_bytes());
    put(0x108, &0x1000u32.to_le_bytes());
    put(0x118, &u32::from(len).to_le_bytes());
    put(0x1008, &len.to_le_bytes());
    put(0x100a, &text_len.to_le_bytes());
    put(0x1010, EVIL.as_bytes());
    std::fs::write(folder.join("ram"), &ram).unwrap();
    let release = EVIL.replace('\n', "\u{2028}");
    let head = format!("OSRELEASE={release}\n");
    std::fs::write(folder.join("nothing"), &head).unwrap();
    let info = format!(
        "{head}SIZE(printk_log)=16\nOFFSET(printk_log.ts_nsec)=0\nOFFSET(printk_log.len)=8\n\
         OFFSET(printk_log.text_len)=10\nSYMBOL(log_buf)={:x}\nSYMBOL(log_buf_len)={:x}\n\
         SYMBOL(log_first_idx)={:x}\nSYMBOL(log_next_idx)={:x}\n",
        kernel + 0x100,
        kernel + 0x108,
        kernel + 0x110,
        kernel + 0x118
    );
    std::fs::write(folder.join(EVIL), info).unwrap();
    let dmesg = ["dmesg", "raw:ram", "--machine", "ppc64le", "--vmcoreinfo"];
    let with = |more: &[&'static str]| [&dmesg[..], more].concat();
    let text = says(folder, true, &with(&[EVIL]));
    assert!(text.contains("FORGED"), "{text}");
    says(folder, true, &with(&[EVIL, "--caller"]));
    let (_, json) = run(folder, &with(&[EVIL, "--json"]));
    assert!(json.is_ascii() && json.matches('\n').count() == 1, "{json}");
    says(folder, false, &with(&["nothing"]));
    for source in ["raw:", "vmcore:", "process-core:", "qmp:", "demo:", ""] {
        says(folder, false, &["dmesg", &format!("{source}{EVIL}x")]);
    }
    for option in ["--machine", "--vmcoreinfo", "--map"] {
        says(
            folder,
            false,
            &["dmesg", "raw:ram", option, &format!("{EVIL}x")],
        );
    }
    // The record is cut short, so that an error follows.
    ram[0x1008] = 1;
    std::fs::write(folder.join("ram"), ram).unwrap();
    says(folder, false, &with(&[EVIL]));
}

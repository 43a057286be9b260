//! `dmesg`. Real logs are in tests/interop, rings of every kind in tests/linux.

use testkit::Folder;

/// Where the log lies in guest memory, whose address 0 the kernel has there.
const KERNEL: u64 = 0xc000_0000_0000_0000;
const BUF: usize = 0x1000;

/// RAM of a little-endian PowerPC guest with a log as Linux 4.19 has it: two
/// records, of which the second one may be damaged.
fn write_guest(folder: &Folder, damaged: bool) {
    let mut ram = vec![0u8; 0x4000];
    let mut put = |at: usize, bytes: &[u8]| ram[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x100, &(KERNEL + BUF as u64).to_le_bytes());
    put(0x108, &0x1000u32.to_le_bytes());
    put(0x118, &80u32.to_le_bytes());
    for (at, nanoseconds, text) in [
        (BUF, 1_500_000_000u64, &b"first\nsecond line"[..]),
        (BUF + 40, 2_000_000_000, b"\x1b[31mred"),
    ] {
        put(at, &nanoseconds.to_le_bytes());
        put(at + 8, &40u16.to_le_bytes());
        put(at + 10, &(text.len() as u16).to_le_bytes());
        put(at + 16, text);
    }
    if damaged {
        put(BUF + 48, &8u16.to_le_bytes());
    }
    folder.write("ram", ram);
    let mut info = "OSRELEASE=4.19.0-test\nPAGESIZE=65536\nSIZE(printk_log)=16\n\
         OFFSET(printk_log.ts_nsec)=0\nOFFSET(printk_log.len)=8\n\
         OFFSET(printk_log.text_len)=10\n"
        .to_owned();
    let variables = ["log_buf", "log_buf_len", "log_first_idx", "log_next_idx"];
    for (name, at) in variables.iter().zip((0x100u64..).step_by(8)) {
        info.push_str(&format!("SYMBOL({name})={:x}\n", KERNEL + at));
    }
    folder.write("info", info);
}

const DMESG: &str = "dmesg raw:ram --machine ppc64le --vmcoreinfo info";

#[test]
fn the_log_is_printed_as_text_that_cannot_steer_a_terminal_and_as_json() {
    let folder = Folder::new();
    write_guest(&folder, false);
    assert_eq!(
        folder.run(DMESG).ok(),
        "[    1.500000] first\n               second line\n[    2.000000] \\x1b[31mred\n"
    );
    let json = folder.run(&format!("{DMESG} --json")).json();
    assert_eq!(json["osrelease"], "4.19.0-test");
    assert_eq!(json["records"][0]["nanoseconds"], 1_500_000_000);
    assert_eq!(json["records"][0]["text"], "first\nsecond line");
    assert!(json["records"][0]["caller"].is_null());
    assert_eq!(json["records"][1]["text"], "\u{1b}[31mred");
    assert!(json.get("error").is_none());
}

#[test]
fn of_a_damaged_log_what_can_be_read_is_printed() {
    let folder = Folder::new();
    write_guest(&folder, true);
    let run = folder.run(DMESG);
    assert_eq!(run.code(), 1);
    // Warnings come first.
    let last = run.stderr().lines().last().unwrap();
    for word in ["the kernel's log", "0xc000000000001028", "makes no sense"] {
        assert!(last.contains(word), "{last}");
    }
    assert!(run.stdout().starts_with("[    1.500000] first\n"));
}

#[test]
fn a_guest_without_a_log_is_an_error() {
    let folder = Folder::new();
    folder.write("ram", [0; 4096]);
    folder
        .run("dmesg raw:ram")
        .fails(1, &["the guest has no VMCOREINFO"]);
    folder
        .run("dmesg demo:16M")
        .fails(1, &["no SYMBOL(log_buf)"]);
    folder.run("dmesg").fails(2, &["<SOURCE>"]);
}

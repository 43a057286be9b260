//! A QEMU that lies: it answers each request with the next lines of a script.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixListener;
use std::sync::OnceLock;
use std::time::Duration;

use guestdump::qemu::{QemuGuest, QemuOptions};
use guestdump::sink::BufferSink;
use guestdump::{DumpOptions, Format, GuestInfo, Machine, dump};

use super::allocator::bounded;
use super::ram::Ram;

/// Stands for the address of a page of this process.
pub const HVA: &str = "$HVA";

/// How long the server waits for a request.
const PATIENCE: Duration = Duration::from_millis(20);

/// Ends what is said at a time: the greeting, then the answer to each
/// request. After the last one the server hangs up.
pub const END: u8 = 0;

pub fn qemu(input: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("qmp");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| serve(&listener, input));
        // JSON values are larger than their text; each byte may be one.
        bounded((4 << 20) + 512 * input.len(), || {
            let Ok(mut guest) = QemuGuest::connect(&path, QemuOptions::default()) else {
                return;
            };
            if guest.stop().is_ok() {
                let _ = guest.options(Format::Elf);
                let _ = guest.options(Format::WIN_DMP);
            }
            let _ = guest.resume();
        });
    });
}

fn serve(listener: &UnixListener, script: &[u8]) {
    let Ok((stream, _)) = listener.accept() else {
        return;
    };
    // A client that waits for an answer gets the next one.
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut requests = BufReader::new(&stream);
    for (number, answer) in script.split(|byte| *byte == END).take(40).enumerate() {
        let mut request = String::new();
        if number > 0 && requests.read_line(&mut request).is_ok_and(|len| len == 0) {
            return;
        }
        if request.contains("dump-guest-memory") {
            write_notes();
        }
        let answer = with_address(answer);
        if (&stream).write_all(&answer).is_err() || (&stream).write_all(b"\r\n").is_err() {
            return;
        }
    }
}

fn with_address(answer: &[u8]) -> Vec<u8> {
    #[repr(align(4096))]
    struct Pages([u8; 0x4000]);
    static PAGES: Pages = Pages([1; 0x4000]);
    let Ok(text) = str::from_utf8(answer) else {
        return answer.to_vec();
    };
    let address = format!("{:#x}", PAGES.0.as_ptr() as usize);
    text.replace(HVA, &address).into_bytes()
}

/// What QEMU does with the file that it was sent.
fn write_notes() {
    static DUMP: OnceLock<Vec<u8>> = OnceLock::new();
    let bytes = DUMP.get_or_init(|| {
        let ram = Ram::new(0, 4096, &[]);
        let registers = guestdump::arch::x86_64::Registers::default();
        let options = DumpOptions::new(
            GuestInfo::new(Machine::X86_64).cpus([registers]),
            Format::Elf,
        );
        let mut sink = BufferSink::new();
        dump(&ram, &mut sink, &options).unwrap();
        sink.into_bytes()
    });
    for entry in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
        let name = std::fs::read_link(entry.path()).unwrap_or_default();
        if name.to_string_lossy().contains("guestdump-notes") {
            let file = File::options().write(true).open(entry.path()).unwrap();
            file.write_all_at(bytes, 0).unwrap();
        }
    }
}

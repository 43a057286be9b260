//! A real QEMU whose guest is a boot sector in 64-bit code.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Size of the guest's RAM, in bytes.
pub const RAM: u64 = 128 << 20;

/// Enters long mode with 2 MiB pages from 0x1000 on, sets MSR KERNEL_GS_BASE
/// to 0xffff888012345000, fills 0x400000..0x1400000 with each word's own
/// address, writes `REDY` to 0x600 and counts at 0x608 for ever.
#[rustfmt::skip]
const BOOT_SECTOR: [u8; 206] = [
    0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0xbc, 0x00, 0x7c, 0xfc, 0xbf, 0x00, 0x10,
    0xb9, 0x00, 0x18, 0xf3, 0xab, 0xc7, 0x06, 0x00, 0x10, 0x03, 0x20, 0xc7, 0x06, 0x00, 0x20, 0x03,
    0x30, 0xbf, 0x00, 0x30, 0x66, 0xb8, 0x83, 0x00, 0x00, 0x00, 0x66, 0x89, 0x05, 0x66, 0x05, 0x00,
    0x00, 0x20, 0x00, 0x83, 0xc7, 0x08, 0x81, 0xff, 0x00, 0x40, 0x72, 0xee, 0xe4, 0x92, 0x0c, 0x02,
    0xe6, 0x92, 0x66, 0xb8, 0x20, 0x00, 0x00, 0x00, 0x0f, 0x22, 0xe0, 0x66, 0xb8, 0x00, 0x10, 0x00,
    0x00, 0x0f, 0x22, 0xd8, 0x66, 0xb9, 0x80, 0x00, 0x00, 0xc0, 0x0f, 0x32, 0x0d, 0x00, 0x01, 0x0f,
    0x30, 0x66, 0x0f, 0x01, 0x16, 0xc8, 0x7c, 0x0f, 0x20, 0xc0, 0x66, 0x0d, 0x01, 0x00, 0x00, 0x80,
    0x0f, 0x22, 0xc0, 0xea, 0x78, 0x7c, 0x08, 0x00, 0xb9, 0x02, 0x01, 0x00, 0xc0, 0xb8, 0x00, 0x50,
    0x34, 0x12, 0xba, 0x80, 0x88, 0xff, 0xff, 0x0f, 0x30, 0xbf, 0x00, 0x00, 0x40, 0x00, 0x48, 0x89,
    0x3f, 0x48, 0x83, 0xc7, 0x08, 0x48, 0x81, 0xff, 0x00, 0x00, 0x40, 0x01, 0x72, 0xf0, 0xc7, 0x04,
    0x25, 0x00, 0x06, 0x00, 0x00, 0x52, 0x45, 0x44, 0x59, 0x48, 0xff, 0x04, 0x25, 0x08, 0x06, 0x00,
    0x00, 0xf3, 0x90, 0xeb, 0xf4, 0x0f, 0x1f, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0xff, 0xff, 0x00, 0x00, 0x00, 0x9a, 0xaf, 0x00, 0x0f, 0x00, 0xb8, 0x7c, 0x00, 0x00,
];

/// How QEMU keeps the guest's RAM.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Backend {
    Anonymous,
    /// Anonymous memory that is kept out of core files.
    NotDumped,
    /// A memory file that is shared.
    SharedMemfd,
    /// A file `ram` that is shared.
    SharedFile,
    /// A file `ram` of which the guest changes copies.
    PrivateFile,
    /// Memory that is shared, of no file that has a name.
    SharedAnonymous,
}

pub struct Qemu {
    child: Child,
    pub folder: TempDir,
    monitor: BufReader<UnixStream>,
}

impl Qemu {
    /// Starts QEMU and waits until the guest is in 64-bit code. Returns `None` if there is no
    /// QEMU. On CI that is a panic.
    pub fn start(backend: Backend) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut boot = BOOT_SECTOR.to_vec();
        boot.resize(510, 0);
        boot.extend([0x55, 0xaa]);
        std::fs::write(folder.path().join("boot"), boot).unwrap();
        let ram = match backend {
            Backend::Anonymous => "memory-backend-ram",
            Backend::NotDumped => "memory-backend-ram,dump=off",
            Backend::SharedAnonymous => "memory-backend-ram,share=on",
            Backend::SharedMemfd => "memory-backend-memfd,share=on",
            Backend::SharedFile => "memory-backend-file,mem-path=ram,share=on",
            Backend::PrivateFile => "memory-backend-file,mem-path=ram,share=off",
        };
        let child = Command::new("qemu-system-x86_64")
            .current_dir(folder.path())
            .args(["-nodefaults", "-no-user-config", "-display", "none"])
            // A small buffer for translated code, as it is in core files too.
            .args(["-machine", "pc,memory-backend=ram0"])
            .args(["-accel", "tcg,tb-size=16"])
            .arg("-object")
            .arg(format!("{ram},id=ram0,size={RAM}"))
            .args(["-m", &format!("{}M", RAM >> 20), "-smp", "2"])
            .args(["-vga", "std", "-device", "vmcoreinfo"])
            .args(["-drive", "file=boot,format=raw"])
            .args(["-qmp", "unix:qmp,server=on,wait=off"])
            .args(["-qmp", "unix:monitor,server=on,wait=off"])
            .stdin(Stdio::null())
            .stderr(File::create(folder.path().join("log")).unwrap())
            .spawn();
        let child = match child {
            Ok(child) => child,
            Err(error) => {
                let mandatory = std::env::var_os("CI").is_some_and(|ci| ci == "true");
                assert!(!mandatory, "qemu-system-x86_64: {error}");
                eprintln!("skipped: qemu-system-x86_64: {error}");
                return None;
            }
        };
        let monitor = connect(&folder.path().join("monitor"));
        let mut qemu = Self {
            child,
            folder,
            monitor,
        };
        qemu.read();
        qemu.command("qmp_capabilities", json!({}));
        let xp = json!({"command-line": "xp /1wx 0x600"});
        let begun = Instant::now();
        loop {
            let text = qemu.command("human-monitor-command", xp.clone());
            if text.as_str().unwrap().contains("0x59444552") {
                return Some(qemu);
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn read(&mut self) -> Value {
        let mut line = String::new();
        self.monitor.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// Runs a command on a monitor of the test's own.
    pub fn command(&mut self, name: &str, arguments: Value) -> Value {
        let request = json!({"execute": name, "arguments": arguments});
        let stream = self.monitor.get_mut();
        stream.write_all(format!("{request}\n").as_bytes()).unwrap();
        loop {
            let message = self.read();
            assert!(message.get("error").is_none(), "{name}: {message}");
            if let Some(value) = message.get("return") {
                return value.clone();
            }
        }
    }

    pub fn status(&mut self) -> String {
        let status = self.command("query-status", json!({}));
        status["status"].as_str().unwrap().to_owned()
    }

    pub fn wait_for_status(&mut self, wanted: &str) {
        let begun = Instant::now();
        while self.status() != wanted {
            assert!(begun.elapsed() < Duration::from_secs(20), "never {wanted}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns whether the guest runs, by its counter and by its status.
    pub fn is_running(&mut self) -> bool {
        let xp = json!({"command-line": "xp /1gx 0x608"});
        let before = self.command("human-monitor-command", xp.clone());
        std::thread::sleep(Duration::from_millis(50));
        let counts = before != self.command("human-monitor-command", xp);
        assert_eq!(counts, self.status() == "running");
        counts
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The source's name for the command.
    pub fn source(&self) -> String {
        format!("qmp:{}", self.path("qmp").display())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        self.kill();
    }
}

fn connect(path: &Path) -> BufReader<UnixStream> {
    let begun = Instant::now();
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return BufReader::new(stream),
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(20), "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

//! A server that plays QEMU: it answers what the adapter asks, and breaks off
//! where a test wants it. Its guest memory lies in this process.

use std::fs::File;
use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use guestdump::arch::x86_64::Registers;
use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::memory::SliceMemory;
use guestdump::sink::StreamSink;
use guestdump::{DumpOptions, Format, GuestInfo, Machine, dump};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Size of the guest's memory, in bytes.
pub(crate) const SIZE: usize = 2 << 20;
pub(crate) const RIP: u64 = 0xffff_ffff_8123_4567;

/// What the server does at a command instead of answering it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Trick {
    Refuse,
    Close,
    Silence,
    Answer(Value),
    Line(&'static str),
    /// Somebody else does these things before the answer.
    Event(&'static str, &'static str),
}

#[derive(Debug, Default)]
struct State {
    status: String,
    commands: Vec<String>,
    trick: Option<(&'static str, Trick)>,
}

pub(crate) struct Fake {
    folder: TempDir,
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
    pub(crate) memory: &'static [u8],
}

impl Fake {
    pub(crate) fn start(status: &str) -> Self {
        Self::with_trick(status, None)
    }

    /// A server that does something else at the first such command.
    pub(crate) fn tricky(at: &'static str, trick: Trick) -> Self {
        Self::with_trick("running", Some((at, trick)))
    }

    fn with_trick(status: &str, trick: Option<(&'static str, Trick)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("qmp")).unwrap();
        let state = Arc::new(Mutex::new(State {
            status: status.to_owned(),
            trick,
            ..State::default()
        }));
        let memory = guest_memory();
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            let Ok((stream, _)) = listener.accept() else {
                return;
            };
            let mut server = Server {
                stream,
                state: shared,
                memory,
                file: None,
            };
            server.run();
        });
        Self {
            folder,
            state,
            thread: Some(thread),
            memory,
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("qmp")
    }

    pub(crate) fn status(&self) -> String {
        self.state.lock().unwrap().status.clone()
    }

    /// From now on the server does this at such a command, once.
    pub(crate) fn trick(&self, at: &'static str, trick: Trick) {
        self.state.lock().unwrap().trick = Some((at, trick));
    }

    pub(crate) fn count(&self, command: &str) -> usize {
        let state = self.state.lock().unwrap();
        state.commands.iter().filter(|c| *c == command).count()
    }

    /// Waits until the server has seen the command.
    pub(crate) fn wait_for(&self, command: &str) {
        while self.count(command) == 0 {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        // Ends a server that nobody has connected to.
        let _ = UnixStream::connect(self.path());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// Pages that begin with their number; the first is all zero.
fn guest_memory() -> &'static [u8] {
    let memory = vec![0u8; SIZE + 4096].leak();
    let skip = memory.as_ptr().align_offset(4096);
    let memory = &mut memory[skip..skip + SIZE];
    for (number, page) in memory.chunks_mut(4096).enumerate() {
        page[..8].copy_from_slice(&(number as u64).to_le_bytes());
    }
    memory
}

struct Server {
    stream: UnixStream,
    state: Arc<Mutex<State>>,
    memory: &'static [u8],
    file: Option<File>,
}

impl Server {
    fn run(&mut self) {
        let trick = self.take_trick("greeting");
        if let Some(Trick::Line(line)) = trick {
            self.send(line);
        } else if trick != Some(Trick::Silence) {
            self.send(r#"{"QMP": {"version": {}, "capabilities": []}}"#);
        }
        let mut received = Vec::new();
        loop {
            while let Some(end) = received.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = received.drain(..=end).collect();
                let request: Value = serde_json::from_slice(&line).unwrap();
                if !self.handle(&request) {
                    return;
                }
            }
            let mut buf = [0; 4096];
            match self.receive(&mut buf) {
                0 => return,
                n => received.extend_from_slice(&buf[..n]),
            }
        }
    }

    fn receive(&mut self, buf: &mut [u8]) -> usize {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(buf)];
        let received = recvmsg(&self.stream, &mut parts, &mut control, RecvFlags::empty());
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                let fds: Vec<OwnedFd> = fds.collect();
                self.file = fds.into_iter().next().map(File::from);
            }
        }
        received.map_or(0, |received| received.bytes)
    }

    fn send(&mut self, line: &str) {
        let _ = self.stream.write_all(format!("{line}\r\n").as_bytes());
    }

    fn take_trick(&self, at: &str) -> Option<Trick> {
        let mut state = self.state.lock().unwrap();
        let (_, trick) = state.trick.take_if(|(command, _)| *command == at)?;
        Some(trick)
    }

    /// Answers a request; false to hang up.
    fn handle(&mut self, request: &Value) -> bool {
        let command = request["execute"].as_str().unwrap();
        let line = request["arguments"]["command-line"].as_str();
        let command = line.unwrap_or(command);
        self.state.lock().unwrap().commands.push(command.to_owned());
        let id = &request["id"];
        let value = match self.take_trick(command) {
            Some(Trick::Close) => return false,
            Some(Trick::Silence) => return true,
            Some(Trick::Refuse) => {
                let error = json!({"class": "GenericError", "desc": "not today"});
                self.send(&json!({"error": error, "id": id}).to_string());
                return true;
            }
            Some(Trick::Line(line)) => {
                self.send(line);
                return true;
            }
            Some(Trick::Answer(value)) => value,
            Some(Trick::Event(event, status)) => {
                status.clone_into(&mut self.state.lock().unwrap().status);
                self.send(&json!({"event": event, "timestamp": {}}).to_string());
                self.answer(command)
            }
            None => self.answer(command),
        };
        // On several lines, as with pretty=on.
        let answer = serde_json::to_string_pretty(&json!({"return": value, "id": id}));
        self.send(&answer.unwrap());
        true
    }

    fn answer(&mut self, command: &str) -> Value {
        match command {
            "query-status" => {
                let status = &self.state.lock().unwrap().status;
                return json!({"status": status, "running": status == "running"});
            }
            "stop" | "cont" => {
                let (event, status) = match command {
                    "stop" => ("STOP", "paused"),
                    _ => ("RESUME", "running"),
                };
                let from = ["running", "paused"];
                let mut state = self.state.lock().unwrap();
                if from.contains(&state.status.as_str()) {
                    status.clone_into(&mut state.status);
                }
                drop(state);
                self.send(&json!({"event": event, "timestamp": {}}).to_string());
            }
            "query-memdev" => return json!([{"id": "ram0", "size": SIZE}]),
            "info mtree -f" => {
                let last = SIZE - 1;
                return json!(format!(
                    "FlatView #0\r\n AS \"memory\", root: system\r\n  \
                    {:016x}-{last:016x} (prio 0, ram): ram0\r\n\r\n",
                    0
                ));
            }
            "gpa2hva 0x0" => {
                let hva = self.memory.as_ptr() as u64;
                return json!(format!(
                    "Host virtual address for 0x0 (ram0) is {hva:#x}\r\n"
                ));
            }
            "query-cpus-fast" => {
                let cpu = |n| json!({"cpu-index": n, "qom-path": format!("/machine/cpu[{n}]")});
                return json!([cpu(0), cpu(1)]);
            }
            "qom-get" => {
                return json!({
                    "type": "hyper-v",
                    "arg1": 0x1e, "arg2": 1, "arg3": 2, "arg4": 3, "arg5": u64::MAX
                });
            }
            "dump-guest-memory" => self.write_notes(),
            _ => {}
        }
        json!({})
    }

    fn write_notes(&mut self) {
        let page = vec![0u8; 4096];
        let memory = SliceMemory::new([(0, page.as_slice())]).unwrap();
        let registers = Registers {
            rip: RIP,
            ..Registers::default()
        };
        let options = DumpOptions::new(
            GuestInfo::new(Machine::X86_64)
                .cpus([registers])
                .vmcoreinfo(VmcoreinfoSource::Bytes(b"OSRELEASE=6.1.0-fake\n".to_vec())),
            Format::Elf,
        );
        let mut sink = StreamSink::new(self.file.take().unwrap());
        dump(&memory, &mut sink, &options).unwrap();
    }
}

//! A client of QMP, QEMU's machine protocol. Messages are JSON objects, each ended by a line break.
//!
//! Source: QEMU, `docs/interop/qmp-spec.rst`. The existing crates for QMP either cannot send file
//! descriptors, which `getfd` needs, or require an asynchronous runtime.

use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, sendmsg, socket_with, sockopt,
};
use serde_json::{Value, json};

use crate::qemu::error::QemuError;
use crate::workers::Progress;

type Result<T, E = QemuError> = std::result::Result<T, E>;

/// Time limit of the connection and of the greeting.
const GREETING: Duration = Duration::from_secs(5);
/// Time limit of a command. Stopping a guest waits for its disks.
const COMMAND: Duration = Duration::from_secs(30);
/// Interval in which a wait checks whether the dump is cancelled.
const SLICE: Duration = Duration::from_millis(50);
/// Largest message in bytes. It exceeds the memory map of any guest.
const MAX_MESSAGE: usize = 16 << 20;
/// Largest number of values in a message. It exceeds the description of any guest's CPUs. Each
/// value takes far more memory than its bytes in the message.
const MAX_VALUES: usize = 1 << 20;
/// Largest number of stored events. It exceeds the number of kinds of events.
const MAX_EVENTS: usize = 256;

/// A connection in command mode.
#[derive(Debug)]
pub(super) struct Qmp {
    stream: UnixStream,
    /// Bytes that were received and not yet used.
    received: Vec<u8>,
    last_id: u64,
    /// Names of the events since the last [`take_events`](Self::take_events), each once.
    events: Vec<String>,
    cancel: Progress,
    /// Time limit of a command.
    patience: Duration,
}

impl Qmp {
    /// Connects and negotiates capabilities. Waits end early when `cancel` is cancelled.
    pub(super) fn connect(path: &Path, cancel: Progress) -> Result<Self> {
        let stream = open(path).map_err(QemuError::Connect)?;
        let mut qmp = Self {
            stream,
            received: Vec::new(),
            last_id: 0,
            events: Vec::new(),
            cancel,
            patience: GREETING,
        };
        let deadline = Instant::now() + GREETING;
        let greeting = qmp
            .message("greeting", deadline)
            .map_err(|error| match error {
                QemuError::Timeout { after, .. } => QemuError::NoGreeting { after },
                error => error,
            })?;
        if greeting.get("QMP").is_none() {
            return Err(QemuError::NotQmp(excerpt(&greeting.to_string())));
        }
        qmp.patience = COMMAND;
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Returns the process that made the socket, which need not be QEMU.
    pub(super) fn peer(&self) -> Option<u32> {
        let credentials = sockopt::socket_peercred(&self.stream).ok()?;
        u32::try_from(credentials.pid.as_raw_pid()).ok()
    }

    /// Sets the time limit of commands from now on. Their waits no longer end when the dump is
    /// cancelled.
    pub(super) fn only_wait(&mut self, patience: Duration) {
        self.patience = patience;
        self.cancel = Progress::new();
    }

    /// Returns the names of all events since the last call, each once.
    pub(super) fn take_events(&mut self) -> Vec<String> {
        std::mem::take(&mut self.events)
    }

    /// Runs a command and returns its result.
    pub(super) fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        self.run(command, arguments, &[])
    }

    /// Gives QEMU a file descriptor under the name `name`.
    pub(super) fn give_fd(&mut self, name: &str, fd: BorrowedFd<'_>) -> Result<()> {
        self.run("getfd", json!({ "fdname": name }), &[fd])?;
        Ok(())
    }

    /// Runs a command of the human monitor and returns the text that it prints.
    pub(super) fn human(&mut self, line: &str) -> Result<String> {
        let arguments = json!({ "command-line": line });
        match self.run("human-monitor-command", arguments, &[])? {
            Value::String(text) => Ok(text),
            other => Err(answer(line, &other.to_string())),
        }
    }

    fn run(&mut self, command: &str, arguments: Value, fds: &[BorrowedFd<'_>]) -> Result<Value> {
        let deadline = Instant::now() + self.patience;
        self.last_id += 1;
        let request = json!({ "execute": command, "arguments": arguments, "id": self.last_id });
        self.send(format!("{request}\n").as_bytes(), fds)
            .map_err(|source| match source.kind() {
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => closed(command),
                _ => QemuError::Connection {
                    command: command.to_owned(),
                    source,
                },
            })?;
        loop {
            let mut message = self.message(command, deadline)?;
            if let Some(event) = message.get("event") {
                if let Some(name) = event.as_str().map(excerpt)
                    && !self.events.contains(&name)
                    && self.events.len() < MAX_EVENTS
                {
                    self.events.push(name);
                }
                continue;
            }
            // This answers an earlier command, whose wait ended early.
            let other = message.get("id").and_then(Value::as_u64);
            if other.is_some_and(|id| id != self.last_id) {
                continue;
            }
            if let Some(value) = message.get_mut("return") {
                return Ok(value.take());
            }
            let text = |name: &str| message.pointer(name).and_then(Value::as_str);
            return Err(match text("/error/desc") {
                Some(text_of_error) => QemuError::Refused {
                    command: command.to_owned(),
                    class: excerpt(text("/error/class").unwrap_or_default()),
                    message: excerpt(text_of_error),
                },
                None => answer(command, &message.to_string()),
            });
        }
    }

    /// Sends all of `bytes`, and the descriptors with the first of them.
    fn send(&self, mut bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        while !bytes.is_empty() {
            let n = rustix::io::retry_on_intr(|| {
                let part = [IoSlice::new(bytes)];
                sendmsg(&self.stream, &part, &mut control, SendFlags::NOSIGNAL)
            })?;
            bytes = &bytes[n..];
            control.clear();
        }
        Ok(())
    }

    /// Receives the next message of any kind. A message of a QEMU with `pretty=on` spans several
    /// lines.
    fn message(&mut self, command: &str, deadline: Instant) -> Result<Value> {
        let mut end = MessageEnd::default();
        loop {
            if let Some(len) = end.find(&self.received) {
                let message = serde_json::from_slice(&self.received[..len]);
                let Ok(message @ Value::Object(_)) = message else {
                    let text = String::from_utf8_lossy(&self.received[..len]);
                    return Err(QemuError::NotQmp(excerpt(&text)));
                };
                self.received.drain(..len);
                return Ok(message);
            }
            if self.received.len() > MAX_MESSAGE {
                return Err(QemuError::NotQmp("a message without an end".into()));
            }
            if end.values > MAX_VALUES {
                return Err(QemuError::NotQmp("a message of too many values".into()));
            }
            self.receive(command, deadline)?;
        }
    }

    /// Waits until more bytes arrive.
    fn receive(&mut self, command: &str, deadline: Instant) -> Result<()> {
        let mut buf = [0; 16 << 10];
        loop {
            if self.cancel.is_cancelled() {
                return Err(QemuError::Cancelled);
            }
            if Instant::now() >= deadline {
                return Err(QemuError::Timeout {
                    command: command.to_owned(),
                    after: self.patience,
                });
            }
            match self.stream.read(&mut buf) {
                Ok(0) => return Err(closed(command)),
                Ok(n) => {
                    self.received.extend_from_slice(&buf[..n]);
                    return Ok(());
                }
                Err(e) => match e.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {}
                    io::ErrorKind::ConnectionReset => return Err(closed(command)),
                    _ => {
                        return Err(QemuError::Connection {
                            command: command.to_owned(),
                            source: e,
                        });
                    }
                },
            }
        }
    }
}

/// Finds the end of a message and looks at each byte once. A message ends with the brace that
/// closes its first one. Text that is not a JSON object ends with its line.
#[derive(Debug, Default)]
struct MessageEnd {
    searched: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// Whether the message contains more than white space.
    begun: bool,
    /// Upper bound for the number of values so far.
    values: usize,
}

impl MessageEnd {
    /// Returns the message's length in bytes. `received` begins with the bytes of the previous
    /// call.
    fn find(&mut self, received: &[u8]) -> Option<usize> {
        for byte in &received[self.searched..] {
            self.searched += 1;
            if self.in_string {
                let ends = *byte == b'"' && !self.escaped;
                self.in_string = !ends;
                self.escaped = *byte == b'\\' && !self.escaped;
                continue;
            }
            self.begun |= !byte.is_ascii_whitespace();
            match byte {
                b'"' => self.in_string = self.depth > 0,
                b'{' | b'[' => {
                    self.depth += 1;
                    self.values += 1;
                }
                b',' => self.values += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(self.searched);
                    }
                }
                b'\n' if self.depth == 0 && self.begun => return Some(self.searched),
                _ => {}
            }
        }
        None
    }
}

/// Opens a connection whose calls all return within a time limit. This includes `connect`, which
/// waits while the other side has too many clients.
fn open(path: &Path) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(path)?;
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(GREETING))?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(SLICE))?;
    connect(&socket, &address)?;
    Ok(socket.into())
}

fn closed(command: &str) -> QemuError {
    QemuError::Closed {
        command: command.to_owned(),
    }
}

pub(super) fn answer(command: &str, text: &str) -> QemuError {
    QemuError::Answer {
        command: command.to_owned(),
        answer: excerpt(text),
    }
}

/// Returns the beginning of a text of any length.
fn excerpt(text: &str) -> String {
    const CHARS: usize = 120;
    let text = text.trim();
    let mut short: String = text.chars().take(CHARS).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

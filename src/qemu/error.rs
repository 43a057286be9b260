//! Errors of a dump of a running QEMU.

use std::io;
use std::time::Duration;

use crate::memory::{FileMemoryError, RangeError};
use crate::read::VmcoreError;

/// The reason for which a guest under QEMU cannot be dumped or resumed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QemuError {
    /// The connection to the socket failed.
    #[error(
        "cannot connect to the socket; is QEMU running, with -qmp unix:PATH,server=on,wait=off?"
    )]
    Connect(#[source] io::Error),
    /// The socket accepts connections, but no greeting comes.
    #[error(
        "no greeting on the socket within {} s; QEMU serves one client at a time, so another one may hold it",
        after.as_secs()
    )]
    NoGreeting {
        /// The time that was waited.
        after: Duration,
    },
    /// The other side of the socket does not speak QMP.
    #[error("what answers on the socket is not QEMU's machine protocol: {0}")]
    NotQmp(String),
    /// QEMU closed the connection.
    #[error("QEMU closed the connection at the command {command}")]
    Closed {
        /// The command, or `greeting`.
        command: String,
    },
    /// The connection failed.
    #[error("the connection to QEMU failed at the command {command}")]
    Connection {
        /// The command, or `greeting`.
        command: String,
        /// The system's error.
        source: io::Error,
    },
    /// QEMU did not answer in time.
    #[error("QEMU did not answer the command {command} within {} s", after.as_secs())]
    Timeout {
        /// The command.
        command: String,
        /// The time that was waited.
        after: Duration,
    },
    /// QEMU refused a command.
    #[error("QEMU refused the command {command}: {message}")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's class of the error, such as `CommandNotFound`.
        class: String,
        /// QEMU's message.
        message: String,
    },
    /// This crate does not understand QEMU's answer.
    #[error("QEMU's answer to the command {command} is not understood: {answer}")]
    Answer {
        /// The command.
        command: String,
        /// The beginning of the answer.
        answer: String,
    },
    /// The guest still runs after the command `stop`.
    #[error("the guest did not stop; its status is '{status}'")]
    NotStopped {
        /// QEMU's name of the status.
        status: String,
    },
    /// The guest is paused for another reason than a dump.
    #[error("the guest's status is '{status}', which no dump leaves it in, so it is left as it is")]
    NotPaused {
        /// QEMU's name of the status.
        status: String,
    },
    /// The guest does not run after the command `cont`.
    #[error("the guest does not run after QEMU's command cont; its status is '{status}'")]
    NotResumed {
        /// QEMU's name of the status.
        status: String,
    },
    /// No visible process is the QEMU at the socket.
    #[error(
        "no process that this user can look into is the QEMU at the socket; run as QEMU's user or as root, on the same host"
    )]
    NoProcess,
    /// QEMU's process cannot be examined.
    #[error("cannot read {what} of QEMU, process {pid}; run as QEMU's user or as root")]
    Process {
        /// The process's id.
        pid: u32,
        /// The part of the process that cannot be read.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// QEMU's process has no mapping for a piece of guest memory.
    #[error("QEMU, process {pid}, has no memory mapped at {hva:#x} for guest-physical {gpa:#x}")]
    NotMapped {
        /// The process's id.
        pid: u32,
        /// The address in QEMU's process.
        hva: u64,
        /// The guest-physical address.
        gpa: u64,
    },
    /// QEMU's two answers about the plugged memory of a virtio-mem device differ.
    #[error(
        "the virtio-mem device {id:?} has {plugged} bytes plugged, but QEMU's own dump would contain {listed}; QEMU before 6.2 does not know which blocks are plugged"
    )]
    Plugged {
        /// The device's id.
        id: String,
        /// Number of bytes that are plugged.
        plugged: u64,
        /// How many bytes of the device a dump by QEMU contains.
        listed: u64,
    },
    /// A file with guest memory cannot be used.
    #[error("the file behind the guest's memory cannot be used")]
    Backing(#[from] FileMemoryError),
    /// The guest's memory map is invalid.
    #[error("the guest's memory map is refused")]
    Ranges(#[from] RangeError),
    /// The file for the CPUs' notes cannot be made.
    #[error("cannot make a file in memory for the notes of QEMU")]
    NotesFile(#[source] io::Error),
    /// The CPUs' notes that QEMU wrote cannot be read.
    #[error("the CPUs' notes that QEMU wrote cannot be used")]
    Notes(#[from] VmcoreError),
    /// The guest's architecture is not known.
    #[error("this crate does not know the architecture of ELF machine {0}")]
    Machine(u16),
    /// The guest was not stopped, so its CPUs' state is unknown.
    #[error("the guest must be stopped before it is dumped")]
    Running,
    /// The dump was cancelled.
    #[error("the dump was cancelled")]
    Cancelled,
}

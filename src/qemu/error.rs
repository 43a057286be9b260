//! What goes wrong with a live QEMU.

use std::io;
use std::time::Duration;

use crate::memory::{FileMemoryError, RangeError};
use crate::read::VmcoreError;

/// Why a guest under QEMU cannot be dumped, or not be resumed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QemuError {
    /// Nobody can be reached at the socket.
    #[error(
        "cannot connect to the socket; is QEMU running, with -qmp unix:PATH,server=on,wait=off?"
    )]
    Connect(#[source] io::Error),
    /// The socket takes connections, but nothing is said on it.
    #[error(
        "no greeting on the socket within {} s; QEMU serves one client at a time, so another one may hold it",
        after.as_secs()
    )]
    NoGreeting {
        /// How long it was waited for.
        after: Duration,
    },
    /// Something else than QMP is spoken on the socket.
    #[error("what answers on the socket is not QEMU's machine protocol: {0}")]
    NotQmp(String),
    /// The connection ended.
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
        /// What the system reported.
        source: io::Error,
    },
    /// QEMU did not answer in time.
    #[error("QEMU did not answer the command {command} within {} s", after.as_secs())]
    Timeout {
        /// The command.
        command: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// QEMU refused a command.
    #[error("QEMU refused the command {command}: {message}")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's words.
        message: String,
    },
    /// QEMU answered something that this crate does not understand.
    #[error("QEMU's answer to the command {command} is not understood: {answer}")]
    Answer {
        /// The command.
        command: String,
        /// The beginning of the answer.
        answer: String,
    },
    /// The guest does not stop.
    #[error("the guest did not stop; its status is '{status}'")]
    NotStopped {
        /// What QEMU calls the status.
        status: String,
    },
    /// The guest stands still for another reason than a dump.
    #[error("the guest's status is '{status}', which no dump leaves it in, so it is left as it is")]
    NotPaused {
        /// What QEMU calls the status.
        status: String,
    },
    /// The guest does not run.
    #[error("the guest does not run after QEMU's command cont; its status is '{status}'")]
    NotResumed {
        /// What QEMU calls the status.
        status: String,
    },
    /// No process that can be seen is the QEMU behind the socket.
    #[error(
        "no process that this user can look into is the QEMU at the socket; run as QEMU's user or as root, on the same host"
    )]
    NoProcess,
    /// QEMU's process cannot be looked into.
    #[error("cannot read {what} of QEMU, process {pid}; run as QEMU's user or as root")]
    Process {
        /// The process's id.
        pid: u32,
        /// What of it.
        what: &'static str,
        /// What the system reported.
        source: io::Error,
    },
    /// Guest memory that QEMU's process does not have mapped.
    #[error("QEMU, process {pid}, has no memory mapped at {hva:#x} for guest-physical {gpa:#x}")]
    NotMapped {
        /// The process's id.
        pid: u32,
        /// Address in QEMU's process.
        hva: u64,
        /// Guest-physical address.
        gpa: u64,
    },
    /// A file with guest memory cannot be used.
    #[error("the file behind the guest's memory cannot be used")]
    Backing(#[from] FileMemoryError),
    /// The guest's memory map makes no sense.
    #[error("the guest's memory map is refused")]
    Ranges(#[from] RangeError),
    /// A file for the CPUs' notes cannot be made.
    #[error("cannot make a file in memory for the notes of QEMU")]
    NotesFile(#[source] io::Error),
    /// The CPUs' notes that QEMU wrote cannot be read.
    #[error("the CPUs' notes that QEMU wrote cannot be used")]
    Notes(#[from] VmcoreError),
    /// The guest's architecture is not known.
    #[error("this crate does not know the architecture of ELF machine {0}")]
    Machine(u16),
    /// The guest was not stopped, so that nothing is known about its CPUs.
    #[error("the guest must be stopped before it is dumped")]
    Running,
    /// The dump was cancelled.
    #[error("the dump was cancelled")]
    Cancelled,
}

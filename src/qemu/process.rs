//! The process of QEMU.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;

use crate::host::proc::Mapping;
use crate::host::process_memory::Process;
use crate::qemu::error::QemuError;

/// A process that is known to be the QEMU behind a socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct QemuProcess {
    pub(super) pid: u32,
}

impl QemuProcess {
    /// Finds the process that has `file` open, which was sent to QEMU: `likely`, or any
    /// other than this one.
    ///
    /// The process that made the socket is only likely: management software may make the
    /// socket and pass it to QEMU.
    ///
    /// # Errors
    ///
    /// - [`QemuError::NoProcess`] if this user can see no such process;
    /// - [`QemuError::NotesFile`] if the metadata of `file` cannot be read.
    pub(super) fn with_open(file: &File, likely: Option<u32>) -> Result<Self, QemuError> {
        let pid = Process::id_with_open(file, likely).map_err(QemuError::NotesFile)?;
        let pid = pid.ok_or(QemuError::NoProcess)?;
        Ok(Self { pid })
    }

    /// The process, as the host sees it.
    pub(super) fn on_host(self) -> Process {
        Process::Other(self.pid)
    }

    /// Reads all mappings, in ascending order.
    pub(super) fn mappings(self) -> Result<Vec<Mapping>, QemuError> {
        let mappings = self.on_host().mappings(|_| true);
        mappings.map_err(|e| self.error("the memory map", e))
    }

    /// Makes the error that `what` of the process cannot be read.
    pub(super) fn error(self, what: &'static str, source: io::Error) -> QemuError {
        let pid = self.pid;
        QemuError::Process { pid, what, source }
    }
}

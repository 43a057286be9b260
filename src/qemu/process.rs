//! QEMU's process, as Linux shows it: which one it is, what it has mapped.
//!
//! Source: proc(5); Linux `Documentation/admin-guide/mm/pagemap.rst`.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::qemu::error::QemuError;

/// A process that is known to be the QEMU behind a socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Process {
    pub(super) pid: u32,
}

impl Process {
    /// The process that has `file` open, which was sent to QEMU: `likely`, or
    /// any other than this one. The one that made the socket may be another:
    /// management software makes it and gives it to QEMU.
    pub(super) fn with_open(file: &File, likely: Option<u32>) -> Result<Self, QemuError> {
        let wanted = file.metadata().map_err(QemuError::NotesFile)?;
        let id = (wanted.dev(), wanted.ino());
        let others = fs::read_dir("/proc").into_iter().flatten().flatten();
        let others = others
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| *pid != std::process::id());
        likely
            .into_iter()
            .chain(others)
            .map(|pid| Self { pid })
            .find(|process| process.open_files().any(|(_, m)| (m.dev(), m.ino()) == id))
            .ok_or(QemuError::NoProcess)
    }

    /// What the process has open, each with its path in /proc; nothing if
    /// that cannot be read.
    fn open_files(self) -> impl Iterator<Item = (PathBuf, fs::Metadata)> {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.pid));
        entries.into_iter().flatten().flatten().filter_map(|entry| {
            let path = entry.path();
            let metadata = fs::metadata(&path).ok()?;
            Some((path, metadata))
        })
    }

    /// All mappings, in ascending order.
    pub(super) fn mappings(self) -> Result<Vec<Mapping>, QemuError> {
        let text = fs::read(format!("/proc/{}/maps", self.pid));
        let text = text.map_err(|e| self.error("the memory map", e))?;
        let text = String::from_utf8_lossy(&text);
        Ok(text.lines().filter_map(Mapping::parse).collect())
    }

    /// The regular file that is mapped in `mapping`, if it can be opened:
    /// directly, for which Linux asks for privileges, or as one of the files
    /// that the process has open.
    pub(super) fn open_mapped(self, mapping: &Mapping) -> Option<File> {
        let (start, end) = (mapping.start, mapping.end);
        let direct = format!("/proc/{}/map_files/{start:x}-{end:x}", self.pid);
        let file = File::open(direct).ok().or_else(|| {
            let same = |m: &fs::Metadata| m.dev() == mapping.device && m.ino() == mapping.inode;
            let (path, _) = self.open_files().find(|(_, m)| m.is_file() && same(m))?;
            File::open(path).ok()
        })?;
        file.metadata().ok()?.is_file().then_some(file)
    }

    pub(super) fn open_pagemap(self) -> Option<File> {
        File::open(format!("/proc/{}/pagemap", self.pid)).ok()
    }

    pub(super) fn error(self, what: &'static str, source: io::Error) -> QemuError {
        let pid = self.pid;
        QemuError::Process { pid, what, source }
    }
}

/// A line of /proc/PID/maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) shared: bool,
    /// Offset in the file, in bytes.
    pub(super) offset: u64,
    device: u64,
    /// 0 for memory without a file.
    pub(super) inode: u64,
}

impl Mapping {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let flags = fields.next()?;
        let hex = |digits: &str| u64::from_str_radix(digits, 16).ok();
        let offset = hex(fields.next()?)?;
        let (major, minor) = fields.next()?.split_once(':')?;
        let (major, minor) = (hex(major)?, hex(minor)?);
        Some(Self {
            start: hex(start)?,
            end: hex(end)?,
            shared: flags.as_bytes().get(3) == Some(&b's'),
            offset,
            device: rustix::fs::makedev(u32::try_from(major).ok()?, u32::try_from(minor).ok()?),
            inode: fields.next()?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_line_of_maps() {
        let line = "7f08a0000000-7f08a4000000 rw-s 00001000 00:01 1034   /memfd:ram (deleted)";
        let mapping = Mapping::parse(line).unwrap();
        assert_eq!(mapping.start, 0x7f08_a000_0000);
        assert_eq!(mapping.end, 0x7f08_a400_0000);
        assert!(mapping.shared);
        assert_eq!((mapping.offset, mapping.inode), (0x1000, 1034));
        let line = "7f3f4bc00000-7f3f4bc01000 ---p 00000000 00:00 0 ";
        let mapping = Mapping::parse(line).unwrap();
        assert!(!mapping.shared);
        assert_eq!(mapping.inode, 0);
        for bad in ["", "1-2", "1-2 rw-p x 0:0 0", "12 rw-p 0 0:0 0"] {
            assert_eq!(Mapping::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_mapped_file_is_found() {
        let process = Process {
            pid: std::process::id(),
        };
        let mappings = process.mappings().unwrap();
        let program = mappings.iter().find(|m| m.inode != 0).unwrap();
        let file = process.open_mapped(program);
        if let Some(file) = file {
            assert_eq!(file.metadata().unwrap().ino(), program.inode);
        }
        let ours = tempfile::tempfile().unwrap();
        let found = Process::with_open(&ours, Some(process.pid)).unwrap();
        assert_eq!(found.pid, process.pid);
        assert!(matches!(
            Process::with_open(&ours, None),
            Err(QemuError::NoProcess)
        ));
    }
}

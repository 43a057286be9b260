//! Mappings and open files of a process, from its folder in `/proc`.
//!
//! Sources: Linux `Documentation/filesystems/proc.rst` (`maps`, `smaps`, `VmFlags`,
//! `map_files`); proc(5).
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::ops::Range;
use std::path::PathBuf;

use crate::host::process_memory::Process;

/// A mapping of a process: one entry of `/proc/PID/maps`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// Addresses in the process.
    pub(crate) addresses: Range<u64>,
    /// Whether writes go to the file, or to all processes that share the memory.
    pub(crate) shared: bool,
    /// Offset of the first byte in the file, in bytes.
    pub(crate) offset: u64,
    /// Device of the file.
    pub(crate) device: u64,
    /// Inode of the file; 0 for memory without a file.
    pub(crate) inode: u64,
    /// Whether a userfaultfd serves pages that are missing. Only `smaps` tells.
    pub(crate) served: bool,
}

impl Mapping {
    /// Parses the first line of an entry: `start-end perms offset dev inode path`.
    fn parse(line: &str) -> Option<Self> {
        let hex = |digits: &str| u64::from_str_radix(digits, 16).ok();
        let hex32 = |digits: &str| u32::from_str_radix(digits, 16).ok();
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let shared = words.next()?.ends_with('s');
        let offset = hex(words.next()?)?;
        let (major, minor) = words.next()?.split_once(':')?;
        Some(Self {
            addresses: hex(start)?..hex(end)?,
            shared,
            offset,
            device: rustix::fs::makedev(hex32(major)?, hex32(minor)?),
            inode: words.next()?.parse().ok()?,
            served: false,
        })
    }
}

/// Parses the text of `maps`, or of `smaps`, which has further lines for each mapping.
/// Only mappings whose addresses are `wanted` are returned.
fn parse_maps(
    mut text: impl BufRead,
    wanted: impl Fn(&Range<u64>) -> bool,
) -> io::Result<Vec<Mapping>> {
    let mut mappings: Vec<Mapping> = Vec::new();
    let mut skip = true;
    let mut bytes = Vec::new();
    while text.read_until(b'\n', &mut bytes)? > 0 {
        // A path may have any bytes.
        let line = String::from_utf8_lossy(&bytes);
        if let Some(mapping) = Mapping::parse(&line) {
            skip = !wanted(&mapping.addresses);
            if !skip {
                mappings.push(mapping);
            }
        } else if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| !skip)
            && let Some(mapping) = mappings.last_mut()
        {
            // um: missing pages are served; ui: minor faults are.
            mapping.served = flags.split_whitespace().any(|f| f == "um" || f == "ui");
        }
        bytes.clear();
    }
    Ok(mappings)
}

impl Process {
    /// The path of `name` in the process's folder.
    pub(super) fn path(self, name: &str) -> PathBuf {
        match self {
            Self::Own => format!("/proc/self/{name}").into(),
            #[cfg(feature = "qemu")]
            Self::Other(pid) => format!("/proc/{pid}/{name}").into(),
        }
    }

    /// Reads the mappings whose addresses are `wanted`, in ascending order, without
    /// [`served`](Mapping::served).
    pub(crate) fn mappings(self, wanted: impl Fn(&Range<u64>) -> bool) -> io::Result<Vec<Mapping>> {
        parse_maps(BufReader::new(File::open(self.path("maps"))?), wanted)
    }

    /// Reads the mappings whose addresses are `wanted`, in ascending order, with
    /// [`served`](Mapping::served). The kernel walks the page tables of all mappings for
    /// this.
    #[cfg(any(feature = "vm-memory", feature = "vm-memory-0-17"))]
    pub(crate) fn mappings_with_flags(
        self,
        wanted: impl Fn(&Range<u64>) -> bool,
    ) -> io::Result<Vec<Mapping>> {
        parse_maps(BufReader::new(File::open(self.path("smaps"))?), wanted)
    }
}

/// Reading that only other processes need.
#[cfg(feature = "qemu")]
mod other {
    use std::fs::{self, File, Metadata};
    use std::io;
    use std::os::unix::fs::MetadataExt;
    use std::path::PathBuf;

    use super::Mapping;
    use crate::host::process_memory::Process;

    impl Process {
        /// Finds a process that has `file` open: `likely`, or any other than this one.
        /// Processes whose open files cannot be listed are skipped.
        ///
        /// # Errors
        ///
        /// If the metadata of `file` cannot be read.
        pub(crate) fn id_with_open(file: &File, likely: Option<u32>) -> io::Result<Option<u32>> {
            let wanted = file.metadata()?;
            let id = (wanted.dev(), wanted.ino());
            let others = fs::read_dir("/proc").into_iter().flatten().flatten();
            let others = others
                .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
                .filter(|pid| *pid != std::process::id());
            Ok(likely.into_iter().chain(others).find(|pid| {
                let mut files = Self::Other(*pid).open_files();
                files.any(|(_, metadata)| (metadata.dev(), metadata.ino()) == id)
            }))
        }

        /// Lists the files that the process has open, each with its path in `/proc`. The
        /// list is empty if it cannot be read.
        fn open_files(self) -> impl Iterator<Item = (PathBuf, Metadata)> {
            let entries = fs::read_dir(self.path("fd"));
            entries.into_iter().flatten().flatten().filter_map(|entry| {
                let path = entry.path();
                let metadata = fs::metadata(&path).ok()?;
                Some((path, metadata))
            })
        }

        /// Opens the regular file that is mapped in `mapping`, or returns `None` if it
        /// cannot be opened.
        ///
        /// The file is opened directly, for which Linux asks for privileges, or as one of
        /// the files that the process has open.
        pub(crate) fn open_mapped(self, mapping: &Mapping) -> Option<File> {
            let (start, end) = (mapping.addresses.start, mapping.addresses.end);
            let direct = self.path(&format!("map_files/{start:x}-{end:x}"));
            let file = File::open(direct).ok().or_else(|| {
                let same = |m: &Metadata| m.dev() == mapping.device && m.ino() == mapping.inode;
                let mut files = self.open_files();
                let (path, _) = files.find(|(_, m)| m.is_file() && same(m))?;
                File::open(path).ok()
            })?;
            file.metadata().ok()?.is_file().then_some(file)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SMAPS: &[u8] = b"\
5500aa000-5500ab000 r-xp 00001000 fe:01 77                         /usr/bin/a file
Size:                  4 kB
VmFlags: rd ex mr mw me um
7f0000000000-7f0000200000 rw-p 00000000 00:00 0 [anon:guest]
Size:               2048 kB
VmFlags: rd wr mr mw me ac sd um
7f0000200000-7f0000400000 rw-s 00100000 00:01 1034 /dev/shm/\xff (deleted)
Anonymous:             0 kB
VmFlags: rd wr sh mr mw me ms sd
7f0000400000-7f0000600000 ---p 00000000 00:00 0
VmFlags: mr mw me
";

    #[test]
    fn wanted_mappings_are_parsed_from_smaps() {
        let found = parse_maps(SMAPS, |a| a.start >= 0x7f00_0000_0000).unwrap();
        let mapping = |start, shared, offset, inode, served| Mapping {
            addresses: start..start + 0x20_0000,
            shared,
            offset,
            device: rustix::fs::makedev(0, u32::from(inode != 0)),
            inode,
            served,
        };
        assert_eq!(
            found,
            [
                mapping(0x7f00_0000_0000, false, 0, 0, true),
                mapping(0x7f00_0020_0000, true, 0x10_0000, 1034, false),
                mapping(0x7f00_0040_0000, false, 0, 0, false),
            ]
        );
    }

    #[test]
    fn lines_that_are_no_mapping_are_refused() {
        for bad in ["", "1-2", "1-2 rw-p x 0:0 0", "12 rw-p 0 0:0 0"] {
            assert_eq!(Mapping::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn own_mappings_are_read() {
        let local = vec![1u8; 1 << 20];
        let at = local.as_ptr().addr() as u64;
        let found = Process::Own.mappings(|a| a.contains(&at)).unwrap();
        assert_eq!(found.len(), 1);
        assert!(!found[0].shared && !found[0].served);
        #[cfg(any(feature = "vm-memory", feature = "vm-memory-0-17"))]
        assert_eq!(
            Process::Own
                .mappings_with_flags(|a| a.contains(&at))
                .unwrap(),
            found
        );
    }

    #[cfg(feature = "qemu")]
    #[test]
    fn open_and_mapped_files_are_found() {
        use std::os::unix::fs::MetadataExt;
        let own = std::process::id();
        let process = Process::Other(own);
        let mappings = process.mappings(|_| true).unwrap();
        let program = mappings.iter().find(|m| m.inode != 0).unwrap();
        if let Some(file) = process.open_mapped(program) {
            assert_eq!(file.metadata().unwrap().ino(), program.inode);
        }
        let ours = tempfile::tempfile().unwrap();
        let found = Process::id_with_open(&ours, Some(own)).unwrap();
        assert_eq!(found, Some(own));
        assert_eq!(Process::id_with_open(&ours, None).unwrap(), None);
    }
}

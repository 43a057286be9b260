//! Where the memory of a guest under QEMU lies on the host.
#![forbid(unsafe_code)]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::memory::MemoryRange;

/// The place of a range of guest memory on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RamPlace {
    /// Guest-physical range.
    pub range: MemoryRange,
    /// Host-virtual address of its first byte in QEMU's process.
    pub hva: u64,
    /// The file that QEMU shares this memory through, if it has a name.
    pub file: Option<RamFile>,
}

/// A file with guest memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RamFile {
    /// The file's name, as this process sees it.
    pub path: PathBuf,
    /// Offset of the range's first byte in the file, in bytes.
    pub offset: u64,
}

/// Returns the name of an open file. A file that was deleted, or that is memory only, has none, and
/// neither has one that this process would not find under that name.
pub(super) fn path_of(file: &File) -> Option<PathBuf> {
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    let path = std::fs::read_link(link).ok()?;
    let (named, open) = (std::fs::metadata(&path).ok()?, file.metadata().ok()?);
    let is_same = named.dev() == open.dev() && named.ino() == open.ino();
    is_same.then_some(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_has_its_name_until_it_is_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ram (deleted)");
        let file = File::create(&path).unwrap();
        assert_eq!(path_of(&file), Some(path.clone()));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(path_of(&file), None);
        // Another file took its name.
        File::create(&path).unwrap();
        assert_eq!(path_of(&file), None);
        assert_eq!(path_of(&tempfile::tempfile().unwrap()), None);
    }
}

//! The part of a file that is in the host's page cache, by `fincore` of util-linux.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// Makes a folder in `parent`, which must lie on a disk. Returns `None` and prints why if the
/// page cache cannot be tested here. On CI that is a panic.
pub fn on_disk(parent: impl AsRef<Path>) -> Option<TempDir> {
    const TMPFS_MAGIC: u64 = 0x0102_1994;
    let folder = tempfile::tempdir_in(parent).unwrap();
    let why = if rustix::fs::statfs(folder.path()).unwrap().f_type as u64 == TMPFS_MAGIC {
        "the parent folder is on tmpfs"
    } else if Command::new("fincore").arg("--version").output().is_err() {
        "there is no fincore"
    } else {
        return Some(folder);
    };
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{why}");
    eprintln!("skip: {why}");
    None
}

/// Returns how many bytes of the file are in the page cache.
pub fn cached(path: &Path) -> u64 {
    let output = Command::new("fincore")
        .args(["--bytes", "--noheadings", "--output", "RES"])
        .arg(path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    str::from_utf8(&output.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

/// Makes a file of `len` bytes that is on the disk and not in the page cache. Each second
/// mebibyte is a hole.
pub fn cold_file(path: &Path, len: u64) -> File {
    let file = File::create_new(path).unwrap();
    file.set_len(len).unwrap();
    let block: Vec<u8> = (0..1 << 20).map(|n: u32| (n % 251) as u8 | 1).collect();
    for at in (0..len).step_by(2 * block.len()) {
        file.write_all_at(&block, at).unwrap();
    }
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    assert!(cached(path) < len / 8);
    File::open(path).unwrap()
}

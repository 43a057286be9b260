//! Swap space, for tests of memory that the host has swapped out.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stderr
)]

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::mm::{Advice, madvise};
use tempfile::TempDir;

/// The host can swap as long as this lives.
pub struct Swap {
    /// The swap file, if the host has no swap space of its own.
    folder: Option<TempDir>,
    _one: MutexGuard<'static, ()>,
}

const PAGE: usize = 4096;
const FILE: &str = "swap";

/// Swap space; `None`, with a message, if there is none and it cannot be made
/// here. On CI it must be.
pub fn swap() -> Option<Swap> {
    static ONE: Mutex<()> = Mutex::new(());
    let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let swaps = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
    if swaps.lines().count() > 1 {
        return Some(Swap {
            folder: None,
            _one: one,
        });
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().join(FILE);
    let mut new = OpenOptions::new();
    let mut file = new
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .unwrap();
    // A swap file must not have holes.
    file.write_all(&vec![0; 32 << 20]).unwrap();
    if !system("mkswap", &path) || !system("swapon", &path) {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "no swap space"
        );
        eprintln!("skip: there is no swap space, and only root can make some");
        return None;
    }
    Some(Swap {
        folder: Some(folder),
        _one: one,
    })
}

impl Drop for Swap {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            system("swapoff", &folder.path().join(FILE));
        }
    }
}

/// Runs a command for administrators on `path`, and gives whether it went well.
fn system(command: &str, path: &Path) -> bool {
    let folders = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let mut command = Command::new(command);
    let output = command.env("PATH", folders).arg(path).output();
    output.is_ok_and(|output| output.status.success())
}

impl Swap {
    /// Swaps out `len` bytes of this process's memory from `start` on, whole
    /// pages, and asserts that most are gone. Whoever reads them gets them
    /// back.
    #[allow(unsafe_code)]
    pub fn out(&self, start: *const u8, len: usize) {
        let pages = len / PAGE;
        for _ in 0..100 {
            // SAFETY: the advice changes no byte.
            unsafe { madvise(start.cast_mut().cast(), len, Advice::LinuxPageOut) }.unwrap();
            if 2 * swapped(start, pages) > pages {
                return;
            }
        }
        panic!("{} of {pages} pages are swapped out", swapped(start, pages));
    }
}

/// Pages that are in swap space. Bit 62 of the kernel's
/// `Documentation/admin-guide/mm/pagemap.rst`.
fn swapped(start: *const u8, pages: usize) -> usize {
    let mut entries = vec![0; 8 * pages];
    let pagemap = File::open("/proc/self/pagemap").unwrap();
    let at = 8 * (start.addr() / PAGE) as u64;
    pagemap.read_exact_at(&mut entries, at).unwrap();
    let (entries, _) = entries.as_chunks::<8>();
    let entries = entries.iter().map(|entry| u64::from_le_bytes(*entry));
    entries.filter(|entry| entry >> 62 == 1).count()
}

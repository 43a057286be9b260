//! Swap space for tests of memory that the host has swapped out. A run that is killed leaves
//! its swap file in use; `swapon --show` lists it, `swapoff` releases it.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;

/// Swap space that the host can use as long as this value lives.
pub struct Swap {
    /// Where the swap file is, if this is not the host's own swap space.
    folder: Option<TempDir>,
    _one: MutexGuard<'static, ()>,
}

const FILE: &str = "swap";

/// Makes a swap file in `parent`, or takes the host's own swap space. Returns `None` and
/// prints why if there is none. On CI that is a panic.
pub fn swap(parent: impl AsRef<Path>) -> Option<Swap> {
    static ONE: Mutex<()> = Mutex::new(());
    let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = swap_file(parent.as_ref());
    let swaps = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
    match folder {
        Err(why) if swaps.lines().count() < 2 => {
            skip(&format!("no swap space: {why}"));
            None
        }
        folder => Some(Swap {
            folder: folder.ok(),
            _one: one,
        }),
    }
}

/// Makes a swap file and has the host use it. That needs root and a file system that can.
fn swap_file(parent: &Path) -> Result<TempDir, String> {
    let folder = tempfile::tempdir_in(parent).unwrap();
    let path = folder.path().join(FILE);
    let mut new = OpenOptions::new();
    let new = new.write(true).create_new(true).mode(0o600);
    // It must not have holes.
    let zeroes = vec![0; 32 << 20];
    new.open(&path).unwrap().write_all(&zeroes).unwrap();
    system("mkswap", &path)?;
    system("swapon", &path)?;
    Ok(folder)
}

impl Drop for Swap {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder
            && let Err(why) = system("swapoff", &folder.path().join(FILE))
        {
            eprintln!("{why}");
        }
    }
}

/// Runs a command for administrators on `path`. The error contains its stderr.
fn system(command: &str, path: &Path) -> Result<(), String> {
    let folders = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let output = Command::new(command)
        .env("PATH", folders)
        .arg(path)
        .output();
    let output = output.map_err(|e| format!("{command}: {e}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{command} {}: {said}", path.display()))
    }
}

fn skip(why: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{why}");
    eprintln!("skip: {why}");
}

impl Swap {
    /// Swaps out `len` bytes of this process's memory from `start` on: whole pages that were
    /// touched. Reading them swaps them in again. Returns false and prints why if more than
    /// half of them stay. On CI that is a panic.
    #[allow(unsafe_code)]
    pub fn out(&self, start: *const u8, len: usize) -> bool {
        let before = swapped(start.addr());
        for _ in 0..100 {
            // SAFETY: the advice changes no byte.
            let code = unsafe { libc::madvise(start.cast_mut().cast(), len, libc::MADV_PAGEOUT) };
            assert_eq!(code, 0, "{}", std::io::Error::last_os_error());
            if swapped(start.addr()) - before > len / 2 {
                return true;
            }
        }
        skip("the host does not swap out");
        false
    }
}

/// Returns how many bytes of the mapping that contains `address` are in swap space.
fn swapped(address: usize) -> usize {
    smaps_kib(address, "Swap:") << 10
}

/// Reads a field of `/proc/self/smaps` that is in KiB, of the mapping that contains
/// `address` (`smaps` of the kernel's `Documentation/filesystems/proc.rst`).
pub fn smaps_kib(address: usize, field: &str) -> usize {
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let hex = |digits: &str| usize::from_str_radix(digits, 16).ok();
    let begins_here = |line: &str| {
        let addresses = line.split_once(' ').map_or("", |(first, _)| first);
        let (start, end) = addresses.split_once('-').unwrap_or_default();
        hex(start) <= Some(address) && Some(address) < hex(end)
    };
    let mut lines = smaps.lines().skip_while(|line| !begins_here(line));
    let kib = lines.find_map(|line| line.strip_prefix(field)?.strip_suffix("kB"));
    kib.unwrap().trim().parse().unwrap()
}

//! The command `guestdump`, run in a folder of its own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// The shortest text of VMCOREINFO that a dump takes.
pub const VMCOREINFO: &str = "OSRELEASE=6.1.0-test\nPAGESIZE=4096\n";

/// Returns the command's program. Cargo puts it into the folder above that of the tests.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    profile.join("guestdump")
}

/// A folder that the command runs in.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// The names in the folder, in order.
    pub fn names(&self) -> Vec<String> {
        names(self.0.path())
    }

    pub fn command(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(program());
        command
            .args(args)
            .current_dir(self.0.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs the command; `line` is split at spaces.
    pub fn run(&self, line: &str) -> Run {
        Run(self.command(line.split(' ')).output().unwrap())
    }

    /// Runs a line of shell, in which `guestdump` is the command.
    pub fn shell(&self, line: &str) -> Run {
        let mut path = program().parent().unwrap().as_os_str().to_owned();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap());
        let output = Command::new("sh")
            .args(["-c", line])
            .env("PATH", path)
            .current_dir(self.0.path())
            .output();
        Run(output.unwrap())
    }
}

pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The exit code and the output of a run of the command.
pub struct Run(pub Output);

impl Run {
    pub fn code(&self) -> i32 {
        self.0.status.code().unwrap()
    }

    pub fn stdout(&self) -> &str {
        str::from_utf8(&self.0.stdout).unwrap()
    }

    pub fn stderr(&self) -> &str {
        str::from_utf8(&self.0.stderr).unwrap()
    }

    /// Asserts that the command succeeded. Returns its stdout.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert_eq!(self.code(), 0, "{}", self.stderr());
        str::from_utf8(&self.0.stdout).unwrap_or("")
    }

    /// Asserts that the command succeeded and printed one line of JSON. Returns it.
    #[track_caller]
    pub fn json(&self) -> Value {
        let text = self.ok();
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        serde_json::from_str(text).unwrap()
    }

    /// The command made an incomplete dump of an incomplete source, and printed one line of JSON.
    #[track_caller]
    pub fn incomplete_json(&self) -> Value {
        assert_eq!(self.code(), 3, "{}", self.stderr());
        serde_json::from_str(self.stdout()).unwrap()
    }

    /// Asserts that the command failed with `code` and one line that contains all `words`.
    #[track_caller]
    pub fn fails(&self, code: i32, words: &[&str]) {
        let line = self.stderr();
        assert_eq!(self.code(), code, "{line}");
        assert!(line.starts_with("guestdump: "), "{line}");
        assert_eq!(line.find('\n'), Some(line.len() - 1), "{line}");
        for word in words {
            assert!(line.contains(word), "'{word}' is not in: {line}");
        }
    }
}

//! Paths in arguments and messages. They are bytes and need not be UTF-8.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A path in a message. Bytes that are not UTF-8 become escapes such as `\xff`;
/// [`note`](crate::report::note) escapes other characters.
pub(crate) struct Shown<'a>(pub(crate) &'a Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.as_os_str().as_bytes().utf8_chunks() {
            f.write_str(chunk.valid())?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Lists the paths of one dump for a message.
pub(crate) fn shown(paths: &[PathBuf]) -> String {
    let all: Vec<_> = paths.iter().map(|path| Shown(path).to_string()).collect();
    all.join(", ")
}

/// Whether there is a file of that name.
pub(crate) fn exists(name: &OsStr) -> bool {
    Path::new(name).symlink_metadata().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_not_utf_8_are_escaped() {
        let shown = |bytes: &[u8]| Shown(Path::new(OsStr::from_bytes(bytes))).to_string();
        assert_eq!(shown(b"/a/b"), "/a/b");
        assert_eq!(shown(b"a\xff\xc3\xa4b\xe2\x82"), "a\\xff\u{e4}b\\xe2\\x82");
    }
}

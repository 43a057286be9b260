//! The value of `--vmcoreinfo`.

use std::ffi::OsString;
use std::path::PathBuf;

use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::vmcoreinfo::MAX_SIZE;

use crate::input_file::read_at_most;
use crate::number::parse_size;
use crate::report::Result;

/// Space for the headers around VMCOREINFO's text in an ELF note, in bytes.
const NOTE_HEADERS: usize = 64;

/// Where VMCOREINFO comes from, by the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum VmcoreinfoArg {
    /// A scan of guest memory, whatever the source itself says.
    Scan,
    /// A guest-physical address.
    At(u64),
    /// A file with the text, or the ELF note.
    File(PathBuf),
}

impl From<OsString> for VmcoreinfoArg {
    fn from(value: OsString) -> Self {
        let address = |text: &str| text.starts_with("0x").then(|| parse_size(text).ok());
        match value.to_str() {
            Some("scan") => Self::Scan,
            Some(text) => match address(text).flatten() {
                Some(address) => Self::At(address),
                None => Self::File(value.into()),
            },
            None => Self::File(value.into()),
        }
    }
}

impl VmcoreinfoArg {
    /// Reads the file, if it is one.
    pub(crate) fn source(&self) -> Result<VmcoreinfoSource> {
        Ok(match self {
            Self::Scan => VmcoreinfoSource::Scan,
            Self::At(gpa) => VmcoreinfoSource::At(*gpa),
            Self::File(path) => {
                VmcoreinfoSource::Bytes(read_at_most(path, MAX_SIZE + NOTE_HEADERS)?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_begins_with_0x_and_all_else_is_a_path() {
        let parse = |text: &str| VmcoreinfoArg::from(OsString::from(text));
        let file = |text: &str| VmcoreinfoArg::File(text.into());
        assert_eq!(parse("scan"), VmcoreinfoArg::Scan);
        assert_eq!(parse("0x2000"), VmcoreinfoArg::At(0x2000));
        for path in ["./scan", "2000", "0x", "0xzz", "./0x2000", "info"] {
            assert_eq!(parse(path), file(path));
        }
    }
}

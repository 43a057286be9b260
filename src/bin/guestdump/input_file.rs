//! Files that the command reads.

use std::fs::File;
use std::path::Path;

use crate::report::{Failure, Result};

/// Opens a file to read from.
pub(crate) fn open_file(path: &Path) -> Result<File> {
    File::open(path)
        .map_err(|e| Failure::because(format_args!("cannot open {}", path.display()), &e))
}

//! Files that the command reads.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use guestdump::read::{ReadAt, Uncached};

use crate::report::{Failure, Result};

/// Opens a file to read from.
pub(crate) fn open_file(path: &Path) -> Result<File> {
    File::open(path)
        .map_err(|e| Failure::because(format_args!("cannot open {}", path.display()), &e))
}

/// Reads at most `limit` bytes of a file and one more, because the file may have any size.
pub(crate) fn read_at_most(path: &Path, limit: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit as u64 + 1).read_to_end(&mut bytes))
        .map_err(|e| Failure::because(format_args!("cannot read {}", path.display()), &e))?;
    Ok(bytes)
}

/// Opens a file with guest memory; `nocache` keeps it out of the host's page
/// cache.
pub(crate) fn open_input(path: &Path, nocache: bool) -> Result<Arc<dyn ReadAt>> {
    let file = open_file(path)?;
    Ok(if nocache {
        Arc::new(Uncached::new(file))
    } else {
        file.shared()
    })
}

//! Files that the command reads.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;

use guestdump::read::{FileKind, ReadAt, Uncached};

use crate::paths::Shown;
use crate::report::{Failure, Result};
use crate::same_file;

/// Opens a file to read from. A socket, a folder and the file that the dump
/// goes to are refused.
pub(crate) fn open_file(path: &Path) -> Result<File> {
    open(path, same_file::refuse_target)
}

/// Opens a dump to convert. It may be replaced by its conversion, which gets
/// the name when it is finished.
pub(crate) fn open_to_convert(path: &Path) -> Result<File> {
    open(path, same_file::refuse_written_target)
}

fn open(path: &Path, refuse: fn(&Path, &Metadata) -> Result<()>) -> Result<File> {
    let file = File::open(path).map_err(|error| {
        let wrong = std::fs::metadata(path).ok();
        wrong
            .and_then(|meta| wrong_kind(path, &meta))
            .unwrap_or_else(|| cannot_open(path, &error))
    })?;
    let meta = file.metadata().map_err(|e| cannot_open(path, &e))?;
    if let Some(failure) = wrong_kind(path, &meta) {
        return Err(failure);
    }
    refuse(path, &meta)?;
    Ok(file)
}

fn cannot_open(path: &Path, error: &std::io::Error) -> Failure {
    Failure::because(format_args!("cannot open {}", Shown(path)), error)
}

fn wrong_kind(path: &Path, meta: &Metadata) -> Option<Failure> {
    let name = Shown(path);
    if meta.file_type().is_socket() {
        return Some(Failure::new(format!(
            "{name} is a socket; if it is QEMU's QMP socket, write qmp:{name}"
        )));
    }
    meta.is_dir()
        .then(|| Failure::new(format!("{name}: this is a folder; name a file in it")))
}

/// Returns the failure for a path that is named as a socket, but is none.
pub(crate) fn not_a_socket(path: &Path) -> Option<Failure> {
    let name = Shown(path);
    let file = std::fs::metadata(path).ok().filter(Metadata::is_file)?;
    let kind = open_file(path).ok().and_then(|file| kind(&file));
    let scheme = match kind {
        Some(kind) if kind.is_readable_dump() || kind.is_compressed() => "vmcore",
        _ => "raw",
    };
    let what = kind.map_or_else(|| format!("{} bytes", file.len()), |kind| kind.to_string());
    Some(Failure::new(format!(
        "{name} is a file ({what}), not a socket; write {scheme}:{name}"
    )))
}

/// The kind of a regular file; `None` if it cannot be told.
pub(crate) fn kind(file: &File) -> Option<FileKind> {
    FileKind::of(file).ok().flatten()
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

/// Reads at most `limit` bytes of a file and one more, because the file may
/// have any length.
pub(crate) fn read_at_most(path: &Path, limit: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_file(path)?
        .take(limit as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Failure::because(format_args!("cannot read {}", Shown(path)), &e))?;
    Ok(bytes)
}

//! Opens dump files, and unpacks those that are compressed.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use guestdump::Progress;
use guestdump::read::{UnpackError, Vmcore, VmcoreError, unpack};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::input_file::{kind, open_file};
use crate::paths::Shown;
use crate::report::Failure;
use crate::signals::make_size_limit_an_error;

/// Where compressed dumps are unpacked.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct SpoolArgs {
    /// Folder in which a compressed dump (.gz, .zst, .xz) is unpacked, into a file
    /// without a name [default: $TMPDIR, or /var/tmp]
    #[arg(long, value_name = "DIR")]
    pub(crate) spool: Option<PathBuf>,
}

impl SpoolArgs {
    fn folder(&self) -> PathBuf {
        let default = || std::env::var_os("TMPDIR").filter(|folder| !folder.is_empty());
        let given = self.spool.clone().or_else(|| default().map(PathBuf::from));
        given.unwrap_or_else(|| "/var/tmp".into())
    }
}

/// Why a dump file cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error(transparent)]
    Vmcore(VmcoreError),
    /// The file is compressed, and the unpacked file is no dump either.
    #[error("unpacked")]
    Unpacked(#[source] VmcoreError),
    #[error(transparent)]
    Unpack(UnpackError),
    #[error("cannot unpack the file in {}; name another folder with --spool DIR", Shown(.0))]
    Spool(PathBuf, #[source] SpoolError),
}

/// Why there is no spool, or too small a one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpoolError {
    #[error(transparent)]
    Folder(io::Error),
    #[error(transparent)]
    Unpack(UnpackError),
}

impl OpenError {
    /// Returns the offset in the dump, if the error has one.
    pub(crate) fn offset(&self) -> Option<u64> {
        match self {
            Self::Vmcore(error) => error.offset(),
            _ => None,
        }
    }
}

/// Opens the dump in `file`. A compressed one is unpacked first.
pub(crate) fn open(
    file: File,
    spool: &SpoolArgs,
    progress: &Progress,
) -> Result<Vmcore, OpenError> {
    match unpacked(&file, spool, progress)? {
        Some(spooled) => Vmcore::open(spooled).map_err(OpenError::Unpacked),
        None => Vmcore::open(file).map_err(OpenError::Vmcore),
    }
}

/// Opens one dump: a file, or all parts of a split dump. The outer error is of the files themselves.
pub(crate) fn open_parts(
    paths: &[PathBuf],
    spool: &SpoolArgs,
    progress: &Progress,
) -> Result<Result<Vmcore, OpenError>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        files.push(open_file(path)?);
    }
    if files.len() == 1 {
        return Ok(open(files.remove(0), spool, progress));
    }
    let mut parts = Vec::new();
    for file in files {
        match unpacked(&file, spool, progress) {
            Ok(spooled) => parts.push(spooled.unwrap_or(file)),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Vmcore::open_parts(parts).map_err(OpenError::Vmcore))
}

/// Unpacks a compressed file; `None` if the file is not compressed.
pub(crate) fn unpacked(
    file: &File,
    spool: &SpoolArgs,
    progress: &Progress,
) -> Result<Option<File>, OpenError> {
    let Some(kind) = kind(file).filter(|kind| kind.is_compressed()) else {
        return Ok(None);
    };
    let folder = spool.folder();
    let in_folder = |error| OpenError::Spool(folder.clone(), error);
    let (spooled, space) = create(&folder).map_err(|e| in_folder(SpoolError::Folder(e)))?;
    match unpack(kind, file, &spooled, space, progress) {
        Ok(_) => Ok(Some(spooled)),
        Err(error @ (UnpackError::Write { .. } | UnpackError::TooLarge { .. })) => {
            Err(in_folder(SpoolError::Unpack(error)))
        }
        Err(error) => Err(OpenError::Unpack(error)),
    }
}

/// Makes a file without a name in `folder`, which only this process can read.
/// Returns it with the space that it may take: all that is free but a
/// twentieth.
fn create(folder: &Path) -> io::Result<(File, u64)> {
    make_size_limit_an_error()?;
    let owner_only = Mode::RUSR | Mode::WUSR;
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let unnamed = flags | OFlags::TMPFILE | OFlags::EXCL;
    let file: File = match rustix::fs::open(folder, unnamed, owner_only) {
        Ok(file) => file.into(),
        // The file system, or the kernel, has no files without names.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
            let path = folder.join(format!(".guestdump-{}.spool", std::process::id()));
            let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
            let file = rustix::fs::open(&path, flags, owner_only)?;
            std::fs::remove_file(&path)?;
            file.into()
        }
        Err(e) => return Err(e.into()),
    };
    let free = rustix::fs::fstatvfs(&file)?;
    let free = free.f_bavail.saturating_mul(free.f_frsize);
    Ok((file, free - free / 20))
}

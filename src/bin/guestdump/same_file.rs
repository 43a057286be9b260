//! Refuses to write a dump over a file that it is made from.
//!
//! Files are compared by device and inode, so other names, links and
//! descriptors of one file are found too.

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::OnceLock;

use guestdump::sink::Target;

use crate::paths::Shown;
use crate::report::{Failure, Result};
use crate::target::Name;

/// The identity of a file, whatever its name: device and inode of a regular file, the
/// device itself of a block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileId {
    Regular { device: u64, inode: u64 },
    Block(u64),
}

impl FileId {
    fn new(meta: &Metadata) -> Option<Self> {
        let kind = meta.file_type();
        if kind.is_file() {
            return Some(Self::Regular {
                device: meta.dev(),
                inode: meta.ino(),
            });
        }
        kind.is_block_device().then(|| Self::Block(meta.rdev()))
    }
}

/// The file that the dump goes to. The command writes one dump.
static TARGET: OnceLock<TargetFile> = OnceLock::new();

/// A target that is a file.
#[derive(Debug)]
struct TargetFile {
    id: FileId,
    /// The name in messages.
    name: String,
    /// Whether a finished dump replaces the file, which is not written itself.
    is_replaced: bool,
}

/// Remembers the target, if it is a file that exists. From now on,
/// [`open_file`](crate::input_file::open_file) refuses to open it.
pub(crate) fn remember_target(target: &Target) {
    let meta = match target {
        // A link at the target is not followed, and is refused later.
        Target::File(path) => path.symlink_metadata(),
        Target::Fd(number) => std::fs::metadata(format!("/proc/self/fd/{number}")),
        _ => std::fs::metadata("/proc/self/fd/1"),
    };
    if let Some(id) = meta.ok().as_ref().and_then(FileId::new) {
        let _ = TARGET.set(TargetFile {
            id,
            name: Name(target).to_string(),
            is_replaced: matches!(target, Target::File(_)),
        });
    }
}

/// Refuses an input that is the target.
pub(crate) fn refuse_target(path: &Path, meta: &Metadata) -> Result<()> {
    refuse_if(path, meta, |_| true)
}

/// Refuses an input that is the target, unless the target is replaced at the
/// end.
pub(crate) fn refuse_written_target(path: &Path, meta: &Metadata) -> Result<()> {
    refuse_if(path, meta, |target| !target.is_replaced)
}

fn refuse_if(path: &Path, meta: &Metadata, is_bad: fn(&TargetFile) -> bool) -> Result<()> {
    match (TARGET.get(), FileId::new(meta)) {
        (Some(target), Some(id)) if target.id == id && is_bad(target) => {
            Err(Failure::new(format!(
                "the target {} and the input {} are one file; name another target",
                target.name,
                Shown(path)
            )))
        }
        _ => Ok(()),
    }
}

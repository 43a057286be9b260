//! The settings of a source, by the command line.

use std::path::Path;

use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::qemu::Include;
use guestdump::{Machine, Progress};

use crate::vmcore_file::SpoolArgs;

/// The options of a source.
#[derive(Debug)]
pub(crate) struct Settings<'a> {
    /// The map of a file with guest RAM or of a core file. The next two fields are
    /// for these files too.
    pub(crate) map: Option<&'a Path>,
    pub(crate) machine: Option<Machine>,
    /// VMCOREINFO of the command line.
    pub(crate) vmcoreinfo: Option<&'a VmcoreinfoSource>,
    /// Whether a file with guest RAM is that whatever it looks like.
    pub(crate) raw_anyway: bool,
    /// Threads of a search in guest memory, 0 for one for each core.
    pub(crate) threads: usize,
    /// In bytes.
    pub(crate) page_size: Option<u64>,
    /// Memory besides RAM that a running QEMU gives.
    pub(crate) include: Include,
    /// Whether files with guest RAM stay out of the page cache.
    pub(crate) nocache: bool,
    /// Where compressed dumps are unpacked.
    pub(crate) spool: &'a SpoolArgs,
    /// The progress of the dump.
    pub(crate) progress: Progress,
}

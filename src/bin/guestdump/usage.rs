//! Options that go with some sources only.

use crate::report::{Failure, Result};
use crate::source::SourceName;

/// The options about a file with guest RAM or a core file, and whether each was given.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RawOptions {
    pub(crate) map: bool,
    pub(crate) machine: bool,
    pub(crate) page_size: bool,
    pub(crate) raw_anyway: bool,
}

impl RawOptions {
    /// Refuses options that the source `from` would ignore. `word` stands before the source on the
    /// command line: `--from ` or nothing.
    pub(crate) fn check(self, from: &SourceName, word: &str) -> Result<()> {
        if self.raw_anyway && !matches!(from, SourceName::Raw(_)) {
            return Err(Failure::usage(format!(
                "--raw-anyway goes with {word}raw:PATH only"
            )));
        }
        let options = [
            ("--map", self.map),
            ("--machine", self.machine),
            ("--page-size", self.page_size),
        ];
        match options.iter().find(|(_, given)| *given) {
            Some((name, _)) if !matches!(from, SourceName::Raw(_) | SourceName::ProcessCore(_)) => {
                Err(Failure::usage(format!(
                    "{name} goes with {word}raw:PATH and process-core:CORE only"
                )))
            }
            _ => Ok(()),
        }
    }
}

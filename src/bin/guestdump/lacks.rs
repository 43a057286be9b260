//! Reports what a dump, or the source of one, lacks.

use guestdump::memory::{Coverage, Lack};
use serde::Serialize;

use crate::report::human;

/// One lack of a source, as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct LackEntry {
    pub(crate) kind: &'static str,
    pub(crate) what: String,
}

impl From<&Lack> for LackEntry {
    fn from(lack: &Lack) -> Self {
        Self {
            kind: lack.name(),
            what: lack.to_string(),
        }
    }
}

/// Lists what is lacking, as JSON.
pub(crate) fn entries(coverage: &Coverage) -> Vec<LackEntry> {
    coverage.lacks.iter().map(LackEntry::from).collect()
}

/// Describes for people the pages that a filtered source does not contain; `None` if it contains
/// all.
pub(crate) fn absent_line(coverage: &Coverage) -> Option<String> {
    let bytes = coverage.absent_bytes();
    (bytes > 0).then(|| {
        format!(
            "{} of RAM are not in the source, whose dump level is {}, and not in the dump",
            human(bytes),
            coverage.dump_level
        )
    })
}

/// Describes for people why the dump is incomplete; `None` if it is complete.
pub(crate) fn warning(coverage: &Coverage) -> Option<String> {
    let all: Vec<_> = coverage.lacks.iter().map(Lack::to_string).collect();
    (!all.is_empty()).then(|| {
        format!(
            "warning: the source is incomplete: {}; the dump says so too",
            all.join("; ")
        )
    })
}

//! Reports guest memory that a core file lacks.

use guestdump::process_core::{Missing, MissingReason};
use serde::Serialize;

use crate::paths::Shown;
use crate::report::human;

/// Maximum number of lines for people; JSON contains all ranges.
const MAX_LINES: usize = 8;

/// A range of missing guest memory, as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct MissingEntry {
    gpa: u64,
    size: u64,
    hva: String,
    reason: &'static str,
    /// The path of the file that may contain the range.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
}

impl From<&Missing> for MissingEntry {
    fn from(missing: &Missing) -> Self {
        let (path, offset) = match &missing.reason {
            MissingReason::InFile { path, offset } => {
                (Some(Shown(path).to_string()), Some(*offset))
            }
            _ => (None, None),
        };
        Self {
            gpa: missing.range.start(),
            size: missing.range.size(),
            hva: format!("{:#x}", missing.hva),
            reason: missing.reason.name(),
            path,
            offset,
        }
    }
}

/// Describes missing guest memory for people, line by line.
pub(crate) fn lines(missing: &[Missing]) -> Vec<String> {
    let mut lines: Vec<String> = missing
        .iter()
        .take(MAX_LINES)
        .map(|m| {
            let size = human(m.range.size());
            format!(
                "warning: {size} of guest memory are missing, {} (host-virtual {:#x}): {}",
                m.range, m.hva, m.reason
            )
        })
        .collect();
    if let Some(more @ 1..) = missing.len().checked_sub(MAX_LINES) {
        let rest = missing[MAX_LINES..].iter().map(|m| m.range.size()).sum();
        lines.push(format!(
            "warning: {more} more ranges are missing, {}; --json lists all",
            human(rest)
        ));
    }
    lines
}

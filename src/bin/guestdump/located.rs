//! Reports where VMCOREINFO was found, and whether it is that of the kernel in guest memory.

use guestdump::Machine;
use guestdump::guest::vmcoreinfo::{Candidate, Located, Origin, Rejected};
use guestdump::vmcoreinfo::Vmcoreinfo;
use serde::Serialize;

/// VMCOREINFO and its source, as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct LocatedEntry {
    source: &'static str,
    verified: bool,
    osrelease: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    build_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected: Option<RejectedEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    candidates: Vec<CandidateEntry>,
}

#[derive(Debug, Serialize)]
struct RejectedEntry {
    source: &'static str,
    osrelease: String,
    build_id: Option<String>,
    kernel_offset: Option<u64>,
    crash_time: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<u64>,
}

#[derive(Debug, Serialize)]
struct CandidateEntry {
    address: u64,
    osrelease: String,
    crash_time: Option<u64>,
    kernel_offset: Option<u64>,
    verified: bool,
}

impl From<&Located> for LocatedEntry {
    fn from(located: &Located) -> Self {
        let candidates = located.candidates.iter();
        Self {
            source: located.origin.name(),
            verified: located.verified,
            osrelease: located.info.osrelease(),
            build_id: build_id(&located.info),
            address: located.origin.gpa(),
            rejected: located.rejected.as_ref().map(RejectedEntry::from),
            candidates: candidates.map(CandidateEntry::from).collect(),
        }
    }
}

impl From<&Rejected> for RejectedEntry {
    fn from(rejected: &Rejected) -> Self {
        let info = &rejected.info;
        Self {
            source: rejected.origin.name(),
            osrelease: info.osrelease(),
            build_id: build_id(info),
            kernel_offset: info.kernel_offset(),
            crash_time: info.crash_time(),
            address: rejected.origin.gpa(),
        }
    }
}

impl From<&Candidate> for CandidateEntry {
    fn from(candidate: &Candidate) -> Self {
        Self {
            address: candidate.gpa,
            osrelease: candidate.osrelease.clone(),
            crash_time: candidate.crash_time,
            kernel_offset: candidate.kernel_offset,
            verified: candidate.verified,
        }
    }
}

/// Formats VMCOREINFO's release and source for people.
pub(crate) fn line(located: &Located) -> String {
    let mut line = format!(
        "VMCOREINFO of {}, {}",
        located.info.osrelease(),
        located.origin
    );
    if located.candidates.len() > 1 && matches!(located.origin, Origin::Scan { .. }) {
        line += &format!(", the best of {}", located.candidates.len());
    }
    line + if located.verified {
        "; verified by the kernel in guest memory"
    } else {
        "; not verified"
    }
}

/// Formats the doubts about VMCOREINFO for people, line by line.
pub(crate) fn warnings(located: &Located) -> Vec<String> {
    let chosen = describe(&located.info);
    if let Some(Rejected { info, origin, .. }) = &located.rejected {
        return vec![format!(
            "warning: VMCOREINFO ({origin}) is of {}, but the kernel in guest memory is {chosen}; \
             VMCOREINFO {} is used instead",
            describe(info),
            located.origin
        )];
    }
    if located.verified {
        return other_kernels(located, &chosen);
    }
    // Whatever the machine, only x86_64 kernels have this symbol.
    let why = if Machine::X86_64.is_only_linked(&located.info) {
        "it does not tell where such an old kernel is, and the kernel is not where it was linked"
    } else {
        "guest memory has no such kernel where it says, so it may be of another boot or another guest"
    };
    let mut lines = vec![format!(
        "warning: VMCOREINFO of {chosen} ({}) is not verified: {why}",
        located.origin
    )];
    let is_other = |c: &&Candidate| Some(c.gpa) != located.origin.gpa();
    lines.extend(
        located
            .candidates
            .iter()
            .filter(is_other)
            .take(MAX_LINES)
            .map(|other| {
                format!(
                    "warning: guest memory also has VMCOREINFO of {} at {:#x}, not verified",
                    other.osrelease, other.gpa
                )
            }),
    );
    lines
}

/// Names the other kernels that are in memory as well, such as that of an earlier boot.
fn other_kernels(located: &Located, chosen: &str) -> Vec<String> {
    let release = located.info.osrelease();
    let offset = located.info.kernel_offset();
    // A kernel has its text twice, and appends the time of a crash to only one of them at first.
    let is_other = |c: &&Candidate| {
        c.verified
            && Some(c.gpa) != located.origin.gpa()
            && (&c.osrelease, c.kernel_offset) != (&release, offset)
    };
    let others = located.candidates.iter().filter(is_other).take(MAX_LINES);
    others
        .map(|other| {
            let facts = facts(None, other.kernel_offset, other.crash_time);
            format!(
                "warning: guest memory has another kernel, {}{facts}; {chosen} ({}) is taken, and \
                 --vmcoreinfo {:#x} takes the other",
                other.osrelease, located.origin, other.gpa
            )
        })
        .collect()
}

/// Maximum number of other VMCOREINFO that are listed for people.
const MAX_LINES: usize = 4;

/// Describes a kernel by what tells it from another boot.
fn describe(info: &Vmcoreinfo) -> String {
    let facts = facts(build_id(info), info.kernel_offset(), info.crash_time());
    info.osrelease() + &facts
}

/// Formats what tells a kernel from another boot, in brackets; nothing if it is not known.
fn facts(build_id: Option<String>, offset: Option<u64>, crash_time: Option<u64>) -> String {
    let facts = [
        build_id.map(|id| format!("build ID {id}")),
        offset.map(|offset| format!("KERNELOFFSET {offset:#x}")),
        crash_time.map(|time| format!("CRASHTIME {time}")),
    ];
    let facts: Vec<_> = facts.into_iter().flatten().collect();
    if facts.is_empty() {
        return String::new();
    }
    format!(" ({})", facts.join(", "))
}

/// Returns `BUILD-ID`, of which a guest may give any length.
fn build_id(info: &Vmcoreinfo) -> Option<String> {
    /// The longest build ID in use is that of SHA-256, in hexadecimal.
    const MAX: usize = 64;
    let value = info.value("BUILD-ID")?;
    Some(String::from_utf8_lossy(&value[..value.len().min(MAX)]).into_owned())
}

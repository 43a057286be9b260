//! The report of a finished `dump`.

use std::fmt;

use guestdump::guest::windows::{BugcheckData, HeaderOrigin, SkippedCpu};
use guestdump::qemu::Standstill;
use guestdump::write::WindowsSummary;
use guestdump::{PagingSummary, Summary, Unreadable};
use serde::Serialize;

use crate::exclude::{self, ExclusionEntry};
use crate::lacks::{self, LackEntry};
use crate::located::{self, LocatedEntry};
use crate::missing::MissingEntry;
use crate::placed::PlacedEntry;
use crate::report::human;
use crate::source::Source;

/// The summary as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct SummaryEntry {
    format: &'static str,
    machine: &'static str,
    page_size: u64,
    pages: u64,
    zero_pages: u64,
    bytes_total: u64,
    bytes_written: u64,
    file_size: u64,
    seconds: f64,
    threads: usize,
    vmcoreinfo: Option<LocatedEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    windows: Option<WindowsEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paging: Option<PagingEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    excluded: Option<ExclusionEntry>,
    /// Whether the dump is all of the guest's memory that was asked for.
    complete: bool,
    lacks: Vec<LackEntry>,
    /// The source's dump level, which the dump's level includes.
    source_dump_level: u32,
    /// Bytes of RAM that the source does not contain.
    absent_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<UnreadableEntry>,
    /// The pause of a guest under QEMU; absent for other sources.
    #[serde(flatten)]
    standstill: Option<StandstillEntry>,
    /// The guest memory that a core file lacks; absent for other sources.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<Vec<MissingEntry>>,
    /// Where the RAM of a file without a map was taken to lie; absent for other sources.
    #[serde(skip_serializing_if = "Option::is_none")]
    ram: Option<PlacedEntry>,
}

#[derive(Debug, Serialize)]
struct PagingEntry {
    mappings: u64,
    tables: u64,
    partial: bool,
    cut_tables: u64,
    cut_bytes: u64,
    unreadable_tables: u64,
}

#[derive(Debug, Serialize)]
struct UnreadableEntry {
    bytes: u64,
    ranges: Vec<RangeEntry>,
    more_ranges: u64,
    first_error: String,
}

#[derive(Debug, Serialize)]
struct RangeEntry {
    gpa: u64,
    size: u64,
}

impl From<&Unreadable> for UnreadableEntry {
    fn from(u: &Unreadable) -> Self {
        let ranges = u.ranges.iter().map(|range| RangeEntry {
            gpa: range.start(),
            size: range.size(),
        });
        Self {
            bytes: u.bytes,
            ranges: ranges.collect(),
            more_ranges: u.more_ranges,
            first_error: u.first_error.clone(),
        }
    }
}

#[derive(Debug, Serialize)]
struct StandstillEntry {
    standstill_seconds: Option<f64>,
    interference: Option<String>,
}

#[derive(Debug, Serialize)]
struct WindowsEntry {
    header: &'static str,
    bug_check_code: u32,
    bug_check_parameters: [u64; 4],
    skipped_cpus: Vec<SkippedEntry>,
    damage: Vec<String>,
}

#[derive(Debug, Serialize)]
struct SkippedEntry {
    cpu: usize,
    why: String,
}

impl From<&WindowsSummary> for WindowsEntry {
    fn from(w: &WindowsSummary) -> Self {
        let skipped = w.skipped_cpus.iter().map(|skipped| SkippedEntry {
            cpu: skipped.cpu,
            why: skipped.why.to_string(),
        });
        Self {
            header: w.header.name(),
            bug_check_code: w.bugcheck.code,
            bug_check_parameters: w.bugcheck.parameters,
            skipped_cpus: skipped.collect(),
            damage: w.damage.iter().map(ToString::to_string).collect(),
        }
    }
}

impl SummaryEntry {
    pub(crate) fn new(s: &Summary, standstill: Option<&Standstill>, source: &Source) -> Self {
        Self {
            format: s.format.name(),
            machine: s.machine.name(),
            page_size: s.page_size,
            pages: s.pages,
            zero_pages: s.zero_pages,
            bytes_total: s.bytes_total,
            bytes_written: s.bytes_written,
            file_size: s.file_size,
            seconds: s.duration.as_secs_f64(),
            threads: s.threads,
            vmcoreinfo: s.vmcoreinfo.as_ref().map(LocatedEntry::from),
            windows: s.windows.as_ref().map(WindowsEntry::from),
            paging: s.paging.map(|p| PagingEntry {
                mappings: p.mappings,
                tables: p.tables,
                partial: p.partial,
                cut_tables: p.cut_tables,
                cut_bytes: p.cut_bytes,
                unreadable_tables: p.unreadable_tables,
            }),
            excluded: s.excluded.as_ref().map(ExclusionEntry::from),
            complete: s.source.is_complete(),
            lacks: lacks::entries(&s.source),
            source_dump_level: s.source.dump_level,
            absent_bytes: s.source.absent_bytes(),
            unreadable: s.unreadable.as_ref().map(UnreadableEntry::from),
            standstill: standstill.map(|standstill| StandstillEntry {
                standstill_seconds: standstill.duration.map(|d| d.as_secs_f64()),
                interference: standstill.interference.as_ref().map(ToString::to_string),
            }),
            missing: source
                .missing()
                .map(|list| list.iter().map(MissingEntry::from).collect()),
            ram: source.placed().map(PlacedEntry::from),
        }
    }
}

/// Formats the summary for people, line by line.
pub(crate) fn lines(
    target: impl fmt::Display,
    s: &Summary,
    standstill: Option<&Standstill>,
) -> Vec<String> {
    let first = format!(
        "{target}: {}, {} of guest memory in {} pages ({} zero), {} written in {:.2} s by {} thread{}",
        s.format,
        human(s.bytes_total),
        s.pages,
        s.zero_pages,
        human(s.bytes_written),
        s.duration.as_secs_f64(),
        s.threads,
        if s.threads == 1 { "" } else { "s" },
    );
    let second = match &s.vmcoreinfo {
        None if s.format.is_windows() => None,
        None => Some("no VMCOREINFO was found; few tools can open a dump without it".to_owned()),
        Some(located) => Some(located::line(located)),
    };
    let mut lines = vec![first];
    lines.extend(second);
    lines.extend(s.vmcoreinfo.iter().flat_map(located::warnings));
    lines.extend(s.excluded.as_ref().map(exclude::line));
    lines.extend(lacks::absent_line(&s.source));
    lines.extend(s.paging.as_ref().map(paging_line));
    lines.extend(s.windows.iter().flat_map(windows_lines));
    lines.extend(s.unreadable.iter().flat_map(unreadable_lines));
    if let Some(standstill) = standstill {
        lines.push(match standstill.duration {
            Some(duration) => format!("the guest stood still for {:.3} s", duration.as_secs_f64()),
            None => "the guest stood still before and was left so".to_owned(),
        });
        let interference = standstill.interference.as_ref();
        lines.extend(
            interference
                .map(|what| format!("warning: {what}; the dump may be of more than one moment")),
        );
    }
    lines
}

/// Maximum number of ranges that are listed for people.
const MAX_RANGE_LINES: usize = 16;

fn unreadable_lines(u: &Unreadable) -> Vec<String> {
    let mut lines = vec![format!(
        "warning: {} of guest memory could not be read: {}",
        human(u.bytes),
        u.first_error
    )];
    let listed = u.ranges.iter().take(MAX_RANGE_LINES);
    lines.extend(listed.map(|range| format!("warning: {range} could not be read")));
    let more = u.ranges.len().saturating_sub(MAX_RANGE_LINES) as u64 + u.more_ranges;
    if more > 0 {
        lines.push(format!(
            "warning: nor could {more} more ranges; --json lists {}",
            Unreadable::MAX_RANGES
        ));
    }
    lines
}

fn windows_lines(w: &WindowsSummary) -> Vec<String> {
    let BugcheckData { code, .. } = w.bugcheck;
    let mut lines = vec![match w.bugcheck {
        BugcheckData::LIVE => format!("the header is {}; no crash", origin(w.header)),
        _ => format!("the header is {}; bug check {code:#x}", origin(w.header)),
    }];
    lines.extend(w.skipped_cpus.iter().map(|skipped| {
        let SkippedCpu { cpu, why } = skipped;
        format!("warning: the registers of vCPU {cpu} are not in the dump's memory: {why}")
    }));
    lines.extend(w.damage.iter().map(|what| format!("warning: {what}")));
    lines
}

fn origin(header: HeaderOrigin) -> &'static str {
    match header {
        HeaderOrigin::Note => "from the guest's note",
        HeaderOrigin::Given => "from --windows-header",
        _ => "built from the guest's kernel",
    }
}

fn paging_line(p: &PagingSummary) -> String {
    let plural = |n| if n == 1 { "" } else { "s" };
    let mut line = format!(
        "{} mapping{} by {} page table{}",
        p.mappings,
        plural(p.mappings),
        p.tables,
        plural(p.tables)
    );
    if p.partial {
        line += &format!(
            "; warning: not all of them, {} references to page tables and {} of pages were cut off",
            p.cut_tables,
            human(p.cut_bytes)
        );
    }
    line
}

//! The parts of a dump that makedumpfile split, together as one dump.
//!
//! Each part has all headers and both bitmaps of the whole dump, and the page descriptors and data of
//! its own page frames. Source: makedumpfile `IMPLEMENTATION`, "The split option", and
//! `makedumpfile.c`, `reassemble_kdump_header`.
#![forbid(unsafe_code)]

use std::io;

use crate::abi::{Encoding, Utsname};
use crate::arch::Machine;
use crate::dump::FormatOptions;
use crate::guest::GuestInfo;
use crate::memory::{
    Coverage, Lack, MemoryRange, difference, next_populated_by_range, read_by_range,
};
use crate::read::dump::{Dump, Headers};
use crate::read::kdump::dump::KdumpDump;
use crate::read::{CheckReport, Input, VmcoreError};
use crate::workers::Progress;

/// Parts of one dump, by their page frames.
#[derive(Debug)]
pub(crate) struct SplitDump {
    parts: Vec<(Input, KdumpDump)>,
    /// The memory of all parts, each range with the index of its part.
    memory: Vec<(MemoryRange, usize)>,
    coverage: Coverage,
}

impl SplitDump {
    /// Puts parts together, which may come in any order.
    ///
    /// # Errors
    ///
    /// - [`VmcoreError::Parts`] if they are not parts of one dump;
    /// - [`VmcoreError::Read`] if a bitmap cannot be read.
    pub(crate) fn new(mut parts: Vec<(Input, KdumpDump)>) -> Result<Self, VmcoreError> {
        parts.sort_by_key(|(_, part)| part.headers.share().start);
        let bad = |what: String| Err(VmcoreError::Parts(what));
        let Some((input, first)) = parts.first() else {
            return bad("there is none".into());
        };
        for (_, part) in &parts {
            if part.headers.sub.split == 0 {
                return bad("one of them is a dump by itself".into());
            }
            let apart = time(part).abs_diff(time(first));
            if identity(part) != identity(first) || apart > LONGEST_WRITE {
                return bad("their headers differ".into());
            }
        }
        let mut lacks = Vec::new();
        // Page frames in no part are missing if the whole dump has pages there.
        let mut add_gap = |start: u64, end: u64| {
            let mut pages = 0;
            first.bitmaps.for_each_dumped(input, &(start..end), |run| {
                pages += run.count;
                Ok(())
            })?;
            if pages > 0 {
                lacks.push(Lack::MissingPart { start, end });
            }
            Ok(())
        };
        let mut end = 0;
        let max_mapnr = first.headers.max_mapnr();
        for (_, part) in &parts {
            let share = part.headers.share();
            if share.start < end {
                return bad(format!("two of them have page frame {:#x}", share.start));
            }
            add_gap(end, share.start)?;
            end = share.end.min(max_mapnr);
        }
        add_gap(end, max_mapnr)?;
        for (_, part) in &parts {
            let others = part.coverage.lacks.iter();
            let others = others.filter(|lack| !matches!(lack, Lack::Part { .. }));
            lacks.extend(others.cloned());
        }
        let memory: Vec<_> = (0..)
            .zip(&parts)
            .flat_map(|(index, (_, part))| part.pages.ranges().map(move |range| (range, index)))
            .collect();
        let present: Vec<_> = memory.iter().map(|(range, _)| *range).collect();
        let coverage = Coverage {
            // Each part knows all RAM.
            absent: difference(&first.coverage.absent, &present),
            lacks,
            ..first.coverage.clone()
        };
        Ok(Self {
            parts,
            memory,
            coverage,
        })
    }

    fn first(&self) -> &KdumpDump {
        &self.parts[0].1
    }
}

/// The longest time between the parts of one dump, in seconds. makedumpfile gives all the same
/// time; other writers that of each part.
const LONGEST_WRITE: u64 = 60;

/// The time in a part's header, in seconds since 1970.
fn time(part: &KdumpDump) -> u64 {
    part.headers.main.timestamp_sec
}

/// Returns the facts that all parts of one dump have in common.
fn identity(part: &KdumpDump) -> impl PartialEq {
    let headers = &part.headers;
    let main = &headers.main;
    (
        headers.abi,
        main.utsname,
        main.block_size,
        headers.max_mapnr(),
        headers.sub.dump_level,
    )
}

impl Dump for SplitDump {
    fn headers(&self) -> Headers<'_> {
        self.first().headers()
    }

    fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    fn encoding(&self) -> Encoding {
        self.first().encoding()
    }

    fn machine(&self) -> Option<Machine> {
        self.first().machine()
    }

    fn page_size(&self) -> Option<u64> {
        self.first().page_size()
    }

    fn pages(&self) -> u64 {
        self.parts.iter().map(|(_, part)| part.pages()).sum()
    }

    fn note_bytes(&self) -> &[u8] {
        self.first().note_bytes()
    }

    fn note_offset(&self) -> u64 {
        self.first().note_offset()
    }

    fn vmcoreinfo_bytes(&self) -> &[u8] {
        self.first().vmcoreinfo_bytes()
    }

    fn utsname(&self) -> Option<Utsname> {
        self.first().utsname()
    }

    fn add_to(&self, input: &Input, guest: GuestInfo, format: &mut FormatOptions) -> GuestInfo {
        self.first().add_to(input, guest, format)
    }

    fn ranges(&self) -> Vec<MemoryRange> {
        self.memory.iter().map(|(range, _)| *range).collect()
    }

    fn read(&self, _: &Input, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        read_by_range(&self.memory, range_of, gpa, buf, |(_, index), gpa, buf| {
            let (input, part) = &self.parts[*index];
            part.read(input, gpa, buf)
        })
    }

    fn next_populated(&self, _: &Input, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
        next_populated_by_range(&self.memory, range_of, range, |(_, index), here| {
            let (input, part) = &self.parts[*index];
            part.next_populated(input, here)
        })
    }

    fn check(
        &self,
        _: &Input,
        report: &mut CheckReport,
        progress: &Progress,
    ) -> Result<(), VmcoreError> {
        for (input, part) in &self.parts {
            part.check(input, report, progress)?;
        }
        Ok(())
    }
}

fn range_of((range, _): &(MemoryRange, usize)) -> MemoryRange {
    *range
}

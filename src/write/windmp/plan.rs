//! Plans a Windows dump and checks all of its parts. These are the final header,
//! the places in the file, and the bytes that differ from the guest's memory.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::time::Duration;

use crate::abi::Class;
use crate::arch::CpuState;
use crate::elf::note::Notes;
use crate::guest::GuestInfo;
use crate::guest::reader::Guest;
use crate::guest::windows::WinDmpError;
use crate::guest::windows::discover::SkippedCpu;
use crate::guest::windows::encode_context;
use crate::guest::windows::source::{Found, HeaderOrigin, HeaderSearch, find_header};
use crate::guest::windows::{BugcheckData, ContextPlace};
use crate::guest::windows::{HeaderSource, WindowsError};
use crate::memory::{MemoryRange, Patch, Patches};
use crate::selection::{FrameRun, Selection};
use crate::windmp::DumpKind;
use crate::windmp::{
    BitmapHeader, DUMP_TYPE_BITMAP_FULL, DUMP_TYPE_BITMAP_KERNEL, DUMP_TYPE_FULL,
    DUMP_TYPE_KERNEL_MEMORY, FILLER, FULL_BITMAP, Header, KERNEL_BITMAP, PAGE_SIZE, fit_runs,
};
use crate::workers::Workers;
use crate::write::TooHigh;

/// A Windows dump before it is written.
pub(crate) struct WinDmpPlan {
    /// The header as the dump will contain it.
    pub(crate) header: Header,
    pub(crate) patches: Patches,
    /// The guest's RAM.
    pub(crate) ranges: Vec<MemoryRange>,
    pub(crate) layout: WinDmpLayout,
    pub(crate) summary: WindowsSummary,
}

/// Facts about a written Windows dump.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WindowsSummary {
    /// Origin of the dump's header.
    pub header: HeaderOrigin,
    /// Why the guest crashed, as the header states it.
    pub bugcheck: BugcheckData,
    /// CPUs whose registers are not at their place in the dump's memory. In a
    /// guest without KDBG these are all CPUs. The list is empty if the caller
    /// set the places
    /// ([`WindowsInfo::contexts`](crate::guest::windows::WindowsInfo::contexts)).
    pub skipped_cpus: Vec<SkippedCpu>,
    /// Faults in the kernel's lists of modules, processes and memory.
    pub damage: Vec<WinDmpError>,
}

/// Places of the dump's parts in the file, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WinDmpLayout {
    /// The bitmap's header and its offset; `None` in a full dump.
    pub(crate) bitmap: Option<(u64, BitmapHeader)>,
    /// Offset of the first page.
    pub(crate) memory: u64,
    pub(crate) file_size: u64,
}

/// Why a Windows dump cannot be planned.
#[derive(Debug)]
pub(crate) enum PlanError {
    Windows(WindowsError),
    TooHigh(TooHigh),
    /// RAM is not in the source, and the dump would not show that.
    Absent {
        bytes: u64,
    },
}

impl<E: Into<WindowsError>> From<E> for PlanError {
    fn from(error: E) -> Self {
        Self::Windows(error.into())
    }
}

/// The caller's requests for a Windows dump.
#[derive(Clone, Copy)]
pub(crate) struct WinDmpRequest<'a> {
    pub(crate) kind: DumpKind,
    pub(crate) header: &'a HeaderSource,
    pub(crate) bugcheck: Option<BugcheckData>,
    pub(crate) damaged: bool,
}

impl WinDmpPlan {
    /// Plans a dump of the pages in `selection`. For a full dump it extends the
    /// selection to all pages in the dump's runs.
    ///
    /// A bitmap dump's runs are all RAM, those pages included that the source does not contain. So a
    /// reader finds that they are absent. A dump of kernel memory stays one.
    pub(crate) fn new(
        guest: Guest<'_>,
        info: &GuestInfo,
        request: WinDmpRequest<'_>,
        workers: &Workers,
        selection: &mut Selection,
    ) -> Result<Self, PlanError> {
        if selection.page_size != PAGE_SIZE {
            return Err(WinDmpError::PageSize(selection.page_size).into());
        }
        let full = request.kind == DumpKind::Full;
        let absent = PlanError::Absent {
            bytes: selection.left_out.len() * PAGE_SIZE,
        };
        let is_partial = selection.left_out.len() > 0;
        if full && is_partial {
            return Err(absent);
        }
        let windows = &info.windows;
        let cpus = &registers(info);
        let search = HeaderSearch {
            source: request.header,
            vmcoreinfo: &info.vmcoreinfo,
            damaged: request.damaged,
            workers,
        };
        let Found {
            mut header,
            origin,
            findings,
        } = find_header(guest, search, cpus)?;
        // The runs are all RAM, of which the bitmap has a part.
        if is_partial && selection.wanted.len() > header.max_runs() {
            return Err(absent);
        }
        if full {
            let fitting = fit_runs(&page_frames(selection), header.max_runs());
            let fitting = fitting.map_err(WinDmpError::from)?.into_iter();
            selection.wanted = fitting
                .map(|Range { start, end }| FrameRun {
                    start,
                    count: end - start,
                })
                .collect();
        }
        let too_high = || {
            PlanError::TooHigh(TooHigh {
                end: selection.max_mapnr().saturating_mul(PAGE_SIZE),
            })
        };
        let dump_type = match header.dump_type() {
            _ if full => DUMP_TYPE_FULL,
            DUMP_TYPE_KERNEL_MEMORY | DUMP_TYPE_BITMAP_KERNEL if is_partial => {
                DUMP_TYPE_BITMAP_KERNEL
            }
            _ => DUMP_TYPE_BITMAP_FULL,
        };
        let layout = WinDmpLayout::new(&header, selection, dump_type).ok_or_else(too_high)?;
        let places = match &windows.contexts[..] {
            [] => &findings.contexts,
            given => given,
        };
        let mut patches = context_patches(&header, info, cpus, places)?;
        patches.extend(findings.patches);
        let patches = Patches::new(guest.ranges, patches).map_err(WinDmpError::from)?;

        header.set_dump_type(dump_type);
        header.set_required_dump_space(layout.file_size);
        header
            .set_runs(&page_frames(selection), selection.wanted_pages())
            .map_err(|_| too_high())?;
        let bugcheck = request.bugcheck.or(findings.bugcheck);
        let bugcheck = bugcheck.or(windows.crash_registers);
        let bugcheck = match bugcheck.unwrap_or_else(|| header.bugcheck()) {
            // In the header of a running guest, the driver uses parameter 1 for
            // the address of a decoded KDBG.
            BugcheckData {
                code: 0 | FILLER, ..
            } => BugcheckData::LIVE,
            told => told,
        };
        // Crash registers have 64 bits in a 32-bit guest as well.
        let bugcheck = match header.class() {
            Class::Bits32 => bugcheck.low_words(),
            Class::Bits64 => bugcheck,
        };
        header.set_bugcheck(bugcheck).map_err(WinDmpError::from)?;
        if let Some(time) = info.timestamp {
            header.set_system_time(file_time(time));
        }
        if let Some(context) = context_of(&header, info, cpus, windows.crashed_cpu) {
            header
                .set_context_record(&context)
                .map_err(WinDmpError::from)?;
        }
        let skipped_cpus = match windows.contexts[..] {
            [] => findings.skipped,
            _ => Vec::new(),
        };
        let summary = WindowsSummary {
            header: origin,
            bugcheck: header.bugcheck(),
            skipped_cpus,
            damage: findings.damage,
        };
        Ok(Self {
            header,
            patches,
            ranges: guest.ranges.to_vec(),
            layout,
            summary,
        })
    }
}

impl WinDmpLayout {
    /// Computes the layout. It returns `None` if a number does not fit into its
    /// field.
    fn new(header: &Header, selection: &Selection, dump_type: u32) -> Option<Self> {
        let pages = selection.pages();
        let frames = selection.max_mapnr();
        if header.class() == Class::Bits32 && frames > u32::MAX.into() {
            return None;
        }
        let behind_header = header.as_bytes().len() as u64;
        let mut memory = behind_header;
        let mut bitmap = None;
        if dump_type != DUMP_TYPE_FULL {
            // LeechCore reads only whole words of 64 bits.
            let bits = frames.checked_next_multiple_of(64)?;
            memory = behind_header
                .checked_add(BitmapHeader::SIZE as u64 + bits / 8)?
                .checked_next_multiple_of(PAGE_SIZE)?;
            let header = BitmapHeader {
                signature: match dump_type {
                    DUMP_TYPE_BITMAP_KERNEL => KERNEL_BITMAP,
                    _ => FULL_BITMAP,
                },
                first_page: memory,
                total_present_pages: pages,
                pages: bits,
            };
            bitmap = Some((behind_header, header));
        }
        let file_size = pages.checked_mul(PAGE_SIZE)?.checked_add(memory)?;
        i64::try_from(file_size).ok()?;
        Some(Self {
            bitmap,
            memory,
            file_size,
        })
    }
}

/// Returns the page frames of each requested run.
fn page_frames(selection: &Selection) -> Vec<Range<u64>> {
    let runs = selection.wanted.iter();
    runs.map(|run| run.start..run.end()).collect()
}

/// Returns the registers of each virtual CPU. If the caller gave none, it
/// decodes the CPU notes, for example those of an ELF dump.
fn registers(info: &GuestInfo) -> Vec<CpuState> {
    if !info.cpus.is_empty() {
        return info.cpus.clone();
    }
    let machine = info.machine;
    machine.decode_notes(Notes::new(&info.notes, machine.encoding().order))
}

/// Returns the context of virtual CPU `cpu`, if its registers are given.
fn context_of(header: &Header, info: &GuestInfo, cpus: &[CpuState], cpu: usize) -> Option<Vec<u8>> {
    let registers = cpus.get(cpu)?;
    let extra = info.windows.extra.get(cpu).copied().unwrap_or_default();
    encode_context(header, registers, &extra)
}

/// Returns patches that put the CPUs' contexts at their places in guest memory.
fn context_patches(
    header: &Header,
    info: &GuestInfo,
    cpus: &[CpuState],
    places: &[ContextPlace],
) -> Result<Vec<Patch>, WinDmpError> {
    let mut patches = Vec::new();
    for place in places {
        let cpu = place.cpu;
        let context =
            context_of(header, info, cpus, cpu).ok_or(WinDmpError::NoRegisters { cpu })?;
        let lengths = place.pieces.iter().map(|(_, len)| *len);
        let len = lengths.fold(0, usize::saturating_add);
        if len != context.len() {
            let expected = context.len();
            return Err(WinDmpError::ContextSize { cpu, len, expected });
        }
        let mut rest = &context[..];
        for &(gpa, len) in &place.pieces {
            let (bytes, behind) = rest.split_at(len);
            let bytes = bytes.to_vec();
            patches.push(Patch { gpa, bytes });
            rest = behind;
        }
    }
    Ok(patches)
}

/// Converts to Windows's `FILETIME`, in units of 100 ns since 1601.
fn file_time(since_1970: Duration) -> u64 {
    /// Time from 1601 to 1970: 369 years, 89 of them leap years.
    const TO_1970: Duration = Duration::from_secs((369 * 365 + 89) * 24 * 60 * 60);
    let since_1601 = since_1970.saturating_add(TO_1970);
    u64::try_from(since_1601.as_nanos() / 100).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_time_counts_from_1601_and_saturates() {
        assert_eq!(file_time(Duration::ZERO), 116_444_736_000_000_000);
        assert_eq!(
            file_time(Duration::from_nanos(250)),
            116_444_736_000_000_002
        );
        assert_eq!(file_time(Duration::MAX), u64::MAX);
    }
}

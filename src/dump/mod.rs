//! Dumps from end to end: options, checks, writing, summary.

mod dumper;
mod error;
mod exclusion;
mod format;
mod format_options;
mod job;
mod options;
mod page_filter;
mod plan;
mod refusal;
mod summary;
mod virtual_addresses;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

pub use dumper::{Busy, Dumper};
pub use error::{Error, Result};
pub use exclusion::ExclusionSummary;
pub use format::{Format, UnknownFormat};
pub use format_options::{ElfOptions, FormatOptions, KdumpOptions, NotInFormat, WinDmpOptions};
#[cfg(feature = "qapi")]
pub(crate) use job::dump_work;
pub use job::{DumpJob, DumpStatus};
pub use options::DumpOptions;
pub use page_filter::OnUnknownKernel;
pub use refusal::Refusal;
pub use summary::{PagingSummary, Summary};

use plan::Plan;

use crate::fault::Fault;
use crate::memory::{
    GuestMemory, MIN_PAGE_SIZE, Monotonic, OnReadError, Throttled, Tolerant, UnreadableLog,
};
use crate::pipeline::CHUNK_SIZE;
use crate::sink::{DumpSink, SinkAccess};
use crate::workers::{Threads, panic_message};

/// Writes a dump of `memory` to `sink`.
///
/// This call returns when the dump is finished; [`crate::DumpJob`] runs a dump in the background.
/// Everything is checked before the first byte is written.
///
/// # Errors
///
/// - [`Error::Refused`] if the dump cannot be made, and then nothing was written;
/// - any other [`Error`] if the dump failed.
pub fn dump(
    memory: &dyn GuestMemory,
    sink: &mut dyn DumpSink,
    options: &DumpOptions,
) -> Result<Summary> {
    let begun = Instant::now();
    // A panic in the caller's memory or sink fails the dump like any other error.
    let access = catch_panics(|| Ok(sink.access()))?;
    check_sink(options, &access)?;
    let clock = Monotonic::new();
    let progress = options.workers.handle();
    let throttled = options
        .throttle
        .map(|rate| Throttled::new(memory, rate, progress, &clock))
        .transpose()
        .map_err(|error| Refusal::Throttle { rate: error.rate })?;
    let memory = throttled
        .as_ref()
        .map_or(memory, |throttled| throttled as &dyn GuestMemory);
    let plan = catch_panics(|| plan(memory, options))?;

    let page_size = plan.selection.page_size;
    let chunks = (plan.pages() * page_size).div_ceil(CHUNK_SIZE);
    let workers = options.workers.as_threads();
    let threads = Threads {
        count: (workers.count as u64).min(chunks) as usize,
        ..workers
    };
    let log = &UnreadableLog::new(options.on_read_error, page_size);
    let tolerant = Tolerant { memory, log };
    let memory = match options.on_read_error {
        OnReadError::Fail => memory,
        OnReadError::Zero | OnReadError::Skip => &tolerant,
    };
    let written = match catch_panics(|| plan.write(memory, log, access, options, threads)) {
        Ok(written) => written,
        Err(Error::Incomplete { pages, of, cause }) => {
            // The first error is the one to report.
            return Err(
                match catch_panics(|| sink.finish().map_err(Error::Finish)) {
                    Ok(()) => Error::Incomplete { pages, of, cause },
                    Err(_) => Error::Failed(cause),
                },
            );
        }
        Err(error) => return Err(error),
    };
    // An earlier dump of the same name is better than one of which no page was read.
    if let Some((range, source)) = log.nothing_read(written.pages) {
        let (gpa, len) = (range.start(), range.size());
        return Err(Fault::Read { gpa, len, source }.into());
    }
    catch_panics(|| sink.finish().map_err(Error::Finish))?;
    Ok(Summary {
        format: plan.format,
        machine: options.guest.machine,
        page_size,
        pages: written.pages,
        zero_pages: written.zero_pages,
        bytes_total: written.pages * page_size,
        bytes_written: progress.snapshot().written,
        file_size: written.file_size,
        threads: threads.count,
        duration: begun.elapsed(),
        excluded: plan.excluded,
        source: plan.coverage,
        paging: plan.mappings.as_ref().map(PagingSummary::from),
        vmcoreinfo: plan.vmcoreinfo,
        windows: plan.windows.map(|plan| plan.summary),
        unreadable: log.summary(),
    })
}

fn plan(memory: &dyn GuestMemory, options: &DumpOptions) -> Result<Plan> {
    match options.on_read_error {
        OnReadError::Fail => Plan::new(memory, memory, options),
        // A part that can be read may contain what the plan needs.
        policy => {
            let log = &UnreadableLog::new(policy, MIN_PAGE_SIZE);
            Plan::new(&Tolerant { memory, log }, memory, options)
        }
    }
}

/// Refuses a format or policy that the sink cannot take.
fn check_sink(options: &DumpOptions, access: &SinkAccess<'_>) -> Result<()> {
    let format = options.format.format();
    let is_stream = matches!(access, SinkAccess::Stream(_));
    if format.needs_positions() && is_stream {
        let instead = format.streamable();
        return Err(Refusal::NeedsPositions { format, instead }.into());
    }
    if options.on_read_error == OnReadError::Skip && format.codec().is_none() {
        let stream = format == Format::WIN_DMP_BITMAP;
        if !stream || is_stream {
            return Err(Refusal::SkipFormat { format, stream }.into());
        }
    }
    Ok(())
}

fn catch_panics<R>(f: impl FnOnce() -> Result<R>) -> Result<R> {
    catch_unwind(AssertUnwindSafe(f))
        .unwrap_or_else(|panic| Err(Fault::Panicked(panic_message(&*panic)).into()))
}

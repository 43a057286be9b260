//! A dump from end to end: options, checks, writing, summary.

mod exclusion;
mod format;
mod job;
mod options;
mod plan;
mod summary;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

pub use exclusion::{ExclusionSummary, OnUnknownKernel};
pub use format::{Format, UnknownFormat};
#[cfg(feature = "serde")]
pub(crate) use job::dump_work;
pub use job::{Busy, DumpJob, DumpStatus, Dumper};
pub use options::DumpOptions;
pub use summary::{PagingSummary, Summary};

use plan::Plan;

use crate::error::{Error, Result};
use crate::memory::throttled::{Monotonic, Throttled};
use crate::memory::{GuestMemory, MIN_PAGE_SIZE, OnReadError, Tolerant, UnreadableLog};
use crate::pipeline::CHUNK_SIZE;
use crate::sink::{DumpSink, SinkAccess};
use crate::workers::{Threads, panic_message};

/// Writes a dump of `memory` to `sink`.
///
/// Blocks until the dump is finished; [`crate::DumpJob`] runs it in the
/// background. Everything is checked before the first byte is written.
///
/// # Errors
///
/// Any [`Error`]; if [`Error::is_refusal`] says so, nothing was written.
pub fn dump(
    memory: &dyn GuestMemory,
    sink: &mut dyn DumpSink,
    options: &DumpOptions,
) -> Result<Summary> {
    let begun = Instant::now();
    // What the caller's memory and sink do wrong, a panic included, is a
    // failure like another.
    let access = catch_panics(|| Ok(sink.access()))?;
    if options.format.needs_positions() && matches!(access, SinkAccess::Stream(_)) {
        return Err(Error::NeedsPositions {
            format: options.format,
            instead: options.format.streamable(),
        });
    }
    check_policies(options, &access)?;
    let clock = Monotonic::new();
    let throttled = options
        .throttle
        .map(|rate| Throttled::new(memory, rate, &options.progress, &clock))
        .transpose()?;
    let memory = throttled
        .as_ref()
        .map_or(memory, |throttled| throttled as &dyn GuestMemory);
    let plan = catch_panics(|| match options.on_read_error {
        OnReadError::Fail => Plan::new(memory, memory, options),
        // What is looked for may be elsewhere.
        policy => {
            let log = &UnreadableLog::new(policy, MIN_PAGE_SIZE);
            Plan::new(&Tolerant { memory, log }, memory, options)
        }
    })?;
    let page_size = plan.selection.page_size;
    let bytes_total = plan.pages(options.format) * page_size;
    let chunks = bytes_total.div_ceil(CHUNK_SIZE);
    let workers = options.workers();
    let threads = Threads {
        count: (workers.count as u64).min(chunks) as usize,
        ..workers
    };
    let progress = &options.progress;
    let log = &UnreadableLog::new(options.on_read_error, page_size);
    let tolerant = Tolerant { memory, log };
    let memory = match options.on_read_error {
        OnReadError::Fail => memory,
        OnReadError::Zero | OnReadError::Skip => &tolerant,
    };
    let written = match catch_panics(|| plan.write(memory, log, access, options, threads)) {
        Ok(written) => written,
        Err(Error::Incomplete { pages, of, cause }) => {
            // The first error counts.
            return Err(
                match catch_panics(|| sink.finish().map_err(Error::Finish)) {
                    Ok(()) => Error::Incomplete { pages, of, cause },
                    Err(_) => *cause,
                },
            );
        }
        Err(error) => return Err(error),
    };
    catch_panics(|| sink.finish().map_err(Error::Finish))?;
    Ok(Summary {
        format: options.format,
        machine: options.machine,
        page_size,
        pages: written.pages,
        zero_pages: written.zero_pages,
        bytes_total: written.pages * page_size,
        bytes_written: progress.snapshot().written,
        file_size: written.file_size,
        threads: threads.count,
        duration: begun.elapsed(),
        excluded: plan.excluded,
        paging: plan.mappings.as_ref().map(PagingSummary::from),
        vmcoreinfo: plan.vmcoreinfo,
        windows: plan.windows.map(|plan| plan.summary),
        unreadable: log.summary(),
    })
}

/// Refuses what the format or the sink cannot do.
fn check_policies(options: &DumpOptions, access: &SinkAccess<'_>) -> Result<()> {
    let format = options.format;
    if options.keep_partial && !(format.codec().is_some() && format.needs_positions()) {
        return Err(Error::KeepPartialFormat { format });
    }
    if options.on_read_error == OnReadError::Skip && format.codec().is_none() {
        let stream = format == Format::WinDmpBitmap;
        if !stream || matches!(access, SinkAccess::Stream(_)) {
            return Err(Error::SkipFormat { format, stream });
        }
    }
    Ok(())
}

fn catch_panics<R>(f: impl FnOnce() -> Result<R>) -> Result<R> {
    catch_unwind(AssertUnwindSafe(f))
        .unwrap_or_else(|panic| Err(Error::Panicked(panic_message(&*panic))))
}

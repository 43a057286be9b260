//! The command `guestdump dump`.

use std::path::Path;

use guestdump::guest::paging::Budget;
use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::guest::windows::HeaderSource;
use guestdump::qemu::{Include, Standstill};
use guestdump::sink::{FileSinkOptions, SinkAccess, Target};
use guestdump::windmp::Header;
use guestdump::{
    DumpSink, Error, Fault, Format, FormatOptions, NotInFormat, Progress, Refusal, Summary,
};

use crate::args::{DumpArgs, Included};
use crate::input_file::read_at_most;
use crate::lacks;
use crate::missing;
use crate::placed::Placed;
use crate::progress::Ticker;
use crate::report::{Failure, Result, note, print_json, print_json_to_stderr};
use crate::same_file;
use crate::settings::Settings;
use crate::signals::Watch;
use crate::source::{Source, SourceName};
use crate::summary::{self, SummaryEntry};
use crate::target::{self, Keep};
use crate::usage::RawOptions;
use crate::vmcoreinfo_arg::VmcoreinfoArg;

pub(crate) fn run(args: &DumpArgs) -> Result<()> {
    let from = SourceName::together(&args.from)?;
    check_usage(args, &from)?;
    target::refuse_closed(&args.to)?;
    if args.json && !target::is_stdout(&args.to) {
        target::refuse_closed(&Target::Stdout)?;
    }
    same_file::remember_target(&args.to);
    let progress = Progress::new();
    let vmcoreinfo = args.vmcoreinfo.as_ref().map(VmcoreinfoArg::source);
    let vmcoreinfo = vmcoreinfo.transpose()?;
    let settings = Settings {
        map: args.map.as_deref(),
        machine: args.machine,
        vmcoreinfo: vmcoreinfo.as_ref(),
        raw_anyway: args.raw_anyway,
        threads: args.threads.into(),
        page_size: args.page_size,
        include: Include {
            rom: args.include.contains(&Included::Rom),
            vram: args.include.contains(&Included::Vram),
        },
        nocache: args.nocache,
        spool: &args.spool,
        progress: progress.clone(),
    };
    let header = args
        .windows_header
        .as_deref()
        .map(read_header)
        .transpose()?;
    let mut source = Source::open(&from, &settings)?;

    let is_file = matches!(args.to, Target::File(_));
    let watch = Watch::start(progress.clone(), !is_file, source.rescue())
        .map_err(|e| Failure::because("cannot watch for signals", &e))?;
    let options = FileSinkOptions::from(args.file).nocache(args.nocache);
    let mut sink = target::open(&args.to, options)?;
    let ticker = Ticker::start(progress.clone(), args.progress)
        .map_err(|e| Failure::because("cannot start the progress display", &e))?;
    let result = write(
        args,
        &mut source,
        &mut *sink,
        (vmcoreinfo, header),
        progress,
    );
    let resumed = source.resume();
    drop(ticker);
    let summary = match (result, &resumed) {
        (Ok(summary), _) => summary,
        (Err(failure), resumed) => {
            let failure = match watch.caught() {
                Some(signal) if failure.is_kept() => signal.and(&failure),
                Some(signal) => signal,
                None => failure,
            };
            return Err(match resumed {
                Ok(_) => failure,
                Err(more) => failure.and(more),
            });
        }
    };
    let standstill = resumed.as_ref().ok().and_then(Option::as_ref);
    if let Some(why) = source.unknown_registers() {
        note(&format!("the dump has no CPUs: {why}"));
    }
    report(args, &summary, standstill, &source)?;
    resumed?;
    match lacks::warning(&summary.source) {
        // The JSON says so too, and is all that goes to stderr.
        Some(_) if args.json && target::is_stdout(&args.to) => Err(Failure::incomplete("")),
        Some(warning) => Err(Failure::incomplete(warning)),
        None => Ok(()),
    }
}

/// Stops the guest if it runs, and writes the dump.
fn write(
    args: &DumpArgs,
    source: &mut Source,
    sink: &mut dyn DumpSink,
    (vmcoreinfo, header): (Option<VmcoreinfoSource>, Option<HeaderSource>),
    progress: Progress,
) -> Result<Summary> {
    source.stop()?;
    let format = args.format.unwrap_or_else(|| default_format(sink));
    let mut options = source
        .options(format)?
        .threads(args.threads.into())
        .on_read_error(args.on_read_error)
        .keep_incomplete(args.keep_incomplete)
        .progress(progress.clone());
    if let (Some(begin), Some(length)) = (args.begin, args.length) {
        options = options.filter(begin, length);
    }
    if let Some(rate) = args.throttle {
        options = options.throttle(rate);
    }
    if let Some(source) = vmcoreinfo {
        options.guest = options.guest.vmcoreinfo(source);
    }
    options.format = format_options(args, options.format, header)
        .map_err(|error| Failure::new(error.to_string()))?;
    let keep = match options.format.clone().keep_partial() {
        _ if args.keep_partial => Keep::Asked,
        Ok(_) => Keep::Possible,
        Err(_) => Keep::Impossible,
    };
    source.dump(sink, &options).map_err(|error| {
        let is_misplaced = matches!(error, Error::Refused(Refusal::WinDmp(_)))
            && source.placed().is_some_and(Placed::is_assumed);
        let failure = match error {
            Error::Failed(ref fault @ Fault::Write { .. }) => {
                let written = progress.snapshot().written;
                target::not_written(&args.to, fault, written, keep)
            }
            error => target::failure(&args.to, error),
        };
        let failure = if is_misplaced {
            failure.and(&Failure::new(
                "where the RAM lies was only assumed; --map says it",
            ))
        } else {
            failure
        };
        match source.unknown_registers().filter(|_| format.is_windows()) {
            Some(why) => failure.and(&Failure::new(format!("the dump has {why}"))),
            None => failure,
        }
    })
}

/// Sets the format's own options from the command line.
fn format_options(
    args: &DumpArgs,
    mut format: FormatOptions,
    header: Option<HeaderSource>,
) -> Result<FormatOptions, NotInFormat> {
    if args.paging {
        format = format.paging(Budget::default())?;
    }
    if let Some(engine) = args.compressor {
        format = format.compressor(engine)?;
    }
    if args.keep_partial {
        format = format.keep_partial()?;
    }
    format = args.exclude.apply(format)?;
    if let FormatOptions::Windows(windows) = format {
        let windows = windows.damaged(args.windows_damaged);
        return Ok(FormatOptions::Windows(match header {
            Some(header) => windows.header(header),
            None => windows,
        }));
    }
    Ok(format)
}

fn report(
    args: &DumpArgs,
    summary: &Summary,
    standstill: Option<&Standstill>,
    source: &Source,
) -> Result<()> {
    let missing = source.missing();
    let entry = args
        .json
        .then(|| SummaryEntry::new(summary, standstill, source));
    if let (Some(entry), true) = (&entry, target::is_stdout(&args.to)) {
        return print_json_to_stderr(entry);
    }
    for line in missing::lines(missing.unwrap_or_default()) {
        note(&line);
    }
    if let Some(placed) = source.placed() {
        note(&placed.line());
    }
    if let Some(entry) = entry {
        return print_json(&entry);
    }
    for line in summary::lines(target::Name(&args.to), summary, standstill) {
        note(&line);
    }
    Ok(())
}

fn check_usage(args: &DumpArgs, from: &SourceName) -> Result<()> {
    let raw = RawOptions {
        map: args.map.is_some(),
        machine: args.machine.is_some(),
        page_size: args.page_size.is_some(),
        raw_anyway: args.raw_anyway,
    };
    raw.check(from, "--from ")?;
    if !args.include.is_empty() && !matches!(from, SourceName::Qmp(_)) {
        return Err(Failure::usage("--include goes with --from qmp:SOCKET only"));
    }
    let windows_only = [
        ("--windows-header", args.windows_header.is_some()),
        ("--windows-damaged", args.windows_damaged),
    ];
    match windows_only.iter().find(|(_, given)| *given) {
        Some((name, _)) if !args.format.is_some_and(Format::is_windows) => Err(Failure::usage(
            format!("{name} goes with --format win-dmp and win-dmp-bitmap only"),
        )),
        _ => Ok(()),
    }
}

fn default_format(sink: &mut dyn DumpSink) -> Format {
    match sink.access() {
        SinkAccess::Positioned(_) => Format::KDUMP_RAW_ZLIB,
        _ => Format::KDUMP_ZLIB,
    }
}

fn read_header(path: &Path) -> Result<HeaderSource> {
    let bytes = read_at_most(path, Header::MAX_SIZE)?;
    Ok(HeaderSource::Given(bytes))
}

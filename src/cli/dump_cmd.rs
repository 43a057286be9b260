//! `guestdump dump`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use guestdump::sink::{SinkAccess, Target};
use guestdump::vmcoreinfo::{MAX_SIZE, VmcoreinfoSource};
use guestdump::{DumpSink, Format, Progress, dump};

use super::args::DumpArgs;
use super::progress::Ticker;
use super::report::{Failure, Result, note, print_json, print_json_to_stderr};
use super::signals::Watch;
use super::source::{RawSettings, Source, SourceName};
use super::summary::{self, SummaryEntry};
use super::target;

/// Room for the headers around VMCOREINFO's text in an ELF note, in bytes.
const NOTE_HEADERS: usize = 64;

pub(crate) fn run(args: &DumpArgs) -> Result<()> {
    check_usage(args)?;
    let settings = RawSettings {
        map: args.map.as_deref(),
        machine: args.machine,
        page_size: args.page_size,
    };
    let source = Source::open(&args.from, &settings)?;
    let vmcoreinfo = args
        .vmcoreinfo
        .as_deref()
        .map(read_vmcoreinfo)
        .transpose()?;

    let progress = Progress::new();
    let is_file = matches!(args.to, Target::File(_));
    let watch = Watch::start(progress.clone(), !is_file)
        .map_err(|e| Failure::because("cannot watch for signals", &e))?;
    let mut sink = target::open(&args.to, args.force)?;
    let format = args.format.unwrap_or_else(|| default_format(&mut *sink));
    let mut options = source
        .options(format)?
        .threads(args.threads.into())
        .progress(progress.clone());
    if let (Some(begin), Some(length)) = (args.begin, args.length) {
        options = options.filter(begin, length);
    }
    if let Some(source) = vmcoreinfo {
        options = options.vmcoreinfo(source);
    }

    let ticker = Ticker::start(progress, args.progress)
        .map_err(|e| Failure::because("cannot start the progress display", &e))?;
    let result = dump(source.memory(), &mut *sink, &options);
    drop(ticker);
    let summary = result.map_err(|error| {
        let failure = || target::failure(&args.to, error);
        watch.caught().unwrap_or_else(failure)
    })?;

    if args.json {
        let entry = SummaryEntry::from(&summary);
        if target::is_stdout(&args.to) {
            return print_json_to_stderr(&entry);
        }
        return print_json(&entry);
    }
    for line in summary::lines(target::Name(&args.to), &summary) {
        note(&line);
    }
    Ok(())
}

fn check_usage(args: &DumpArgs) -> Result<()> {
    let raw_only = [
        ("--map", args.map.is_some()),
        ("--machine", args.machine.is_some()),
        ("--page-size", args.page_size.is_some()),
    ];
    let given = raw_only.iter().find(|(_, given)| *given);
    match given {
        Some((name, _)) if !matches!(args.from, SourceName::Raw(_)) => Err(Failure::usage(
            format!("{name} goes with --from raw:PATH only"),
        )),
        _ => Ok(()),
    }
}

fn default_format(sink: &mut dyn DumpSink) -> Format {
    match sink.access() {
        SinkAccess::Positioned(_) => Format::KdumpRawZlib,
        _ => Format::KdumpZlib,
    }
}

/// Reads no more than could be VMCOREINFO: the file may be any.
fn read_vmcoreinfo(path: &Path) -> Result<VmcoreinfoSource> {
    let limit = (MAX_SIZE + NOTE_HEADERS) as u64;
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(|e| Failure::because(format_args!("cannot read {}", path.display()), &e))?;
    Ok(VmcoreinfoSource::Bytes(bytes))
}

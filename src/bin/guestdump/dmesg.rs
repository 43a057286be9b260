//! The command `guestdump dmesg`.

use guestdump::guest::linux::{Kernel, LogRecord};
use guestdump::guest::vmcoreinfo::{Located, VmcoreinfoSource};
use guestdump::qemu::Include;
use guestdump::{Format, Progress, Workers};
use serde::Serialize;

use crate::args::DmesgArgs;
use crate::located::{self, LocatedEntry};
use crate::placed::{Placed, PlacedEntry};
use crate::report::{Failure, Result, note, print, print_json};
use crate::settings::Settings;
use crate::signals::Watch;
use crate::source::Source;
use crate::usage::RawOptions;
use crate::vmcoreinfo_arg::VmcoreinfoArg;

#[derive(Debug, Serialize)]
struct Entry {
    osrelease: String,
    vmcoreinfo: Option<LocatedEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ram: Option<PlacedEntry>,
    records: Vec<Record>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Record {
    /// The time since the kernel started; null if it is in the text, if
    /// anywhere.
    nanoseconds: Option<u64>,
    /// The writer of the record: `T` and a thread id, or `C` and a CPU.
    caller: Option<String>,
    /// The record's text, in which bytes that are not UTF-8 are replaced.
    text: String,
}

/// The log as far as it can be read, and the error that ended it.
struct LogOf {
    osrelease: String,
    vmcoreinfo: Option<Located>,
    records: Vec<LogRecord>,
    broken: Option<Failure>,
}

pub(crate) fn run(args: &DmesgArgs) -> Result<()> {
    let raw = RawOptions {
        map: args.map.is_some(),
        machine: args.machine.is_some(),
        page_size: false,
        raw_anyway: args.raw_anyway,
    };
    raw.check(&args.from, "")?;
    let progress = Progress::new();
    let vmcoreinfo = args.vmcoreinfo.as_ref().map(VmcoreinfoArg::source);
    let vmcoreinfo = vmcoreinfo.transpose()?;
    let settings = Settings {
        map: args.map.as_deref(),
        machine: args.machine,
        vmcoreinfo: vmcoreinfo.as_ref(),
        raw_anyway: args.raw_anyway,
        threads: 1,
        page_size: None,
        include: Include::default(),
        nocache: false,
        spool: &args.spool,
        progress: progress.clone(),
    };
    let mut source = Source::open(&args.from, &settings)?;
    let watch = Watch::start(progress.clone(), true, source.rescue())
        .map_err(|e| Failure::because("cannot watch for signals", &e))?;
    let result = read(&mut source, vmcoreinfo.as_ref(), &progress);
    // The guest is resumed before anything is printed.
    let resumed = source.resume().map(|_| ());
    if let Some(signal) = watch.caught() {
        return Err(signal);
    }
    let shown = result.and_then(|log| show(log, source.placed(), args));
    match (shown, resumed) {
        (Err(failure), Err(more)) => Err(failure.and(&more)),
        (shown, resumed) => shown.and(resumed),
    }
}

/// Reads the log. It ends early when `progress` is cancelled.
fn read(
    source: &mut Source,
    vmcoreinfo: Option<&VmcoreinfoSource>,
    progress: &Progress,
) -> Result<LogOf> {
    source.stop()?;
    let mut guest = source.options(Format::Elf)?.guest;
    if let Some(given) = vmcoreinfo {
        guest = guest.vmcoreinfo(given.clone());
    }
    let workers = Workers::new().progress(progress.clone());
    let failure = |e: &dyn std::error::Error| Failure::because("cannot read the kernel's log", e);
    let kernel = Kernel::find(source.memory(), &guest, &workers).map_err(|e| failure(&e))?;
    let mut records = Vec::new();
    let mut broken = None;
    let log = kernel.log().map_err(|e| failure(&e))?;
    for record in log.take_while(|_| !progress.is_cancelled()) {
        match record {
            Ok(record) => records.push(record),
            Err(e) => broken = Some(failure(&e)),
        }
    }
    Ok(LogOf {
        osrelease: kernel.vmcoreinfo().osrelease(),
        vmcoreinfo: kernel.located().cloned(),
        records,
        broken,
    })
}

fn show(log: LogOf, placed: Option<&Placed>, args: &DmesgArgs) -> Result<()> {
    if args.json {
        let records = log.records.iter().map(|record| Record {
            nanoseconds: (!record.is_formatted).then_some(record.time.as_nanos() as u64),
            caller: record.caller.map(|caller| caller.to_string()),
            text: String::from_utf8_lossy(&record.text).into_owned(),
        });
        print_json(&Entry {
            osrelease: log.osrelease,
            vmcoreinfo: log.vmcoreinfo.as_ref().map(LocatedEntry::from),
            ram: placed.map(PlacedEntry::from),
            records: records.collect(),
            error: log
                .broken
                .as_ref()
                .map(|failure| failure.message().to_owned()),
        })?;
    } else {
        if let Some(placed) = placed {
            note(&placed.line());
        }
        for line in log.vmcoreinfo.iter().flat_map(located::warnings) {
            note(&line);
        }
        let mut text = String::new();
        for record in &log.records {
            let line = if args.caller {
                record.with_caller().to_string()
            } else {
                record.to_string()
            };
            text.push_str(&line);
            text.push('\n');
        }
        print(&text)?;
    }
    log.broken.map_or(Ok(()), Err)
}

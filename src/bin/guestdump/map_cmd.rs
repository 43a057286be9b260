//! The command `guestdump map`.

use std::io;
use std::path::PathBuf;

use guestdump::process_core::RamBlock;
use guestdump::qemu::{Include, QemuGuest, RamPlace};
use guestdump::sink::{SinkAccess, Target};
use guestdump::{CpuState, Error, Machine, MemoryRange, Progress};
use serde::Serialize;

use crate::args::MapArgs;
use crate::map_size::Size;
use crate::missing;
use crate::placed::Placed;
use crate::report::{Failure, Result, note, print};
use crate::same_file;
use crate::settings::Settings;
use crate::signals::Watch;
use crate::source::{Source, SourceName};
use crate::target;
use crate::usage::RawOptions;

/// A map file, as it is written.
#[derive(Debug, Serialize)]
struct MapEntry {
    machine: &'static str,
    regions: Vec<RegionEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cpus: Vec<CpuState>,
}

#[derive(Debug, Serialize)]
struct RegionEntry {
    gpa: Size,
    size: Size,
    #[serde(skip_serializing_if = "Option::is_none")]
    hva: Option<Size>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<Size>,
}

pub(crate) fn run(args: &MapArgs) -> Result<()> {
    if !matches!(
        args.from,
        SourceName::Qmp(_) | SourceName::ProcessCore(_) | SourceName::Raw(_)
    ) {
        return Err(Failure::usage(
            "a map is of qmp:SOCKET, process-core:CORE or raw:PATH; other sources need none",
        ));
    }
    let raw = RawOptions {
        machine: args.machine.is_some(),
        raw_anyway: args.raw_anyway,
        ..RawOptions::default()
    };
    raw.check(&args.from, "")?;
    let to = args.to.as_ref().unwrap_or(&Target::Stdout);
    target::refuse_closed(to)?;
    same_file::remember_target(to);
    let progress = Progress::new();
    let settings = Settings {
        map: None,
        machine: args.machine,
        vmcoreinfo: None,
        raw_anyway: args.raw_anyway,
        threads: 0,
        page_size: None,
        include: Include::default(),
        nocache: false,
        spool: &args.spool,
        progress: progress.clone(),
    };
    let mut source = Source::open(&args.from, &settings)?;
    let watch = Watch::start(progress, true, source.rescue())
        .map_err(|e| Failure::because("cannot watch for signals", &e))?;
    let result = source.stop().and_then(|()| describe(&source));
    let resumed = source.resume().map(|_| ());
    if let Some(signal) = watch.caught() {
        return Err(signal);
    }
    let map = match (result, resumed) {
        (Err(failure), Err(more)) => return Err(failure.and(&more)),
        (result, resumed) => resumed.and(result)?,
    };
    for line in missing::lines(source.missing().unwrap_or_default()) {
        note(&line);
    }
    if let Some(placed) = source.placed() {
        note(&placed.line());
    }
    write(args, &map)
}

fn describe(source: &Source) -> Result<MapEntry> {
    match source {
        Source::Qemu(guest, name) => of_qemu(guest, name),
        Source::Raw(guest) => {
            let core = guest.blocks.as_deref().unwrap_or_default().iter();
            let placed = guest
                .placed
                .iter()
                .flat_map(|placed: &Placed| &placed.pieces);
            let file = placed.map(|piece| RegionEntry {
                offset: Some(Size(piece.offset)),
                ..region(piece.range)
            });
            Ok(MapEntry {
                machine: guest.machine.unwrap_or(Machine::X86_64).name(),
                regions: core.map(of_block).chain(file).collect(),
                cpus: Vec::new(),
            })
        }
        _ => Err(Failure::new("this source has no map")),
    }
}

fn region(range: MemoryRange) -> RegionEntry {
    RegionEntry {
        gpa: Size(range.start()),
        size: Size(range.size()),
        hva: None,
        path: None,
        offset: None,
    }
}

fn of_block(block: &RamBlock) -> RegionEntry {
    RegionEntry {
        hva: Some(Size(block.hva)),
        ..region(block.range)
    }
}

/// Memory that QEMU shares through a file with a name is in that file; other memory will be in a
/// core of QEMU's process.
fn of_qemu(guest: &QemuGuest, name: &str) -> Result<MapEntry> {
    let (machine, cpus) = guest.cpus().map_err(|e| Failure::because(name, &e))?;
    let place = |place: RamPlace| match place.file {
        Some(file) => RegionEntry {
            path: Some(file.path),
            offset: Some(Size(file.offset)),
            ..region(place.range)
        },
        None => RegionEntry {
            hva: Some(Size(place.hva)),
            ..region(place.range)
        },
    };
    Ok(MapEntry {
        machine: machine.name(),
        regions: guest.places().into_iter().map(place).collect(),
        cpus,
    })
}

fn write(args: &MapArgs, map: &MapEntry) -> Result<()> {
    let mut text = serde_json::to_string_pretty(map)
        .map_err(|e| Failure::because("a map cannot hold this guest", &e))?;
    text.push('\n');
    let Some(to) = args.to.as_ref().filter(|to| !target::is_stdout(to)) else {
        return print(&text);
    };
    let mut sink = target::open(to, args.file.into())?;
    write_all(sink.access(), text.as_bytes())
        .map_err(|e| Failure::because(format_args!("cannot write {}", target::Name(to)), &e))?;
    sink.finish()
        .map_err(|e| target::failure(to, Error::Finish(e)))?;
    note(&format!(
        "{}: {} regions, {} CPUs",
        target::Name(to),
        map.regions.len(),
        map.cpus.len()
    ));
    Ok(())
}

fn write_all(access: SinkAccess<'_>, mut bytes: &[u8]) -> io::Result<()> {
    let sink = match access {
        SinkAccess::Stream(stream) => return stream.write_all(bytes),
        SinkAccess::Positioned(sink) => sink,
    };
    let len = bytes.len() as u64;
    while !bytes.is_empty() {
        match sink.write_at(len - bytes.len() as u64, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    sink.set_len(len)
}

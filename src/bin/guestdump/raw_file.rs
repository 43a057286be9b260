//! A file with guest RAM and no map: what its memory itself says about where it lies.

use std::path::Path;
use std::sync::Arc;

use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::memory::MIN_PAGE_SIZE;
use guestdump::ram_layout;
use guestdump::read::{FileKind, ReadAt, Region, RegionMemory};
use guestdump::{Machine, Workers};

use crate::input_file::open_input;
use crate::map::RawGuest;
use crate::paths::Shown;
use crate::placed::{By, Placed};
use crate::report::{Failure, Result};
use crate::settings::Settings;

/// Opens the file `path` with guest RAM.
pub(crate) fn open(path: &Path, settings: &Settings<'_>) -> Result<RawGuest> {
    let ram = open_input(path, settings.nocache)?;
    let failed =
        |e: &dyn std::error::Error| Failure::because(format_args!("cannot use {}", Shown(path)), e);
    let len = ReadAt::len(&ram).map_err(|e| failed(&e))?;
    let doubt = if settings.raw_anyway {
        None
    } else {
        refuse_others(path, &ram, len)?
    };
    let placed = place(path, &ram, len, doubt, settings)?;
    let regions = placed.pieces.iter().map(|piece| Region {
        range: piece.range,
        bytes: Arc::clone(&ram),
        offset: piece.offset,
    });
    let memory = RegionMemory::new(regions.collect()).map_err(|e| failed(&e))?;
    Ok(RawGuest {
        memory: Box::new(memory),
        machine: Some(placed.machine),
        page_size: None,
        cpus: Vec::new(),
        vmcoreinfo: None,
        missing: None,
        blocks: None,
        placed: Some(placed),
    })
}

/// Refuses what is not RAM: dumps that are read as vmcore:PATH, and lengths that are not whole pages.
/// For any other known kind of file, returns a refusal that holds unless there is a kernel in the
/// file: the first page of RAM may be in a guest's page cache, or look like such a file by chance.
fn refuse_others(path: &Path, ram: &Arc<dyn ReadAt>, len: u64) -> Result<Option<Failure>> {
    let name = Shown(path);
    let anyway = "--raw-anyway takes it for RAM";
    let kind = FileKind::of(ram)
        .map_err(|e| Failure::because(format_args!("cannot read {name}"), &e))?
        .filter(|kind| !kind.may_be_memory());
    let refusal = kind.map(|kind| {
        let advice = kind.advice();
        Failure::new(format!(
            "{name} is not guest RAM: it is {kind}; {advice}; {anyway}"
        ))
    });
    let is_dump = kind.is_some_and(FileKind::is_readable_dump);
    let is_whole = len != 0 && len.is_multiple_of(MIN_PAGE_SIZE);
    match refusal {
        Some(refusal) if is_dump || !is_whole => Err(refusal),
        None if !is_whole => Err(Failure::new(format!(
            "{name} is not guest RAM: its {len} bytes are not whole pages of 4096 bytes, \
             so it is cut short or has a header; {anyway}, without a part of a page at its end"
        ))),
        doubt => Ok(doubt),
    }
}

/// Finds where the RAM lies, or assumes the machine's usual place unless there is a `doubt`.
fn place(
    path: &Path,
    ram: &Arc<dyn ReadAt>,
    len: u64,
    doubt: Option<Failure>,
    settings: &Settings<'_>,
) -> Result<Placed> {
    let given = match settings.vmcoreinfo {
        Some(VmcoreinfoSource::Bytes(bytes)) => Some(&bytes[..]),
        _ => None,
    };
    let workers = Workers::new()
        .threads(settings.threads)
        .progress(settings.progress.clone());
    let found = ram_layout::find(ram, settings.machine, given, &workers);
    match (found, doubt) {
        (Ok(Some(layout)), _) => Ok(Placed {
            machine: layout.machine,
            by: if layout.is_proven {
                By::Kernel
            } else {
                By::Usual
            },
            pieces: layout.pieces,
        }),
        (Ok(None), Some(doubt)) => Err(doubt),
        (Ok(None), None) => assume(path, len, settings.machine),
        (Err(error), doubt) => {
            let failure = Failure::because(unknown_place(path), &error);
            Err(match doubt {
                Some(doubt) => doubt.and(&failure),
                None => failure,
            })
        }
    }
}

/// Assumes that the RAM lies where it usually does, if there is one such place.
fn assume(path: &Path, len: u64, machine: Option<Machine>) -> Result<Placed> {
    let size = len - len % MIN_PAGE_SIZE;
    let assumed = machine.unwrap_or(Machine::X86_64);
    let Some(pieces) = ram_layout::usual(assumed, size) else {
        return Err(Failure::new(format!(
            "{}: no Linux kernel in the file tells, and {size} bytes of RAM of {assumed} may lie in several places",
            unknown_place(path)
        )));
    };
    if pieces.is_empty() {
        return Err(Failure::new(format!(
            "cannot use {}: it has less than a page",
            Shown(path)
        )));
    }
    Ok(Placed {
        machine: assumed,
        pieces,
        by: match machine {
            Some(_) => By::AssumedPlace,
            None => By::Assumed,
        },
    })
}

fn unknown_place(path: &Path) -> String {
    format!(
        "cannot tell where the RAM in {} lies; give a map (--map, see docs/map.md)",
        Shown(path)
    )
}

//! A file with guest RAM and no map: what its memory itself says about where it lies.

use std::path::Path;
use std::sync::Arc;

use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::memory::MIN_PAGE_SIZE;
use guestdump::ram_layout::{self, RamLayout, RamPiece};
use guestdump::read::{FileKind, ReadAt, Region, RegionMemory};
use guestdump::{Machine, MemoryRange, Workers};

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

/// Kinds of files that a Linux guest has in its page cache, or whose first bytes are common. The
/// first page of RAM may look like one of them, so the kernel in the file decides.
const IN_PAGE_CACHE: &[FileKind] = &[
    FileKind::Text,
    FileKind::ElfProgram,
    FileKind::Pe,
    FileKind::Disk,
    FileKind::FileSystem,
    FileKind::Tar,
    FileKind::Cpio,
];

/// Refuses what is not RAM: known dumps and containers, and lengths that are not whole pages.
/// Returns a refusal that holds unless there is a kernel in the file.
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
    let may_be_ram = kind.is_some_and(|kind| IN_PAGE_CACHE.contains(&kind));
    let doubt = match refusal {
        Some(refusal) if !may_be_ram => return Err(refusal),
        doubt => doubt,
    };
    if len == 0 || !len.is_multiple_of(MIN_PAGE_SIZE) {
        return Err(Failure::new(format!(
            "{name} is not guest RAM: its {len} bytes are not whole pages of 4096 bytes, \
             so it is cut short or has a header; {anyway}, without a part of a page at its end"
        )));
    }
    Ok(doubt)
}

/// Finds where the RAM lies, or assumes that it begins at address 0 unless there is a `doubt`.
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
    if let (Some(doubt), Ok(None) | Err(_)) = (doubt, &found) {
        return Err(doubt);
    }
    let found = found.map_err(|e| {
        let what = format_args!(
            "cannot tell where the RAM in {} lies; give a map (--map, see docs/map.md)",
            Shown(path)
        );
        Failure::because(what, &e)
    })?;
    if let Some(RamLayout {
        machine,
        pieces,
        is_proven,
        ..
    }) = found
    {
        let by = if is_proven { By::Kernel } else { By::Usual };
        return Ok(Placed {
            machine,
            pieces,
            by,
        });
    }
    let range = MemoryRange::new(0, len - len % MIN_PAGE_SIZE)
        .map_err(|e| Failure::because(format_args!("cannot use {}", Shown(path)), &e))?;
    Ok(Placed {
        machine: settings.machine.unwrap_or(Machine::X86_64),
        pieces: vec![RamPiece { range, offset: 0 }],
        by: match settings.machine {
            Some(_) => By::AssumedPlace,
            None => By::Assumed,
        },
    })
}

//! The contents of a map file, as JSON. No file is opened until they are valid. See docs/map.md.

use std::path::PathBuf;

use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::memory::{MemoryRange, validate_ranges};
use guestdump::{CpuState, Machine, error_chain};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::map_size::Size;

/// Maximum length of a map file in bytes: a million regions, or the registers of a hundred thousand
/// CPUs.
pub(crate) const MAX_SIZE: usize = 64 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MapFile {
    machine: Option<String>,
    page_size: Option<Size>,
    regions: Vec<Region>,
    /// The registers of each CPU. They stay JSON until the machine is known, which may be named
    /// later in the file or on the command line.
    #[serde(default)]
    cpus: Vec<Box<RawValue>>,
    vmcoreinfo: Option<Note>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Region {
    gpa: Size,
    size: Size,
    /// The region's offset in a file.
    pub(crate) offset: Option<Size>,
    pub(crate) path: Option<PathBuf>,
    /// The region's address in the process of a core file.
    pub(crate) hva: Option<Size>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    gpa: Size,
    size: Size,
}

/// The facts in a map file.
#[derive(Debug)]
pub(crate) struct Map {
    pub(crate) machine: Option<Machine>,
    /// The page size in bytes.
    pub(crate) page_size: Option<u64>,
    /// The regions in ascending order.
    pub(crate) regions: Vec<(MemoryRange, Region)>,
    pub(crate) cpus: Vec<CpuState>,
    pub(crate) vmcoreinfo: Option<VmcoreinfoSource>,
}

/// Parses a map file. A given `machine` overrides the map's. The error is a message for people.
pub(crate) fn parse(bytes: &[u8], machine: Option<Machine>) -> Result<Map, String> {
    let file: MapFile = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    let named = file.machine.as_deref().map(str::parse).transpose();
    let machine = machine.or(named.map_err(|e| error_chain(&e))?);
    let cpus = cpus(machine.unwrap_or(Machine::X86_64), &file.cpus)?;
    let range = |region: &Region| MemoryRange::new(region.gpa.0, region.size.0);
    let ranges = file
        .regions
        .iter()
        .map(range)
        .collect::<Result<Vec<_>, _>>();
    let ranges = ranges.map_err(|e| error_chain(&e))?;
    validate_ranges(&ranges).map_err(|e| error_chain(&e))?;
    Ok(Map {
        machine,
        page_size: file.page_size.map(|n| n.0),
        regions: ranges.into_iter().zip(file.regions).collect(),
        cpus,
        vmcoreinfo: file.vmcoreinfo.map(|note| VmcoreinfoSource::NoteAt {
            gpa: note.gpa.0,
            size: note.size.0,
        }),
    })
}

/// Parses the CPUs' registers. The error says which CPU is wrong.
fn cpus(machine: Machine, entries: &[Box<RawValue>]) -> Result<Vec<CpuState>, String> {
    let one = |cpu: usize, entry: &RawValue| {
        CpuState::deserialize_for(machine, entry)
            .map_err(|e| format!("CPU {cpu} of a {machine} guest: {e}"))
    };
    let entries = entries.iter().enumerate();
    entries.map(|(cpu, entry)| one(cpu, entry)).collect()
}

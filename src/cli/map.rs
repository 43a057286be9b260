//! The map file: what lies where in files with guest RAM, and the CPUs. See
//! docs/map.md.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use guestdump::memory::{FileMemory, FileRegion, MemoryRange};
use guestdump::number::Number;
use guestdump::vmcoreinfo::VmcoreinfoSource;
use guestdump::{Machine, Registers};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::report::{Failure, Result, chain};
use super::source::open_file;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MapFile {
    machine: Option<String>,
    page_size: Option<Number>,
    regions: Vec<Region>,
    /// Registers of CPUs of the machine, which may be named further down or
    /// on the command line.
    #[serde(default)]
    cpus: Vec<Box<RawValue>>,
    vmcoreinfo: Option<Note>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Region {
    gpa: Number,
    size: Number,
    offset: Number,
    path: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    gpa: Number,
    size: Number,
}

/// A guest that lies in files.
#[derive(Debug)]
pub(crate) struct RawGuest {
    pub(crate) memory: FileMemory,
    pub(crate) machine: Option<Machine>,
    /// In bytes.
    pub(crate) page_size: Option<u64>,
    pub(crate) cpus: Vec<Registers>,
    pub(crate) vmcoreinfo: Option<VmcoreinfoSource>,
}

/// One range of RAM from address 0 on, which is the whole file `ram`.
pub(crate) fn flat(ram: &Path) -> Result<RawGuest> {
    let memory = FileMemory::flat(open_file(ram)?)
        .map_err(|e| Failure::because(format_args!("cannot use {}", ram.display()), &e))?;
    Ok(RawGuest {
        memory,
        machine: None,
        page_size: None,
        cpus: Vec::new(),
        vmcoreinfo: None,
    })
}

/// The guest that the map file `map` describes; regions without a path lie in
/// `ram`. A `machine` counts more than the map's.
pub(crate) fn load(map: &Path, ram: &Path, machine: Option<Machine>) -> Result<RawGuest> {
    let bytes = std::fs::read(map)
        .map_err(|e| Failure::because(format_args!("cannot read {}", map.display()), &e))?;
    let bad = |why: String| Failure::new(format!("{}: {why}", map.display()));
    let file: MapFile = serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;

    let named = file.machine.as_deref().map(str::parse).transpose();
    let machine = machine.or(named.map_err(|e| bad(chain(&e)))?);
    let cpus = cpus(machine.unwrap_or_default(), &file.cpus).map_err(bad)?;
    let folder = map.parent().unwrap_or(Path::new(""));
    let mut files = Files::default();
    let mut regions = Vec::new();
    for region in &file.regions {
        let path = region.path.as_ref().map(|path| folder.join(path));
        regions.push(FileRegion {
            range: MemoryRange::new(region.gpa.0, region.size.0).map_err(|e| bad(chain(&e)))?,
            file: files.open(path.as_deref().unwrap_or(ram))?,
            offset: region.offset.0,
        });
    }
    Ok(RawGuest {
        memory: FileMemory::new(regions).map_err(|e| bad(chain(&e)))?,
        machine,
        page_size: file.page_size.map(|n| n.0),
        cpus,
        vmcoreinfo: file.vmcoreinfo.map(|note| VmcoreinfoSource::NoteAt {
            gpa: note.gpa.0,
            size: note.size.0,
        }),
    })
}

/// The error says which CPU it is.
fn cpus(
    machine: Machine,
    entries: &[Box<RawValue>],
) -> std::result::Result<Vec<Registers>, String> {
    let one = |cpu: usize, entry: &RawValue| {
        Registers::deserialize_for(machine, entry)
            .map_err(|e| format!("CPU {cpu} of a {machine} guest: {e}"))
    };
    let entries = entries.iter().enumerate();
    entries.map(|(cpu, entry)| one(cpu, entry)).collect()
}

/// Files that are open already: regions may share one.
#[derive(Default)]
struct Files(HashMap<PathBuf, Arc<File>>);

impl Files {
    fn open(&mut self, path: &Path) -> Result<Arc<File>> {
        if let Some(file) = self.0.get(path) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(open_file(path)?);
        self.0.insert(path.to_owned(), Arc::clone(&file));
        Ok(file)
    }
}

//! A guest in files, whose places a map file describes.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::memory::MemoryRange;
use guestdump::process_core::{Extracted, Missing, ProcessCore, ProcessCoreError, RamBlock};
use guestdump::read::{ReadAt, Region as InputRegion};
use guestdump::{CpuState, GuestInfo, GuestMemory, Machine};

use crate::input_file::{open_input, read_at_most};
use crate::map_file::{self, Region};
use crate::paths::Shown;
use crate::placed::Placed;
use crate::report::{Failure, Result, chain};
use crate::settings::Settings;

/// A guest that lies in files.
pub(crate) struct RawGuest {
    pub(crate) memory: Box<dyn GuestMemory>,
    pub(crate) machine: Option<Machine>,
    /// The page size in bytes.
    pub(crate) page_size: Option<u64>,
    pub(crate) cpus: Vec<CpuState>,
    pub(crate) vmcoreinfo: Option<VmcoreinfoSource>,
    /// The guest memory that a process's core file lacks; `None` for other files.
    pub(crate) missing: Option<Vec<Missing>>,
    /// The RAM that was found in a core file without a map; `None` for others.
    pub(crate) blocks: Option<Vec<RamBlock>>,
    /// Where the RAM of a file without a map was taken to lie; `None` for others.
    pub(crate) placed: Option<Placed>,
}

impl RawGuest {
    /// Describes the guest by the map's facts. It is an x86_64 guest if the map does not name a
    /// machine.
    pub(crate) fn info(&self) -> GuestInfo {
        let machine = self.machine.unwrap_or(Machine::X86_64);
        let mut info = GuestInfo::new(machine).cpus(self.cpus.iter().cloned());
        if let Some(bytes) = self.page_size {
            info = info.page_size(bytes);
        }
        if let Some(source) = &self.vmcoreinfo {
            info = info.vmcoreinfo(source.clone());
        }
        info
    }
}

/// A process's core file.
#[derive(Debug)]
pub(crate) struct CoreFile {
    core: ProcessCore,
    /// The input from which a dump reads the guest's memory.
    memory: Arc<dyn ReadAt>,
}

impl CoreFile {
    /// Opens the core `file`. Its headers and a search use the page cache, because they read some
    /// pages often; a dump reads `memory`.
    pub(crate) fn open(file: File, memory: Arc<dyn ReadAt>) -> Result<Self, ProcessCoreError> {
        let core = ProcessCore::open(file)?;
        Ok(Self { core, memory })
    }

    fn extract(&self, blocks: &[RamBlock]) -> Result<Extracted, ProcessCoreError> {
        let mut found = self.core.extract(blocks)?;
        for region in &mut found.regions {
            region.bytes = Arc::clone(&self.memory);
        }
        Ok(found)
    }
}

/// The place of a map's regions that do not name a file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Backing<'a> {
    /// A file with guest RAM.
    Ram(&'a Path),
    /// A process's core file.
    Core(&'a CoreFile),
}

/// Finds the guest in QEMU's core file without a map.
pub(crate) fn find(core: &CoreFile, settings: &Settings<'_>) -> Result<RawGuest, ProcessCoreError> {
    let ram = core
        .core
        .find_qemu_ram(settings.machine, &settings.progress)?;
    let found = core.extract(&ram.blocks)?;
    Ok(RawGuest {
        missing: Some(found.missing.clone()),
        memory: Box::new(found.into_memory()?),
        machine: Some(ram.machine),
        page_size: None,
        cpus: Vec::new(),
        vmcoreinfo: None,
        blocks: Some(ram.blocks),
        placed: None,
    })
}

/// Loads the guest that the map file `map` describes. The machine in `settings`
/// overrides the map's.
pub(crate) fn load(map: &Path, backing: Backing<'_>, settings: &Settings<'_>) -> Result<RawGuest> {
    let bytes = read_at_most(map, map_file::MAX_SIZE)?;
    let bad = |why: String| Failure::new(format!("{}: {why}", Shown(map)));
    if bytes.len() > map_file::MAX_SIZE {
        return Err(bad(format!(
            "it is no map: it has more than {} bytes",
            map_file::MAX_SIZE
        )));
    }
    let file = map_file::parse(&bytes, settings.machine).map_err(bad)?;
    let folder = map.parent().unwrap_or(Path::new(""));
    let mut files = Files::default();
    let mut found = Extracted::default();
    for (range, region) in file.regions {
        match place(range, &region, backing, folder).map_err(bad)? {
            Place::File { path, offset } => found.regions.push(InputRegion {
                range,
                bytes: files.open(&path, settings.nocache)?,
                offset,
            }),
            Place::Core { core, hva } => {
                let part = core.extract(&[RamBlock { range, hva }]);
                let part = part.map_err(|e| bad(chain(&e)))?;
                found.regions.extend(part.regions);
                found.missing.extend(part.missing);
            }
        }
    }
    let missing = matches!(backing, Backing::Core(_)).then(|| found.missing.clone());
    Ok(RawGuest {
        memory: Box::new(found.into_memory().map_err(|e| bad(chain(&e)))?),
        machine: file.machine,
        page_size: file.page_size,
        cpus: file.cpus,
        vmcoreinfo: file.vmcoreinfo,
        missing,
        blocks: None,
        placed: None,
    })
}

/// The place of a region.
enum Place<'a> {
    File { path: PathBuf, offset: u64 },
    Core { core: &'a CoreFile, hva: u64 },
}

/// Returns the place of a region. A relative path begins at the map's `folder`.
fn place<'a>(
    range: MemoryRange,
    region: &Region,
    backing: Backing<'a>,
    folder: &Path,
) -> Result<Place<'a>, String> {
    let gpa = range.start();
    let bad = |why: &str| Err(format!("the region at gpa {gpa:#x} {why}"));
    match (backing, region.hva, region.offset, &region.path) {
        (Backing::Ram(_), Some(_), ..) => {
            bad("has `hva`, which goes with --from process-core:CORE only")
        }
        (Backing::Ram(_), None, None, _) => bad("has no `offset`"),
        (Backing::Ram(ram), None, Some(offset), path) => Ok(Place::File {
            path: path.as_ref().map_or(ram.into(), |path| folder.join(path)),
            offset: offset.0,
        }),
        (Backing::Core(core), Some(hva), None, None) => Ok(Place::Core { core, hva: hva.0 }),
        (Backing::Core(_), None, Some(offset), Some(path)) => Ok(Place::File {
            path: folder.join(path),
            offset: offset.0,
        }),
        (Backing::Core(_), ..) => bad(
            "needs either `hva`, or `path` and `offset` if its bytes are in another file than the core",
        ),
    }
}

/// Open files, which several regions may share.
#[derive(Default)]
struct Files(HashMap<PathBuf, Arc<dyn ReadAt>>);

impl Files {
    fn open(&mut self, path: &Path, nocache: bool) -> Result<Arc<dyn ReadAt>> {
        if let Some(file) = self.0.get(path) {
            return Ok(Arc::clone(file));
        }
        let file = open_input(path, nocache)?;
        self.0.insert(path.to_owned(), Arc::clone(&file));
        Ok(file)
    }
}

//! Finding VMCOREINFO: given bytes, a note at a known address, QEMU's fw_cfg
//! entry, or a bounded scan of guest RAM.
//!
//! Sources: the fw_cfg entry: QEMU `docs/specs/vmcoreinfo.rst`. What lies in
//! RAM: Linux `kernel/vmcore_info.c` fills a page-aligned page with the text
//! (`vmcoreinfo_data`) and a page-aligned ELF note with a copy of it
//! (`vmcoreinfo_note`); on a crash it appends `CRASHTIME=` to both.
#![forbid(unsafe_code)]

use std::io;

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::arch::Machine;
use crate::elf::note::{self, Note, Notes};
use crate::fault::Fault;
use crate::guest::reader::Guest;
use crate::guest::vmcoreinfo::finds::Finds;
use crate::guest::vmcoreinfo::scan::{PageStart, for_each_page_start};
use crate::vmcoreinfo::{MAX_SIZE, NotVmcoreinfo, Vmcoreinfo};
use crate::workers::Progress;
use crate::workers::Threads;

/// Where a dump takes VMCOREINFO from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum VmcoreinfoSource {
    /// A scan of guest RAM: the first bytes of every populated page are
    /// read. Finding nothing is not an error.
    #[default]
    Scan,
    /// No VMCOREINFO. Few tools can use such a dump.
    None,
    /// These bytes: the text, or an ELF note with it.
    Bytes(Vec<u8>),
    /// The ELF note of `size` bytes at the guest-physical address `gpa`.
    NoteAt {
        /// Guest-physical address of the note's header.
        gpa: u64,
        /// Length of header, name and text, in bytes.
        size: u64,
    },
    /// The note that the 16 bytes of QEMU's fw_cfg entry `etc/vmcoreinfo`
    /// point to.
    FwCfg([u8; 16]),
    /// The same, and a scan if that gives nothing usable.
    FwCfgOrScan([u8; 16]),
}

/// Where VMCOREINFO was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// The caller gave the bytes.
    Given,
    /// The caller gave the guest-physical address of the note.
    Note {
        /// Guest-physical address of the note.
        gpa: u64,
    },
    /// The guest told the fw_cfg device.
    FwCfg {
        /// Guest-physical address of the note.
        gpa: u64,
    },
    /// The scan of guest RAM.
    Scan {
        /// Guest-physical address of the note or the text.
        gpa: u64,
    },
}

impl Origin {
    /// One word for it: `given`, `note`, `fw_cfg` or `scan`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::Note { .. } => "note",
            Self::FwCfg { .. } => "fw_cfg",
            Self::Scan { .. } => "scan",
        }
    }

    /// The guest-physical address, unless the caller gave the bytes.
    #[must_use]
    pub const fn gpa(&self) -> Option<u64> {
        match *self {
            Self::Given => None,
            Self::Note { gpa } | Self::FwCfg { gpa } | Self::Scan { gpa } => Some(gpa),
        }
    }
}

/// VMCOREINFO and how it was found.
#[derive(Debug, Clone)]
pub struct Located {
    /// The chosen one.
    pub info: Vmcoreinfo,
    /// Where it was found.
    pub origin: Origin,
    /// All that a scan found, the chosen one first. There may be several: a
    /// crashed kernel and its capture kernel, or one from before a reboot.
    pub candidates: Vec<Candidate>,
}

/// A VMCOREINFO that a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Guest-physical address of the note or the text.
    pub gpa: u64,
    /// Its `OSRELEASE`.
    pub osrelease: String,
    /// Its `CRASHTIME`: the kernel has crashed. In a guest that runs its
    /// capture kernel this tells the main kernel from that.
    pub crash_time: Option<u64>,
    /// Whether the kernel's `init_uts_ns` lies where VMCOREINFO says and has
    /// the same release: the kernel is really in memory.
    pub verified: bool,
}

/// Why VMCOREINFO cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmcoreinfoError {
    /// The bytes are something else.
    #[error(transparent)]
    NotVmcoreinfo(#[from] NotVmcoreinfo),
    /// The guest has not filled the fw_cfg entry in.
    #[error(
        "the guest has not told the vmcoreinfo device where its note is; is qemu_fw_cfg loaded in the guest?"
    )]
    FwCfgEmpty,
    /// The note is larger than any kernel writes.
    #[error(
        "the note of {size} bytes at guest-physical address {gpa:#x} is larger than {MAX_SIZE} bytes"
    )]
    TooLarge {
        /// Its guest-physical address.
        gpa: u64,
        /// Its claimed size in bytes.
        size: u64,
    },
    /// Guest memory cannot be read there.
    #[error("cannot read the note of {size} bytes at guest-physical address {gpa:#x}")]
    Unreadable {
        /// Its guest-physical address.
        gpa: u64,
        /// Its size in bytes.
        size: u64,
        /// What the memory reported.
        source: io::Error,
    },
    /// Guest memory cannot be scanned.
    #[error("cannot scan guest memory at guest-physical address {gpa:#x} for VMCOREINFO")]
    Scan {
        /// The guest-physical address.
        gpa: u64,
        /// What the memory reported.
        source: io::Error,
    },
    /// The search failed or was cancelled.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// `struct FWCfgVMCoreInfo`, little-endian for every guest.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct FwCfgEntry {
    /// Formats that the host supports.
    _host_format: U16,
    /// Format that the guest supplies.
    guest_format: U16,
    /// Size of the note in bytes.
    size: U32,
    /// Guest-physical address of the note.
    paddr: U64,
}

const _: () = assert!(size_of::<FwCfgEntry>() == 2 + 2 + 4 + 8);

/// `VMCOREINFO_FORMAT_ELF`: the one format there is.
const FORMAT_ELF: u16 = 1;

/// How the text begins.
const TEXT: &[u8] = b"OSRELEASE=";

/// How many notes a scan for one that is not VMCOREINFO looks at closely. A
/// guest can plant as many as it has pages.
const MAX_CANDIDATES: usize = 64;

pub(crate) fn locate(
    guest: Guest<'_>,
    source: &VmcoreinfoSource,
    threads: Threads<'_>,
    progress: &Progress,
) -> Result<Option<Located>, VmcoreinfoError> {
    let found = |info, origin| {
        Ok(Some(Located {
            info,
            origin,
            candidates: Vec::new(),
        }))
    };
    match source {
        VmcoreinfoSource::None => Ok(None),
        VmcoreinfoSource::Scan => scan(guest, threads, progress),
        VmcoreinfoSource::Bytes(bytes) => found(from_bytes(bytes, guest.machine)?, Origin::Given),
        &VmcoreinfoSource::NoteAt { gpa, size } => {
            found(read_note(guest, gpa, size)?, Origin::Note { gpa })
        }
        VmcoreinfoSource::FwCfg(entry) => {
            let (info, gpa) = from_fw_cfg(guest, entry)?;
            found(info, Origin::FwCfg { gpa })
        }
        VmcoreinfoSource::FwCfgOrScan(entry) => match from_fw_cfg(guest, entry) {
            Ok((info, gpa)) => found(info, Origin::FwCfg { gpa }),
            Err(_) => scan(guest, threads, progress),
        },
    }
}

fn from_bytes(bytes: &[u8], machine: Machine) -> Result<Vmcoreinfo, VmcoreinfoError> {
    Vmcoreinfo::parse(bytes)
        .or_else(|error| {
            Notes::new(bytes, machine.encoding().order)
                .flatten()
                .find(|(_, n)| n.is(note::VMCOREINFO, 0))
                .ok_or(error)
                .and_then(|(_, n)| Vmcoreinfo::parse(n.desc))
        })
        .map_err(VmcoreinfoError::from)
}

fn from_fw_cfg(guest: Guest<'_>, entry: &[u8; 16]) -> Result<(Vmcoreinfo, u64), VmcoreinfoError> {
    let (gpa, size) = fw_cfg_place(entry)?;
    let info = read_note(guest, gpa, size)?;
    Ok((info, gpa))
}

/// Guest-physical address and length in bytes of the guest's note.
fn fw_cfg_place(entry: &[u8; 16]) -> Result<(u64, u64), VmcoreinfoError> {
    let entry = FwCfgEntry::ref_from_bytes(entry).map_err(|_| VmcoreinfoError::FwCfgEmpty)?;
    if entry.guest_format.get() != FORMAT_ELF || entry.size.get() == 0 {
        return Err(VmcoreinfoError::FwCfgEmpty);
    }
    Ok((entry.paddr.get(), entry.size.get().into()))
}

pub(crate) fn read_note(
    guest: Guest<'_>,
    gpa: u64,
    size: u64,
) -> Result<Vmcoreinfo, VmcoreinfoError> {
    from_bytes(&read_bytes(guest, gpa, size)?, guest.machine)
}

/// The bytes of the note that `source` leads to, whatever it holds: that of a
/// Windows guest has no VMCOREINFO. `None` where there is none. A scan takes
/// the first note at the start of a page that is `wanted`.
pub(crate) fn read_note_bytes(
    guest: Guest<'_>,
    source: &VmcoreinfoSource,
    wanted: &dyn Fn(&[u8]) -> bool,
    threads: Threads<'_>,
    progress: &Progress,
) -> Result<Option<Vec<u8>>, VmcoreinfoError> {
    let from_fw_cfg = |entry| {
        let (gpa, size) = fw_cfg_place(entry)?;
        read_bytes(guest, gpa, size)
    };
    let bytes = match source {
        VmcoreinfoSource::None => return Ok(None),
        VmcoreinfoSource::Scan => return scan_notes(guest, wanted, threads, progress),
        VmcoreinfoSource::Bytes(bytes) => bytes.clone(),
        VmcoreinfoSource::NoteAt { gpa, size } => read_bytes(guest, *gpa, *size)?,
        VmcoreinfoSource::FwCfg(entry) => from_fw_cfg(entry)?,
        VmcoreinfoSource::FwCfgOrScan(entry) => match from_fw_cfg(entry) {
            Ok(bytes) => bytes,
            Err(_) => return scan_notes(guest, wanted, threads, progress),
        },
    };
    Ok(Some(bytes))
}

fn scan_notes(
    guest: Guest<'_>,
    wanted: &dyn Fn(&[u8]) -> bool,
    threads: Threads<'_>,
    progress: &Progress,
) -> Result<Option<Vec<u8>>, VmcoreinfoError> {
    let mut found = None;
    let mut looked_at = 0;
    let claim = |start: &PageStart| is_claim(start, guest.machine);
    for_each_page_start(
        guest,
        threads,
        progress,
        MAX_CANDIDATES,
        &claim,
        &mut |gpa, start| {
            let Some(size) = claimed_size(start, guest.machine) else {
                return true;
            };
            looked_at += 1;
            let bytes = read_bytes(guest, gpa, size).ok();
            found = bytes.filter(|bytes| wanted(bytes));
            found.is_none() && looked_at < MAX_CANDIDATES
        },
    )?;
    Ok(found)
}

fn read_bytes(guest: Guest<'_>, gpa: u64, size: u64) -> Result<Vec<u8>, VmcoreinfoError> {
    if size > MAX_SIZE as u64 || gpa.checked_add(size).is_none() {
        return Err(VmcoreinfoError::TooLarge { gpa, size });
    }
    let mut bytes = vec![0; size as usize];
    guest
        .read(gpa, &mut bytes)
        .map_err(|source| VmcoreinfoError::Unreadable { gpa, size, source })?;
    Ok(bytes)
}

fn scan(
    guest: Guest<'_>,
    threads: Threads<'_>,
    progress: &Progress,
) -> Result<Option<Located>, VmcoreinfoError> {
    let finds = find_all(guest, threads, progress)?;
    let candidates: Vec<_> = finds.iter().map(|(_, c)| c.clone()).collect();
    Ok(finds.into_iter().next().map(|(info, c)| Located {
        info,
        origin: Origin::Scan { gpa: c.gpa },
        candidates,
    }))
}

/// Looks at the first bytes of every populated page; the best find comes
/// first.
pub(crate) fn find_all(
    guest: Guest<'_>,
    threads: Threads<'_>,
    progress: &Progress,
) -> Result<Vec<(Vmcoreinfo, Candidate)>, VmcoreinfoError> {
    let mut finds = Finds::new(guest);
    let claim = |start: &PageStart| is_claim(start, guest.machine);
    for_each_page_start(
        guest,
        threads,
        progress,
        usize::MAX,
        &claim,
        &mut |gpa, start| match claimed_size(start, guest.machine) {
            Some(size) => finds.offer(gpa, size),
            None => true,
        },
    )?;
    Ok(finds.ranked())
}

/// What begins like a VMCOREINFO note or its text; see [`claimed_size`].
fn is_claim(start: &PageStart, machine: Machine) -> bool {
    /// Behind the lengths and the type.
    const NAME_AT: usize = 12;
    // Most pages are told apart by this, which is cheap.
    let likely = start.starts_with(TEXT) || start[NAME_AT..].starts_with(note::VMCOREINFO);
    likely && claimed_size(start, machine).is_some()
}

/// How many bytes to read of what begins like a VMCOREINFO note, or, at
/// most, of what begins like its text.
fn claimed_size(start: &PageStart, machine: Machine) -> Option<u64> {
    /// Kernels write one page, of 64 KiB at most.
    const MAX_TEXT: u64 = 64 << 10;
    if start.starts_with(TEXT) {
        return Some(MAX_TEXT);
    }
    let empty = Note {
        name: note::VMCOREINFO,
        kind: 0,
        desc: &[],
    };
    let mut expected = Vec::with_capacity(start.len());
    empty.encode(machine.encoding().order, &mut expected).ok()?;
    // All but the length of the descriptor.
    if start[..4] != expected[..4] || start[8..] != expected[8..] {
        return None;
    }
    let len = start[4..8].try_into().ok()?;
    let len = match machine.encoding().order {
        crate::abi::ByteOrder::Little => u32::from_le_bytes(len),
        crate::abi::ByteOrder::Big => u32::from_be_bytes(len),
    };
    (u64::from(len) <= MAX_TEXT).then_some(expected.len() as u64 + u64::from(len))
}

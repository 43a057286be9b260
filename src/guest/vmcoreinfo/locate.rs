//! Finding VMCOREINFO: given bytes, a note at a known address, QEMU's fw_cfg
//! entry, or a bounded scan of guest RAM.
//!
//! Source of what lies in RAM: Linux `kernel/vmcore_info.c`. It fills a
//! page-aligned page with the text (`vmcoreinfo_data`) and a page-aligned ELF
//! note with a copy of it (`vmcoreinfo_note`). On a crash it appends
//! `CRASHTIME=` to both.
#![forbid(unsafe_code)]

use super::error::VmcoreinfoError;
use super::finds::Finds;
use super::located::{Candidate, Located, Origin, Rejected};
use super::note::{
    claimed_size, from_bytes, from_fw_cfg, fw_cfg_place, is_claim, read_at, read_bytes,
    read_claimed, read_note,
};
use super::scan::{PageStart, for_each_page_start};
use super::source::VmcoreinfoSource;
use super::verify::is_in_memory;
use crate::guest::reader::{Guest, utsname_place};
use crate::vmcoreinfo::Vmcoreinfo;
use crate::workers::{Progress, Threads};

/// How many notes a scan for one that is not VMCOREINFO looks at closely. A
/// guest can plant as many as it has pages.
const MAX_CANDIDATES: usize = 64;

/// Finds VMCOREINFO by `source`, and the kernel that it describes. `phys_base` is what another source
/// than VMCOREINFO says about the kernel's place.
pub(crate) fn locate(
    guest: Guest<'_>,
    source: &VmcoreinfoSource,
    phys_base: Option<u64>,
    threads: Threads<'_>,
    progress: &Progress,
) -> Result<Option<Located>, VmcoreinfoError> {
    let (info, origin) = match source {
        VmcoreinfoSource::None => return Ok(None),
        VmcoreinfoSource::Scan => return scan(guest, threads, progress),
        VmcoreinfoSource::Bytes(bytes) => (from_bytes(bytes, guest.machine)?, Origin::Given),
        VmcoreinfoSource::Dump(bytes) => (from_bytes(bytes, guest.machine)?, Origin::Dump),
        VmcoreinfoSource::Qemu(bytes) => (from_bytes(bytes, guest.machine)?, Origin::Qemu),
        &VmcoreinfoSource::NoteAt { gpa, size } => {
            (read_note(guest, gpa, size)?, Origin::Note { gpa })
        }
        &VmcoreinfoSource::At(gpa) => (read_at(guest, gpa)?, Origin::Note { gpa }),
        VmcoreinfoSource::FwCfg(entry) => {
            let (info, gpa) = from_fw_cfg(guest, entry)?;
            (info, Origin::FwCfg { gpa })
        }
        VmcoreinfoSource::FwCfgOrScan(entry) => match from_fw_cfg(guest, entry) {
            Ok((info, gpa)) => (info, Origin::FwCfg { gpa }),
            Err(_) => return scan(guest, threads, progress),
        },
    };
    let info = best_place(guest, info, phys_base);
    verify_or_scan(guest, info, origin, threads, progress).map(Some)
}

/// Returns `info` with `phys_base`, unless its kernel is in memory without that.
fn best_place(guest: Guest<'_>, info: Vmcoreinfo, phys_base: Option<u64>) -> Vmcoreinfo {
    if phys_base.is_none() || !guest.machine.is_only_linked(&info) {
        return info;
    }
    let placed = info.clone().with_phys_base(phys_base);
    if !is_in_memory(guest, &placed) && is_in_memory(guest, &info) {
        return info;
    }
    placed
}

/// Keeps `info` if its kernel is in memory. Otherwise a kernel that the scan finds and that is in
/// memory takes its place. If nothing can be verified, `info` stays. So it does if it does not say
/// where its kernel is.
fn verify_or_scan(
    guest: Guest<'_>,
    info: Vmcoreinfo,
    origin: Origin,
    threads: Threads<'_>,
    progress: &Progress,
) -> Result<Located, VmcoreinfoError> {
    let given = |info, verified, candidates| Located {
        info,
        origin,
        verified,
        rejected: None,
        candidates,
    };
    if is_in_memory(guest, &info) {
        return Ok(given(info, true, Vec::new()));
    }
    // Guest memory cannot contradict a text that does not say where its kernel is.
    if utsname_place(guest, &info).is_none() || guest.machine.is_only_linked(&info) {
        return Ok(given(info, false, Vec::new()));
    }
    let found = match scan(guest, threads, progress) {
        Ok(found) => found,
        // The caller's VMCOREINFO needs no memory that can be scanned.
        Err(VmcoreinfoError::Scan { .. }) => None,
        Err(error) => return Err(error),
    };
    Ok(match found {
        Some(found) if found.verified => Located {
            rejected: Some(Rejected { info, origin }),
            ..found
        },
        Some(found) => given(info, false, found.candidates),
        None => given(info, false, Vec::new()),
    })
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
        VmcoreinfoSource::Bytes(bytes)
        | VmcoreinfoSource::Dump(bytes)
        | VmcoreinfoSource::Qemu(bytes) => bytes.clone(),
        VmcoreinfoSource::NoteAt { gpa, size } => read_bytes(guest, *gpa, *size)?,
        // The note of a Windows guest has no text to tell its size by.
        &VmcoreinfoSource::At(gpa) => read_claimed(guest, gpa)?,
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
        verified: c.verified,
        rejected: None,
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

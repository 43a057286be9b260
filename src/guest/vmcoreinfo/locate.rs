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
use super::located::{Candidate, Located, Origin};
use super::note::{
    claimed_size, from_bytes, from_fw_cfg, fw_cfg_place, is_claim, read_bytes, read_note,
};
use super::scan::{PageStart, for_each_page_start};
use super::source::VmcoreinfoSource;
use crate::guest::reader::Guest;
use crate::vmcoreinfo::Vmcoreinfo;
use crate::workers::{Progress, Threads};

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

//! The headers of a kdump-compressed dump, read from the input.
#![forbid(unsafe_code)]

use crate::abi::Utsname;
use crate::arch::Machine;
use crate::elf::Notes;
use crate::kdump::{DumpHeaders, HEADER_VERSION, HeaderError, MainHeader, SIGNATURE, SubHeader};
use crate::read::{Input, VmcoreError};

/// Decodes both headers; `None` if this is no kdump.
pub(super) fn read_headers(input: &Input) -> Result<Option<DumpHeaders>, VmcoreError> {
    let mut head = [0; 512];
    let n = input.len().min(head.len() as u64) as usize;
    input.read_at(0, &mut head[..n])?;
    if !head[..n].starts_with(&SIGNATURE) {
        return Ok(None);
    }
    let (encoding, main) = MainHeader::find(&head[..n]).ok_or_else(|| no_header(&head))?;
    let block = u64::from(main.block_size);
    let mut bytes = [0; SubHeader::MAX_SIZE];
    let n = (bytes.len() as u64).min(input.len().saturating_sub(block)) as usize;
    input.read_at(block, &mut bytes[..n])?;
    let (abi, sub) = SubHeader::find(encoding, &main, &bytes)
        .ok_or_else(|| VmcoreError::damaged(block, HeaderError::CutShort.to_string()))?;
    Ok(Some(DumpHeaders { abi, main, sub }))
}

/// Tells a dump of a later version, whose fields are not known, from a damaged header.
fn no_header(head: &[u8; 512]) -> VmcoreError {
    let [.., a, b, c, d] = *head.first_chunk::<12>().unwrap_or(&[0; 12]);
    let bytes = [a, b, c, d];
    let version = u32::from_le_bytes(bytes).min(u32::from_be_bytes(bytes));
    if version > HEADER_VERSION && version < 256 {
        return VmcoreError::Unsupported(format!(
            "it is a kdump of header version {version}; versions 1 to {HEADER_VERSION} are read"
        ));
    }
    VmcoreError::damaged(0, HeaderError::Implausible.to_string())
}

/// Returns the bytes in a page, which are those in a block.
pub(super) fn page_size(headers: &DumpHeaders) -> u64 {
    headers.main.block_size.into()
}

/// Returns the architecture: the one that the header names, unless the CPUs' notes are those of one
/// with narrower words. QEMU names its own program, which is qemu-system-x86_64 for a 32-bit guest too.
///
/// Source: QEMU `dump/dump.c`, `create_header32` and `create_header64`.
pub(super) fn machine(headers: &DumpHeaders, notes: Notes<'_>) -> Option<Machine> {
    let uts = &headers.main.utsname;
    let encoding = headers.abi.encoding();
    let name = Utsname::text(&uts.machine);
    let by_notes = Machine::from_notes(encoding, notes);
    if let Some(named) = named(uts) {
        let fits = |by_notes: Machine| by_notes.encoding() == encoding;
        if named.encoding() == encoding && by_notes.is_none_or(fits) {
            return Some(named);
        }
        return by_notes;
    }
    if name.is_empty() || name.eq_ignore_ascii_case("unknown") {
        return by_notes;
    }
    // makedumpfile before 1.6.9 copies the names of Linux 5.11 and later from 4 bytes too far, so
    // "Linux" is "x". The first page frame of 32-bit Arm depends on the lost name.
    let sysname = Utsname::text(&uts.sysname);
    let lost = !sysname.is_empty() && sysname != "Linux";
    by_notes.filter(|machine| lost && !machine.frames_from_phys_base())
}

/// Returns the architecture with the header's name in any case: QEMU writes "S390X".
fn named(uts: &Utsname) -> Option<Machine> {
    let name = Utsname::text(&uts.machine).to_ascii_lowercase();
    name.parse().ok()
}

/// Returns the page frame of the bitmaps' first bit. QEMU counts from 0 for every
/// architecture, and does not state which architecture it is.
pub(super) fn first_frame(headers: &DumpHeaders) -> u64 {
    if named(&headers.main.utsname).is_some_and(Machine::frames_from_phys_base) {
        headers.sub.phys_base / page_size(headers)
    } else {
        0
    }
}

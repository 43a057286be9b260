//! Reading VMCOREINFO's ELF note, by address or by QEMU's fw_cfg entry, and
//! telling by its first bytes whether a page has one.
//!
//! Source of the fw_cfg entry: QEMU `docs/specs/vmcoreinfo.rst`.
#![forbid(unsafe_code)]

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::error::VmcoreinfoError;
use super::scan::PageStart;
use crate::arch::Machine;
use crate::elf::note::{self, Note, Notes};
use crate::guest::reader::Guest;
use crate::memory::MIN_PAGE_SIZE;
use crate::vmcoreinfo::{MAX_SIZE, NotVmcoreinfo, Vmcoreinfo};

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

/// The first key of the text.
const TEXT: &[u8] = b"OSRELEASE=";

/// VMCOREINFO from its text, or from an ELF note with it.
pub(crate) fn from_bytes(bytes: &[u8], machine: Machine) -> Result<Vmcoreinfo, VmcoreinfoError> {
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

/// VMCOREINFO of the note that the fw_cfg entry points to, and the note's
/// guest-physical address.
pub(super) fn from_fw_cfg(
    guest: Guest<'_>,
    entry: &[u8; 16],
) -> Result<(Vmcoreinfo, u64), VmcoreinfoError> {
    let (gpa, size) = fw_cfg_place(entry)?;
    let info = read_note(guest, gpa, size)?;
    Ok((info, gpa))
}

/// The guest-physical address and the length in bytes of the guest's note.
pub(super) fn fw_cfg_place(entry: &[u8; 16]) -> Result<(u64, u64), VmcoreinfoError> {
    let entry = FwCfgEntry::ref_from_bytes(entry).map_err(|_| VmcoreinfoError::FwCfgEmpty)?;
    if entry.guest_format.get() != FORMAT_ELF || entry.size.get() == 0 {
        return Err(VmcoreinfoError::FwCfgEmpty);
    }
    Ok((entry.paddr.get(), entry.size.get().into()))
}

/// VMCOREINFO from the `size` bytes at the guest-physical address `gpa`.
pub(super) fn read_note(
    guest: Guest<'_>,
    gpa: u64,
    size: u64,
) -> Result<Vmcoreinfo, VmcoreinfoError> {
    from_bytes(&read_bytes(guest, gpa, size)?, guest.machine)
}

/// VMCOREINFO from the `size` bytes at the guest-physical address `gpa`, or from fewer where RAM
/// ends.
pub(super) fn read_up_to(
    guest: Guest<'_>,
    gpa: u64,
    mut size: u64,
) -> Result<Vmcoreinfo, VmcoreinfoError> {
    loop {
        match read_note(guest, gpa, size) {
            Err(VmcoreinfoError::Unreadable { .. }) if size > MIN_PAGE_SIZE => size /= 2,
            result => return result,
        }
    }
}

/// VMCOREINFO at the guest-physical address `gpa`: an ELF note, whose header tells its size, or the
/// text alone.
pub(super) fn read_at(guest: Guest<'_>, gpa: u64) -> Result<Vmcoreinfo, VmcoreinfoError> {
    let size = size_at(guest, gpa)?;
    read_up_to(guest, gpa, size)
}

/// The bytes of the ELF note at the guest-physical address `gpa`, whose header tells its size.
pub(super) fn read_claimed(guest: Guest<'_>, gpa: u64) -> Result<Vec<u8>, VmcoreinfoError> {
    let size = size_at(guest, gpa)?;
    read_bytes(guest, gpa, size)
}

fn size_at(guest: Guest<'_>, gpa: u64) -> Result<u64, VmcoreinfoError> {
    let mut start = PageStart::default();
    let size = start.len() as u64;
    guest
        .read(gpa, &mut start)
        .map_err(|source| VmcoreinfoError::Unreadable { gpa, size, source })?;
    Ok(claimed_size(&start, guest.machine).ok_or(NotVmcoreinfo)?)
}

/// The `size` bytes at the guest-physical address `gpa`, if no note is larger.
pub(super) fn read_bytes(
    guest: Guest<'_>,
    gpa: u64,
    size: u64,
) -> Result<Vec<u8>, VmcoreinfoError> {
    if size > MAX_SIZE as u64 || gpa.checked_add(size).is_none() {
        return Err(VmcoreinfoError::TooLarge { gpa, size });
    }
    let mut bytes = vec![0; size as usize];
    guest
        .read(gpa, &mut bytes)
        .map_err(|source| VmcoreinfoError::Unreadable { gpa, size, source })?;
    Ok(bytes)
}

/// Whether a page begins like a VMCOREINFO note or its text; see
/// [`claimed_size`].
pub(super) fn is_claim(start: &PageStart, machine: Machine) -> bool {
    /// The name follows the lengths and the type.
    const NAME_AT: usize = 12;
    // This cheap test excludes most pages.
    let likely = start.starts_with(TEXT) || start[NAME_AT..].starts_with(note::VMCOREINFO);
    likely && claimed_size(start, machine).is_some()
}

/// How many bytes to read of a page that begins like a VMCOREINFO note; at most
/// how many, if it begins like the text. `None` if it begins like neither.
pub(super) fn claimed_size(start: &PageStart, machine: Machine) -> Option<u64> {
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
    // The length of the descriptor is not compared.
    if start[..4] != expected[..4] || start[8..] != expected[8..] {
        return None;
    }
    let len: u32 = machine.encoding().order.read(&start[4..])?;
    (u64::from(len) <= MAX_TEXT).then_some(expected.len() as u64 + u64::from(len))
}

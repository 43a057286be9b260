//! Finds a dump's header and checks its fields.
#![forbid(unsafe_code)]

use crate::abi::Class;
use crate::arch::{CpuState, Machine};
use crate::elf::note::Notes;
use crate::fault::Fault;
use crate::guest::reader::Guest;
use crate::guest::vmcoreinfo::VmcoreinfoSource;
use crate::guest::vmcoreinfo::read_note_bytes;
use crate::guest::windows::HeaderSource;
use crate::guest::windows::WinDmpError;
use crate::guest::windows::WindowsError;
use crate::guest::windows::discover;
use crate::guest::windows::discover::Findings;
use crate::guest::windows::runs;
use crate::memory::is_ram;
use crate::windmp::{Header, PAGE_SIZE};
use crate::workers::Workers;

/// The most processors that a header may state. It is far more than any Windows
/// supports: Windows Server 2022 supports 2048.
const MAX_PROCESSORS: u32 = 1 << 16;

/// Where and how to look for a header.
#[derive(Clone, Copy)]
pub(crate) struct HeaderSearch<'a> {
    pub(crate) source: &'a HeaderSource,
    /// Leads to the note of the guest's driver.
    pub(crate) vmcoreinfo: &'a VmcoreinfoSource,
    /// Whether a kernel with broken lists is accepted.
    pub(crate) damaged: bool,
    pub(crate) workers: &'a Workers,
}

/// The checked header of a guest, and the other findings in its memory.
pub(crate) struct Found {
    pub(crate) header: Header,
    pub(crate) origin: HeaderOrigin,
    pub(crate) findings: Findings,
}

/// The origin of a dump's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderOrigin {
    /// The note of the guest's driver.
    Note,
    /// The caller.
    Given,
    /// The guest's kernel.
    Guest,
}

impl HeaderOrigin {
    /// Returns one word that names the origin.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Given => "given",
            Self::Guest => "guest",
        }
    }
}

/// Finds the header of `guest` where `search` says. `cpus` are the registers of
/// the guest's CPUs.
pub(crate) fn find_header(
    guest: Guest<'_>,
    search: HeaderSearch<'_>,
    cpus: &[CpuState],
) -> Result<Found, WindowsError> {
    let mut found = match search.source {
        HeaderSource::Any => from_any(guest, search, cpus)?,
        HeaderSource::Note => from_note(guest, search)?,
        HeaderSource::Given(bytes) => Found {
            header: Header::decode(bytes).map_err(WinDmpError::from)?,
            origin: HeaderOrigin::Given,
            findings: Findings::default(),
        },
        HeaderSource::Guest => from_guest(guest, search, cpus)?,
    };
    check(&found.header, guest)?;
    if found.origin != HeaderOrigin::Guest {
        found.findings = discover::complete(guest, &mut found.header, cpus)?;
    } else if let (Some(damage), false) = (found.findings.damage.first(), search.damaged) {
        return Err(WinDmpError::Damaged(Box::new(damage.clone())).into());
    }
    Ok(found)
}

/// Takes the header from the note, or from the guest if there is no note.
fn from_any(
    guest: Guest<'_>,
    search: HeaderSearch<'_>,
    cpus: &[CpuState],
) -> Result<Found, WindowsError> {
    let no_note = match from_note(guest, search) {
        Ok(found) => return Ok(found),
        Err(WindowsError::Fault(Fault::Cancelled)) => return Err(Fault::Cancelled.into()),
        // Without a driver there is no note, and the guest's error says what is lacking.
        Err(WindowsError::WinDmp(WinDmpError::NoHeader)) => {
            return from_guest(guest, search, cpus);
        }
        Err(error) => error,
    };
    from_guest(guest, search, cpus).map_err(|error| match error {
        // The guest gave no starting point, so the note's error says more.
        WindowsError::WinDmp(
            WinDmpError::NoCpuRegisters
            | WinDmpError::NoPageTables
            | WinDmpError::WrongMachine { .. },
        ) => no_note,
        other => other,
    })
}

fn from_guest(
    guest: Guest<'_>,
    search: HeaderSearch<'_>,
    cpus: &[CpuState],
) -> Result<Found, WindowsError> {
    let (header, findings) = discover::discover(guest, cpus, search.workers.handle())?;
    let origin = HeaderOrigin::Guest;
    Ok(Found {
        header,
        origin,
        findings,
    })
}

fn from_note(guest: Guest<'_>, search: HeaderSearch<'_>) -> Result<Found, WindowsError> {
    let sound = |note: &[u8]| {
        let header = decode_note(note, guest.machine);
        header.is_ok_and(|header| check(&header, guest).is_ok())
    };
    let note = read_note_bytes(
        guest,
        search.vmcoreinfo,
        &sound,
        search.workers.as_threads(),
        search.workers.handle(),
    )?;
    Ok(Found {
        header: decode_note(&note.ok_or(WinDmpError::NoHeader)?, guest.machine)?,
        origin: HeaderOrigin::Note,
        findings: Findings::default(),
    })
}

/// Decodes the header in an ELF note. QEMU takes everything after the first 24
/// bytes for the header; this function uses the lengths in the note.
fn decode_note(bytes: &[u8], machine: Machine) -> Result<Header, WinDmpError> {
    let sizes = [Class::Bits32, Class::Bits64].map(Header::size);
    let is_size = |desc: &[u8]| sizes.contains(&desc.len());
    let desc = Notes::new(bytes, machine.encoding().order)
        .flatten()
        .map(|(_, note)| note.desc)
        .find(|desc| is_size(desc))
        .ok_or(WinDmpError::NotANote { len: bytes.len() })?;
    Ok(Header::decode(desc)?)
}

/// Checks every field that a dump or its readers need first.
fn check(header: &Header, guest: Guest<'_>) -> Result<(), WinDmpError> {
    let (found, expected) = (header.machine_image_type(), header.expected_machine());
    if found != expected {
        return Err(WinDmpError::MachineImageType { found, expected });
    }
    // A 32-bit Windows may well run on a 64-bit virtual CPU.
    match (guest.machine, header.bits()) {
        (Machine::X86_64, _) | (Machine::I386, 32) => {}
        (machine, bits) => return Err(WinDmpError::WrongMachine { machine, bits }),
    }
    if let Some(pae @ 2..) = header.pae_enabled() {
        return Err(WinDmpError::PaeEnabled(pae));
    }
    let count = header.number_processors();
    if !(1..=MAX_PROCESSORS).contains(&count) {
        let max = MAX_PROCESSORS;
        return Err(WinDmpError::NumberProcessors { count, max });
    }
    let table = page_of_cr3(header);
    if !is_ram(guest.ranges, table, PAGE_SIZE) {
        return Err(WinDmpError::DirectoryTableBase { gpa: table });
    }
    check_runs(header, guest)
}

/// Returns the page to which `DirectoryTableBase`, a value of CR3, points. Its
/// low bits are flags, or with PAE the table's place in the page, in steps of
/// 32 bytes. Its highest bits are not part of a physical address.
fn page_of_cr3(header: &Header) -> u64 {
    const ADDRESS: u64 = (1 << 52) - 1;
    let address = header.directory_table_base() & ADDRESS;
    address - address % PAGE_SIZE
}

/// Checks the guest's own list of its memory, if the header contains one. The
/// dump has all RAM, so the list must be part of it. Any other list belongs to
/// another guest's header.
fn check_runs(header: &Header, guest: Guest<'_>) -> Result<(), WinDmpError> {
    if !header.has_runs() {
        return Ok(());
    }
    let (count, max) = (header.number_of_runs(), header.max_runs());
    if count as usize > max {
        return Err(WinDmpError::RunCount { count, max });
    }
    runs::check_runs(header.runs(), guest.ranges)
}

//! The synthetic Windows guests, of 64 bits and 32, with other bytes here and
//! there: what the search for their kernel makes of it.

use std::io;
use std::sync::OnceLock;

use arbitrary::{Result, Unstructured};
use guestdump::demo::{PageKind, WindowsGuest, WindowsKind};
use guestdump::guest::windows::HeaderSource;
use guestdump::memory::MemoryRange;
use guestdump::windmp::DumpKind;
use guestdump::{
    CpuState, DumpOptions, Error, Fault, GuestInfo, GuestMemory, Machine, WinDmpOptions, dump,
};
use testkit::{FaultySink, PAGE};

use super::allocator::bounded;

const SIZE: u64 = 16 << 20;

/// A guest, read once: it is made anew in each page.
struct Guest {
    ranges: Vec<MemoryRange>,
    bytes: Vec<Vec<u8>>,
    /// Guest-physical addresses of the pages that are not filler: page tables,
    /// the kernel's image, its structures.
    kernel: Vec<u64>,
    /// Virtual addresses of what a search reads.
    places: Vec<u64>,
    guest: WindowsGuest,
}

impl Guest {
    fn new(guest: WindowsGuest) -> Self {
        let ranges = guest.ranges();
        let read = |range: &MemoryRange| {
            let mut bytes = vec![0; range.size() as usize];
            guest.read(range.start(), &mut bytes).unwrap();
            bytes
        };
        let pages = ranges
            .iter()
            .flat_map(|r| (r.start()..r.end()).step_by(PAGE as usize));
        let is_kernel = |gpa: &u64| guest.page_kind(*gpa) == Some(PageKind::Kernel);
        let mut places = vec![
            guest.kernel_base(),
            guest.kernel_base() + 0x3c,
            guest.kdbg(),
            guest.processor_block(),
            guest.bugcheck_data(),
            guest.modules(),
            guest.processes(),
            guest.memory_block(),
        ];
        for cpu in 0..2 {
            places.extend([
                guest.prcb(cpu),
                guest.context_pointer(cpu),
                guest.context(cpu),
            ]);
        }
        Self {
            bytes: ranges.iter().map(read).collect(),
            kernel: pages.filter(is_kernel).collect(),
            places,
            ranges,
            guest,
        }
    }

    /// Crashed guests, one that was crashed with KDBG encoded, live ones.
    fn all() -> &'static [Self; 6] {
        static ALL: OnceLock<[Guest; 6]> = OnceLock::new();
        let crashed = |kind| WindowsGuest::of_kind(kind, SIZE).unwrap();
        ALL.get_or_init(|| {
            [
                crashed(WindowsKind::X86_64),
                crashed(WindowsKind::X86_64).encoded(true),
                crashed(WindowsKind::X86_64).live(),
                crashed(WindowsKind::I386),
                crashed(WindowsKind::I386NoPae),
                crashed(WindowsKind::I386).live(),
            ]
            .map(Self::new)
        })
    }

    /// Registers, and the machine that has them: one of 64 bits can run
    /// Windows of 32.
    fn cpus(&self, wide: bool) -> (Machine, Vec<CpuState>) {
        if wide {
            let cpus = self.guest.cpus().into_iter().map(CpuState::from);
            (Machine::X86_64, cpus.collect())
        } else {
            (self.guest.kind().machine(), self.guest.registers())
        }
    }
}

/// Other bytes at guest-physical addresses; the later ones count.
struct Altered<'a> {
    guest: &'a Guest,
    patches: Vec<(u64, Vec<u8>)>,
}

impl GuestMemory for Altered<'_> {
    fn ranges(&self) -> Vec<MemoryRange> {
        self.guest.ranges.clone()
    }

    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        let len = buf.len() as u64;
        let index = self.guest.ranges.iter().position(|r| r.contains(gpa, len));
        let index = index.ok_or(io::ErrorKind::InvalidInput)?;
        let at = (gpa - self.guest.ranges[index].start()) as usize;
        buf.copy_from_slice(&self.guest.bytes[index][at..at + buf.len()]);
        for (start, bytes) in &self.patches {
            for (byte, at) in bytes.iter().zip(*start..) {
                if let Some(to) = at.checked_sub(gpa).filter(|at| *at < len) {
                    buf[to as usize] = *byte;
                }
            }
        }
        Ok(())
    }
}

pub fn windows_guest(input: &[u8]) {
    let _ = parse(&mut Unstructured::new(input));
}

fn parse(u: &mut Unstructured<'_>) -> Result<()> {
    let guest = &Guest::all()[u.int_in_range(0..=5)?];
    let kind = if u.arbitrary()? {
        DumpKind::Full
    } else {
        DumpKind::Bitmap
    };
    let header = match u.int_in_range(0..=3)? {
        0 => HeaderSource::Any,
        1 => HeaderSource::Note,
        _ => HeaderSource::Guest,
    };
    let (machine, mut cpus) = guest.cpus(u.arbitrary()?);
    let damaged = u.arbitrary()?;
    if u.ratio(1, 4)? {
        for registers in &mut cpus {
            alter(u, registers)?;
        }
    }
    let mut patches = Vec::new();
    for _ in 0..u.int_in_range(0..=24)? {
        patches.push(patch(u, guest)?);
    }
    let memory = Altered { guest, patches };
    let format = WinDmpOptions::new(kind).header(header).damaged(damaged);
    let options = DumpOptions::new(GuestInfo::new(machine).cpus(cpus), format);
    // Nothing of the guest is kept but its image's directories and lists.
    bounded(40 << 20, || {
        match dump(&memory, &mut FaultySink::full_stream(), &options) {
            Ok(_) => panic!("the sink takes nothing"),
            Err(Error::Failed(Fault::Write { .. })) => {}
            Err(error) => assert!(error.is_refusal(), "{error}"),
        }
    });
    Ok(())
}

/// Where, and a word or some bytes.
fn patch(u: &mut Unstructured<'_>, guest: &Guest) -> Result<(u64, Vec<u8>)> {
    let gpa = if u.arbitrary()? {
        u.choose(&guest.kernel)? + u.int_in_range(0..=PAGE - 1)?
    } else {
        let place = u.choose(&guest.places)? + u64::from(u.arbitrary::<u16>()?);
        guest.guest.translate(place).unwrap_or_default()
    };
    let word = match u.int_in_range(0..=4)? {
        // A page table's entry, of a page or a table that may be above it.
        0 => u.choose(&guest.kernel)? | 0x63,
        1 => *u.choose(&guest.places)?,
        2 => u.choose(&guest.places)? + u64::from(u.arbitrary::<u16>()?),
        3 => u.arbitrary::<u64>()? >> u.int_in_range(0..=56)?,
        _ => {
            let len = u.int_in_range(1..=16)?;
            return Ok((gpa, u.bytes(len)?.to_vec()));
        }
    };
    Ok((gpa, word.to_le_bytes().to_vec()))
}

fn alter(u: &mut Unstructured<'_>, registers: &mut CpuState) -> Result<()> {
    let which = u.int_in_range(0..=4)?;
    match registers {
        CpuState::X86_64(r) => match which {
            0 => r.cr3 = u.arbitrary()?,
            1 => r.cr4 = u.arbitrary()?,
            2 => r.idt.base = u.arbitrary()?,
            3 => r.kernel_gs_base = u.arbitrary()?,
            _ => {}
        },
        CpuState::I386(r) => match which {
            0 => r.cr3 = u.arbitrary()?,
            1 => r.cr4 = u.arbitrary()?,
            2 => r.idt.base = u.arbitrary()?,
            3 => r.fs.base = u.arbitrary()?,
            _ => {}
        },
        _ => {}
    }
    Ok(())
}

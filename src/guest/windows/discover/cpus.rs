//! The kernel's CPUs: how many there are, and where it keeps the context of
//! each.
#![forbid(unsafe_code)]

use crate::guest::windows::ContextPlace;
use crate::guest::windows::discover::format::Kdbg;
use crate::guest::windows::discover::memory::VirtualMemory;
use crate::guest::windows::discover::width::Width;

/// Size of Windows 7's KDBG.
const WINDOWS_7_KDBG: u32 = 0x340;

/// A virtual CPU whose registers are not in the guest's memory in the dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SkippedCpu {
    /// Index in [`GuestInfo::cpus`](crate::GuestInfo::cpus).
    pub cpu: usize,
    /// Why.
    pub why: SkipReason,
}

/// Why there is no place for the registers of a virtual CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SkipReason {
    /// Windows does not use it.
    #[error("Windows has {processors} processors")]
    NotInUse {
        /// How many Windows uses.
        processors: u32,
    },
    /// The pointer to its context cannot be read.
    #[error("its KPRCB at virtual address {prcb:#x} cannot be read")]
    Prcb {
        /// Guest-virtual address.
        prcb: u64,
    },
    /// Its context is not in memory.
    #[error("its CONTEXT at virtual address {context:#x} is not in memory")]
    Context {
        /// Guest-virtual address.
        context: u64,
    },
    /// Its context lies over another one's, or over KDBG.
    #[error("its CONTEXT at virtual address {context:#x} lies over another one")]
    Overlap {
        /// Guest-virtual address.
        context: u64,
    },
    /// The kernel's KDBG cannot be read, or has no place of contexts.
    #[error("KDBG does not tell where it is")]
    Kdbg,
}

/// Guest-virtual addresses of the `KPRCB`s: `KiProcessorBlock`, up to the
/// first that is none.
pub(crate) fn prcbs(memory: &VirtualMemory<'_>, kdbg: &Kdbg) -> Vec<u64> {
    let block = kdbg.ki_processor_block.get();
    let width = memory.width();
    let is_prcb_of = |prcb: u64, index: usize| {
        let offset = kdbg.offset_prcb_number.get();
        let number = Some(offset).filter(|offset| *offset != 0);
        let number = number.and_then(|offset| prcb.checked_add(offset.into()));
        let number = number.and_then(|at| memory.read_u32(at));
        // A byte before Windows 7; a 32-bit kernel has no more CPUs.
        let is_byte = width == Width::Bits32 || kdbg.size.get() < WINDOWS_7_KDBG;
        number.is_none_or(|number| {
            let number = if is_byte { number & 0xff } else { number };
            number as usize == index
        })
    };
    // Behind the last CPU another variable may lie. A KPRCB that cannot be
    // read counts.
    let prcb = |index: usize| {
        let at = block.checked_add((index * width.word()) as u64)?;
        let prcb = memory.read_word(at)?;
        (memory.is_kernel_address(prcb) && is_prcb_of(prcb, index)).then_some(prcb)
    };
    (0..width.max_cpus()).map_while(prcb).collect()
}

/// Where the kernel keeps the contexts of the first `cpus` virtual CPUs. The
/// pieces of guest-physical memory in `taken` are not theirs.
pub(crate) fn contexts(
    memory: &VirtualMemory<'_>,
    kdbg: &Kdbg,
    prcbs: &[u64],
    cpus: usize,
    mut taken: Vec<(u64, usize)>,
) -> (Vec<ContextPlace>, Vec<SkippedCpu>) {
    let mut places = Vec::new();
    let mut skipped = Vec::new();
    for cpu in 0..cpus {
        let place = match prcbs.get(cpu) {
            Some(prcb) => context(memory, kdbg, *prcb, &taken),
            None => Err(SkipReason::NotInUse {
                processors: prcbs.len() as u32,
            }),
        };
        match place {
            Ok(pieces) => {
                taken.extend(&pieces);
                places.push(ContextPlace { cpu, pieces });
            }
            Err(why) => skipped.push(SkippedCpu { cpu, why }),
        }
    }
    (places, skipped)
}

/// The pieces of the context to which the `KPRCB` at `prcb` points, or that it
/// has in it before Windows 7.
fn context(
    memory: &VirtualMemory<'_>,
    kdbg: &Kdbg,
    prcb: u64,
    taken: &[(u64, usize)],
) -> Result<Vec<(u64, usize)>, SkipReason> {
    let pointer = kdbg.offset_prcb_context.get();
    let inside = kdbg.offset_prcb_proc_state_context.get();
    let context = match (pointer, inside) {
        (0, 0) => return Err(SkipReason::Kdbg),
        (0, inside) => prcb.checked_add(inside.into()),
        (pointer, _) => prcb
            .checked_add(pointer.into())
            .and_then(|at| memory.read_word(at)),
    };
    let context = context.ok_or(SkipReason::Prcb { prcb })?;
    let pieces = Some(context).filter(|context| memory.is_kernel_address(*context));
    let pieces = pieces.and_then(|context| memory.pieces(context, memory.width().context()));
    let pieces = pieces.ok_or(SkipReason::Context { context })?;
    let overlap =
        |a: &(u64, usize), b: &(u64, usize)| a.0 < b.0 + b.1 as u64 && b.0 < a.0 + a.1 as u64;
    // A context's own pieces may lie over one another, too.
    let all = |i: usize| taken.iter().chain(&pieces[..i]);
    if (0..pieces.len()).any(|i| all(i).any(|other| overlap(&pieces[i], other))) {
        return Err(SkipReason::Overlap { context });
    }
    Ok(pieces)
}

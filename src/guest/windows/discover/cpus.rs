//! The kernel's CPUs: their number, and where the kernel keeps the context of
//! each.
#![forbid(unsafe_code)]

use crate::guest::windows::ContextPlace;
use crate::guest::windows::discover::format::Kdbg;
use crate::guest::windows::discover::memory::VirtualMemory;
use crate::guest::windows::discover::width::Width;

/// Size of Windows 7's KDBG in bytes.
const WINDOWS_7_KDBG: u32 = 0x340;

/// A virtual CPU whose registers are not in the guest's memory in the dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SkippedCpu {
    /// Index of the virtual CPU in [`GuestInfo::cpus`](crate::GuestInfo::cpus).
    pub cpu: usize,
    /// The reason.
    pub why: SkipReason,
}

/// Why there is no place for the registers of a virtual CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SkipReason {
    /// Windows does not use the CPU.
    #[error("Windows has {processors} processors")]
    NotInUse {
        /// Number of processors that Windows uses.
        processors: u32,
    },
    /// The pointer to the CPU's context cannot be read.
    #[error("its KPRCB at virtual address {prcb:#x} cannot be read")]
    Prcb {
        /// Guest-virtual address of the CPU's `KPRCB`.
        prcb: u64,
    },
    /// The CPU's context is not in memory.
    #[error("its CONTEXT at virtual address {context:#x} is not in memory")]
    Context {
        /// Guest-virtual address of the context.
        context: u64,
    },
    /// The CPU's context overlaps another one, or KDBG.
    #[error("its CONTEXT at virtual address {context:#x} lies over another one")]
    Overlap {
        /// Guest-virtual address of the context.
        context: u64,
    },
    /// The kernel's KDBG cannot be read, or does not contain the contexts'
    /// places.
    #[error("KDBG does not tell where it is")]
    Kdbg,
}

/// Returns the guest-virtual addresses of the `KPRCB`s in `KiProcessorBlock`,
/// up to the first entry that is not one.
pub(crate) fn prcbs(memory: &VirtualMemory<'_>, kdbg: &Kdbg) -> Vec<u64> {
    let block = kdbg.ki_processor_block.get();
    let width = memory.width();
    let is_prcb_of = |prcb: u64, index: usize| {
        let offset = kdbg.offset_prcb_number.get();
        let number = Some(offset).filter(|offset| *offset != 0);
        let number = number.and_then(|offset| prcb.checked_add(offset.into()));
        let number = number.and_then(|at| memory.read_u32(at));
        // `Number` is one byte before Windows 7. One byte suffices for a 32-bit
        // kernel, which has at most 32 CPUs.
        let is_byte = width == Width::Bits32 || kdbg.size.get() < WINDOWS_7_KDBG;
        number.is_none_or(|number| {
            let number = if is_byte { number & 0xff } else { number };
            number as usize == index
        })
    };
    // Another variable may follow the last CPU's entry. An entry counts as a
    // `KPRCB` if its number cannot be read.
    let prcb = |index: usize| {
        let at = block.checked_add((index * width.word()) as u64)?;
        let prcb = memory.read_word(at)?;
        (memory.is_kernel_address(prcb) && is_prcb_of(prcb, index)).then_some(prcb)
    };
    (0..width.max_cpus()).map_while(prcb).collect()
}

/// Finds where the kernel keeps the contexts of the first `cpus` virtual CPUs.
/// A context may not overlap the guest-physical pieces in `taken`.
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

/// Returns the pieces of the context that belongs to the `KPRCB` at `prcb`. The
/// `KPRCB` points to the context, or contains it before Windows 7.
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
    // The pieces of one context may overlap each other, too.
    let all = |i: usize| taken.iter().chain(&pieces[..i]);
    if (0..pieces.len()).any(|i| all(i).any(|other| overlap(&pieces[i], other))) {
        return Err(SkipReason::Overlap { context });
    }
    Ok(pieces)
}

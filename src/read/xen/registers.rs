//! Registers of the vCPUs in a dump-core.
#![forbid(unsafe_code)]

use zerocopy::FromBytes;

use crate::arch::x86_64::Segment;
use crate::arch::{CpuState, Machine, i386, x86_64};
use crate::xen::{Context32, Context64};

/// How the bytes of a context are laid out.
///
/// A toolstack writes `vcpu_guest_context_any_t`, a union, for every x86 guest: Xen `xg_core.c` writes
/// `sizeof(*ctxt)` of it. Its size and `e_machine` tell the toolstack's word size, not the guest's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// `Context64` of a 64-bit guest.
    Wide,
    /// `Context64` of a fully virtualized guest of 32 bits.
    Narrow,
    /// `Context32`, the beginning of the bytes.
    Compat,
}

impl Layout {
    /// Returns the layout of all contexts of a guest, whose ELF header names `machine`. `None` if it is
    /// not certain.
    pub(super) fn of_guest(
        machine: Machine,
        paravirtualized: bool,
        contexts: &[Option<Self>],
    ) -> Option<Self> {
        let (first, rest) = contexts.split_first()?;
        let same = rest.iter().all(|layout| layout == first);
        match (*first, same) {
            // One CPU in 64-bit mode is enough, and others may not have begun.
            (Some(_), false) if !paravirtualized => {
                (machine == Machine::X86_64 && !contexts.contains(&None)).then_some(Self::Wide)
            }
            // A toolstack of 32 bits does not tell whether a guest with PAE has 64.
            (Some(Self::Wide), true) if !paravirtualized && machine == Machine::I386 => None,
            (first, same) => first.filter(|_| same),
        }
    }

    /// Returns the layout of a vCPU's context, which is all of `bytes`. `None` if it is not certain.
    pub(super) fn of(machine: Machine, paravirtualized: bool, bytes: &[u8]) -> Option<Self> {
        if machine == Machine::I386 && bytes.len() == size_of::<Context32>() {
            return Some(Self::Compat);
        }
        let wide = Context64::read_from_bytes(bytes).ok()?;
        if !paravirtualized {
            return Some(if wide.is_narrow() {
                Self::Narrow
            } else {
                Self::Wide
            });
        }
        // The rest of a 64-bit context has CR3, which is never 0.
        let (compat, rest) = Context32::read_from_prefix(bytes).ok()?;
        if rest.iter().any(|byte| *byte != 0) {
            return Some(Self::Wide);
        }
        compat.is_plausible().then_some(Self::Compat)
    }

    /// Returns the machine of a guest with such contexts.
    pub(super) fn machine(self) -> Machine {
        match self {
            Self::Wide => Machine::X86_64,
            Self::Narrow | Self::Compat => Machine::I386,
        }
    }

    /// Decodes the registers of a vCPU. Returns `None` if `bytes` are too few.
    ///
    /// The control registers of a paravirtualized guest are omitted: its page tables contain machine
    /// frame numbers, which lead nowhere in the dump.
    pub(super) fn decode(self, paravirtualized: bool, bytes: &[u8]) -> Option<CpuState> {
        let wide = || Context64::read_from_prefix(bytes).ok();
        Some(match self {
            Self::Wide => of_64(&wide()?.0, paravirtualized).into(),
            Self::Narrow => i386::Registers::from(&of_64(&wide()?.0, paravirtualized)).into(),
            Self::Compat => of_32(&Context32::read_from_prefix(bytes).ok()?.0).into(),
        })
    }
}

fn of_64(c: &Context64, paravirtualized: bool) -> x86_64::Registers {
    let kernel = c.gs_base_kernel.get();
    let user = c.gs_base_user.get();
    let (gs_base, kernel_gs_base) = if c.is_in_kernel(paravirtualized) {
        (kernel, user)
    } else {
        (user, kernel)
    };
    let control = |index: usize| {
        if paravirtualized {
            0
        } else {
            c.ctrlreg[index].get()
        }
    };
    x86_64::Registers {
        rax: c.rax.get(),
        rbx: c.rbx.get(),
        rcx: c.rcx.get(),
        rdx: c.rdx.get(),
        rsi: c.rsi.get(),
        rdi: c.rdi.get(),
        rsp: c.rsp.get(),
        rbp: c.rbp.get(),
        r8: c.r8.get(),
        r9: c.r9.get(),
        r10: c.r10.get(),
        r11: c.r11.get(),
        r12: c.r12.get(),
        r13: c.r13.get(),
        r14: c.r14.get(),
        r15: c.r15.get(),
        rip: c.rip.get(),
        rflags: c.rflags.get(),
        cs: segment(c.cs.selector.get(), 0),
        ds: segment(c.ds.selector.get(), 0),
        es: segment(c.es.selector.get(), 0),
        fs: segment(c.fs.selector.get(), c.fs_base.get()),
        gs: segment(c.gs.selector.get(), gs_base),
        ss: segment(c.ss.selector.get(), 0),
        cr0: control(0),
        cr2: control(2),
        cr3: control(3),
        cr4: control(4),
        kernel_gs_base,
        ..x86_64::Registers::default()
    }
}

fn of_32(c: &Context32) -> i386::Registers {
    i386::Registers {
        eax: c.eax.get(),
        ebx: c.ebx.get(),
        ecx: c.ecx.get(),
        edx: c.edx.get(),
        esi: c.esi.get(),
        edi: c.edi.get(),
        esp: c.esp.get(),
        ebp: c.ebp.get(),
        eip: c.eip.get(),
        eflags: c.eflags.get(),
        cs: segment(c.cs.selector.get(), 0),
        ds: segment(c.ds.selector.get(), 0),
        es: segment(c.es.selector.get(), 0),
        fs: segment(c.fs.selector.get(), 0),
        gs: segment(c.gs.selector.get(), 0),
        ss: segment(c.ss.selector.get(), 0),
        ..i386::Registers::default()
    }
}

fn segment(selector: u16, base: u64) -> Segment {
    Segment {
        selector: selector.into(),
        base,
        ..Segment::default()
    }
}

//! Registers of the vCPUs in a dump-core.
#![forbid(unsafe_code)]

use zerocopy::FromBytes;

use crate::arch::x86_64::Segment;
use crate::arch::{CpuState, Machine, i386, x86_64};
use crate::xen::{Context32, Context64};

/// Decodes the registers of a vCPU, whose context is all of `bytes`. Returns
/// `None` if this crate does not know a context of this size and machine.
///
/// The control registers of a paravirtualized guest are omitted: its page
/// tables contain machine frame numbers, which lead nowhere in the dump.
pub(super) fn decode(machine: Machine, paravirtualized: bool, bytes: &[u8]) -> Option<CpuState> {
    match machine {
        Machine::X86_64 => {
            let context = Context64::read_from_bytes(bytes).ok()?;
            Some(of_64(&context, paravirtualized).into())
        }
        Machine::I386 => Some(of_32(&Context32::read_from_bytes(bytes).ok()?).into()),
        _ => None,
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

//! Registers of x86_64 from the structs of kvm-bindings.
#![forbid(unsafe_code)]

use kvm_bindings::{
    kvm_debugregs, kvm_dtable, kvm_fpu, kvm_msr_entry, kvm_regs, kvm_segment, kvm_sregs, kvm_xsave,
};

use crate::arch::x86_64::{DescriptorTable, Registers, Segment, SegmentAttributes};
use crate::guest::windows::{DebugRegisters, SseState};

/// The base of fs. Source: Linux `arch/x86/include/asm/msr-index.h`.
pub const MSR_FS_BASE: u32 = 0xc000_0100;
/// The base of gs.
pub const MSR_GS_BASE: u32 = 0xc000_0101;
/// The value that `swapgs` exchanges with the base of gs. No other struct of KVM contains
/// it. A debugger needs it to find the per-CPU data of a CPU in user mode.
pub const MSR_KERNEL_GS_BASE: u32 = 0xc000_0102;

/// Makes a vCPU's registers. Only the MSRs that this module names are used, and
/// others are ignored. The bases of fs and gs are those of `sregs` if their MSRs are
/// missing.
#[must_use]
pub fn registers(regs: &kvm_regs, sregs: &kvm_sregs, msrs: &[kvm_msr_entry]) -> Registers {
    let mut registers = Registers {
        rax: regs.rax,
        rbx: regs.rbx,
        rcx: regs.rcx,
        rdx: regs.rdx,
        rsi: regs.rsi,
        rdi: regs.rdi,
        rsp: regs.rsp,
        rbp: regs.rbp,
        r8: regs.r8,
        r9: regs.r9,
        r10: regs.r10,
        r11: regs.r11,
        r12: regs.r12,
        r13: regs.r13,
        r14: regs.r14,
        r15: regs.r15,
        rip: regs.rip,
        rflags: regs.rflags,
        cs: segment(&sregs.cs),
        ds: segment(&sregs.ds),
        es: segment(&sregs.es),
        fs: segment(&sregs.fs),
        gs: segment(&sregs.gs),
        ss: segment(&sregs.ss),
        ldt: segment(&sregs.ldt),
        tr: segment(&sregs.tr),
        gdt: table(&sregs.gdt),
        idt: table(&sregs.idt),
        cr0: sregs.cr0,
        cr1: 0,
        cr2: sregs.cr2,
        cr3: sregs.cr3,
        cr4: sregs.cr4,
        kernel_gs_base: 0,
    };
    for msr in msrs {
        match msr.index {
            MSR_FS_BASE => registers.fs.base = msr.data,
            MSR_GS_BASE => registers.gs.base = msr.data,
            MSR_KERNEL_GS_BASE => registers.kernel_gs_base = msr.data,
            _ => {}
        }
    }
    registers
}

/// Converts a segment register. Both limits are in bytes.
#[must_use]
pub fn segment(segment: &kvm_segment) -> Segment {
    let attributes = SegmentAttributes {
        type_: segment.type_,
        s: segment.s,
        dpl: segment.dpl,
        present: u8::from(segment.present != 0 && segment.unusable == 0),
        avl: segment.avl,
        l: segment.l,
        db: segment.db,
        g: segment.g,
    };
    Segment {
        selector: segment.selector.into(),
        limit: segment.limit,
        flags: attributes.flags(),
        base: segment.base,
    }
}

fn table(table: &kvm_dtable) -> DescriptorTable {
    DescriptorTable {
        base: table.base,
        limit: table.limit.into(),
    }
}

/// Converts the debug registers, which a Windows dump contains.
#[must_use]
pub fn debug_registers(debug: &kvm_debugregs) -> DebugRegisters {
    let [dr0, dr1, dr2, dr3] = debug.db;
    DebugRegisters {
        dr0,
        dr1,
        dr2,
        dr3,
        dr6: debug.dr6,
        dr7: debug.dr7,
    }
}

/// Converts the SSE registers of `KVM_GET_FPU`, which a Windows dump contains.
#[must_use]
pub fn sse_of_fpu(fpu: &kvm_fpu) -> SseState {
    SseState {
        mxcsr: fpu.mxcsr,
        xmm: fpu.xmm.map(u128::from_le_bytes),
    }
}

/// Converts the SSE registers of `KVM_GET_XSAVE`, which a Windows dump contains.
///
/// They are in the legacy area, which has the layout of FXSAVE (Intel SDM volume 1, table
/// 10-2): MXCSR is at byte 24, XMM0 at byte 160.
#[must_use]
pub fn sse_of_xsave(xsave: &kvm_xsave) -> SseState {
    let words = &xsave.region;
    let xmm = |n: usize| {
        let word = |i: usize| u128::from(words[40 + 4 * n + i]) << (32 * i);
        word(0) | word(1) | word(2) | word(3)
    };
    SseState {
        mxcsr: words[6],
        xmm: std::array::from_fn(xmm),
    }
}

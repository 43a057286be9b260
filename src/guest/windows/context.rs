//! Builds `CONTEXT`s from virtual CPUs' registers.
#![forbid(unsafe_code)]

use zerocopy::{FromZeros, IntoBytes};

use crate::abi::Class;
use crate::arch::{CpuState, x86_64};
use crate::windmp::{
    CONTEXT_AMD64, CONTEXT_CONTROL, CONTEXT_DEBUG_REGISTERS, CONTEXT_EXTENDED_REGISTERS,
    CONTEXT_FLOATING_POINT, CONTEXT_I386, CONTEXT_INTEGER, CONTEXT_SEGMENTS, Context32, Context64,
    Fxsave, Header,
};

/// State of a virtual CPU that a `CONTEXT` contains and
/// [`CpuState`](crate::CpuState) does not. The context marks only the given
/// parts as valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExtraState {
    /// The debug registers.
    pub debug: Option<DebugRegisters>,
    /// MXCSR and the XMM registers.
    pub sse: Option<SseState>,
}

/// The debug registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)] // The names are the architecture's.
pub struct DebugRegisters {
    pub dr0: u64,
    pub dr1: u64,
    pub dr2: u64,
    pub dr3: u64,
    pub dr6: u64,
    pub dr7: u64,
}

/// The SSE registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SseState {
    /// The control and status register.
    pub mxcsr: u32,
    /// XMM0 to XMM15. A 32-bit guest has the first eight.
    pub xmm: [u128; 16],
}

impl DebugRegisters {
    const fn in_order(&self) -> [u64; 6] {
        [self.dr0, self.dr1, self.dr2, self.dr3, self.dr6, self.dr7]
    }
}

impl SseState {
    fn save(&self, xmm_registers: usize, area: &mut Fxsave) {
        area.mx_csr = self.mxcsr.into();
        for (to, from) in area
            .xmm_registers
            .iter_mut()
            .zip(self.xmm)
            .take(xmm_registers)
        {
            *to = from.into();
        }
    }
}

/// Encodes the context for a guest with this header. It returns `None` if no
/// CPU with these registers can run a Windows with such a header.
pub(crate) fn encode(header: &Header, registers: &CpuState, extra: &ExtraState) -> Option<Vec<u8>> {
    match (registers, header.class()) {
        (CpuState::X86_64(r), Class::Bits64) => Some(encode_64(r, extra)),
        (CpuState::X86_64(r), Class::Bits32) => Some(encode_32(r, extra)),
        (CpuState::I386(r), Class::Bits32) => Some(encode_32(&(&**r).into(), extra)),
        _ => None,
    }
}

/// Encodes a 64-bit context.
fn encode_64(r: &x86_64::Registers, extra: &ExtraState) -> Vec<u8> {
    let mut context = Context64::new_zeroed();
    let selector = |segment: &x86_64::Segment| (segment.selector as u16).into();
    let mut flags = CONTEXT_AMD64 | CONTEXT_CONTROL | CONTEXT_INTEGER | CONTEXT_SEGMENTS;
    context.seg_cs = selector(&r.cs);
    context.seg_ds = selector(&r.ds);
    context.seg_es = selector(&r.es);
    context.seg_fs = selector(&r.fs);
    context.seg_gs = selector(&r.gs);
    context.seg_ss = selector(&r.ss);
    context.eflags = (r.rflags as u32).into();
    context.rax = r.rax.into();
    context.rcx = r.rcx.into();
    context.rdx = r.rdx.into();
    context.rbx = r.rbx.into();
    context.rsp = r.rsp.into();
    context.rbp = r.rbp.into();
    context.rsi = r.rsi.into();
    context.rdi = r.rdi.into();
    context.r8_to_r15 = [r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15].map(Into::into);
    context.rip = r.rip.into();
    if let Some(debug) = &extra.debug {
        flags |= CONTEXT_DEBUG_REGISTERS;
        context.debug = debug.in_order().map(Into::into);
    }
    if let Some(sse) = &extra.sse {
        flags |= CONTEXT_FLOATING_POINT;
        context.mx_csr = sse.mxcsr.into();
        sse.save(16, &mut context.flt_save);
    }
    context.context_flags = flags.into();
    context.as_bytes().to_vec()
}

/// Encodes a 32-bit context. It uses the low halves of the registers, which are
/// all that a 32-bit guest has.
fn encode_32(r: &x86_64::Registers, extra: &ExtraState) -> Vec<u8> {
    let mut context = Context32::new_zeroed();
    let selector = |segment: &x86_64::Segment| segment.selector.into();
    let mut flags = CONTEXT_I386 | CONTEXT_CONTROL | CONTEXT_INTEGER | CONTEXT_SEGMENTS;
    context.seg_gs = selector(&r.gs);
    context.seg_fs = selector(&r.fs);
    context.seg_es = selector(&r.es);
    context.seg_ds = selector(&r.ds);
    context.edi = (r.rdi as u32).into();
    context.esi = (r.rsi as u32).into();
    context.ebx = (r.rbx as u32).into();
    context.edx = (r.rdx as u32).into();
    context.ecx = (r.rcx as u32).into();
    context.eax = (r.rax as u32).into();
    context.ebp = (r.rbp as u32).into();
    context.eip = (r.rip as u32).into();
    context.seg_cs = selector(&r.cs);
    context.eflags = (r.rflags as u32).into();
    context.esp = (r.rsp as u32).into();
    context.seg_ss = selector(&r.ss);
    if let Some(debug) = &extra.debug {
        flags |= CONTEXT_DEBUG_REGISTERS;
        context.debug = debug.in_order().map(|dr| (dr as u32).into());
    }
    if let Some(sse) = &extra.sse {
        flags |= CONTEXT_EXTENDED_REGISTERS;
        sse.save(8, &mut context.extended_registers);
    }
    context.context_flags = flags.into();
    context.as_bytes().to_vec()
}

//! Decodes the registers in the `CONTEXT` of a dump's header.
#![forbid(unsafe_code)]

use zerocopy::FromBytes;

use crate::abi::Class;
use crate::arch::{CpuState, aarch64, i386, x86_64};
use crate::windmp::{
    CONTEXT_AMD64, CONTEXT_ARM64, CONTEXT_CONTROL, CONTEXT_I386, CONTEXT_INTEGER, Context32,
    Context64, ContextArm64, FILLER, Header, IMAGE_FILE_MACHINE_ARM64,
};

/// Returns the registers in the header's context, if it contains any. On x86
/// CR3 is the header's.
pub(crate) fn decode_context(header: &Header) -> Option<CpuState> {
    let cr3 = header.directory_table_base();
    let selector = |selector| x86_64::Segment {
        selector,
        ..x86_64::Segment::default()
    };
    let has = |flags: u32, kind| {
        let all = kind | CONTEXT_CONTROL | CONTEXT_INTEGER;
        flags != FILLER && flags & all == all
    };
    match header.class() {
        // The header has one table's address, and which of the two it is was not found in any source.
        Class::Bits64 if header.machine_image_type() == IMAGE_FILE_MACHINE_ARM64 => {
            let (c, _) = ContextArm64::ref_from_prefix(header.context_record()).ok()?;
            let registers = aarch64::Registers {
                x: c.x.map(u64::from),
                sp: c.sp.get(),
                pc: c.pc.get(),
                pstate: c.cpsr.get().into(),
                ..aarch64::Registers::default()
            };
            has(c.context_flags.get(), CONTEXT_ARM64).then(|| registers.into())
        }
        Class::Bits64 => {
            let (c, _) = Context64::ref_from_prefix(header.context_record()).ok()?;
            let [r8, r9, r10, r11, r12, r13, r14, r15] = c.r8_to_r15.map(u64::from);
            let registers = x86_64::Registers {
                rax: c.rax.get(),
                rbx: c.rbx.get(),
                rcx: c.rcx.get(),
                rdx: c.rdx.get(),
                rsi: c.rsi.get(),
                rdi: c.rdi.get(),
                rsp: c.rsp.get(),
                rbp: c.rbp.get(),
                r8,
                r9,
                r10,
                r11,
                r12,
                r13,
                r14,
                r15,
                rip: c.rip.get(),
                rflags: c.eflags.get().into(),
                cs: selector(c.seg_cs.get().into()),
                ds: selector(c.seg_ds.get().into()),
                es: selector(c.seg_es.get().into()),
                fs: selector(c.seg_fs.get().into()),
                gs: selector(c.seg_gs.get().into()),
                ss: selector(c.seg_ss.get().into()),
                cr3,
                ..x86_64::Registers::default()
            };
            has(c.context_flags.get(), CONTEXT_AMD64).then(|| registers.into())
        }
        Class::Bits32 => {
            let (c, _) = Context32::ref_from_prefix(header.context_record()).ok()?;
            let registers = i386::Registers {
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
                cs: selector(c.seg_cs.get()),
                ds: selector(c.seg_ds.get()),
                es: selector(c.seg_es.get()),
                fs: selector(c.seg_fs.get()),
                gs: selector(c.seg_gs.get()),
                ss: selector(c.seg_ss.get()),
                cr3: cr3 as u32,
                ..i386::Registers::default()
            };
            has(c.context_flags.get(), CONTEXT_I386).then(|| registers.into())
        }
    }
}

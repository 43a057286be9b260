//! `struct vcpu_guest_context` of x86, as far as it has registers. All fields are little-endian.
//!
//! Source: Xen `xen/include/public/arch-x86/xen.h`; `struct cpu_user_regs` in `xen-x86_64.h` and
//! `xen-x86_32.h` beside it.
#![forbid(unsafe_code)]

use std::mem::{offset_of, size_of};

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// A selector and what pads it to a word of 64 bits.
#[derive(Clone, Copy, FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Selector64 {
    pub(crate) selector: U16,
    rest: [u8; 6],
}

/// A selector and what pads it to a word of 32 bits.
#[derive(Clone, Copy, FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Selector32 {
    pub(crate) selector: U16,
    rest: [u8; 2],
}

/// The context of a vCPU of a 64-bit guest, and of every fully virtualized one.
#[derive(Clone, Copy, FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Context64 {
    fpu_ctxt: [u8; 512],
    pub(crate) flags: U64,
    pub(crate) r15: U64,
    pub(crate) r14: U64,
    pub(crate) r13: U64,
    pub(crate) r12: U64,
    pub(crate) rbp: U64,
    pub(crate) rbx: U64,
    pub(crate) r11: U64,
    pub(crate) r10: U64,
    pub(crate) r9: U64,
    pub(crate) r8: U64,
    pub(crate) rax: U64,
    pub(crate) rcx: U64,
    pub(crate) rdx: U64,
    pub(crate) rsi: U64,
    pub(crate) rdi: U64,
    error_code: U32,
    entry_vector: U32,
    pub(crate) rip: U64,
    pub(crate) cs: Selector64,
    pub(crate) rflags: U64,
    pub(crate) rsp: U64,
    pub(crate) ss: Selector64,
    pub(crate) es: Selector64,
    pub(crate) ds: Selector64,
    pub(crate) fs: Selector64,
    pub(crate) gs: Selector64,
    trap_ctxt: [u8; 256 * 16],
    ldt: [U64; 2],
    gdt: [U64; 17],
    kernel_ss: U64,
    kernel_sp: U64,
    pub(crate) ctrlreg: [U64; 8],
    debugreg: [U64; 8],
    callbacks: [U64; 3],
    vm_assist: U64,
    pub(crate) fs_base: U64,
    pub(crate) gs_base_kernel: U64,
    pub(crate) gs_base_user: U64,
}

const _: () = assert!(offset_of!(Context64, rip) == 648);
const _: () = assert!(offset_of!(Context64, gs) == 712);
const _: () = assert!(offset_of!(Context64, ctrlreg) == 4984);
const _: () = assert!(offset_of!(Context64, fs_base) == 5144);
const _: () = assert!(size_of::<Context64>() == 5168);

/// The context of a vCPU of a paravirtualized 32-bit guest.
#[derive(Clone, Copy, FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Context32 {
    fpu_ctxt: [u8; 512],
    flags: U32,
    pub(crate) ebx: U32,
    pub(crate) ecx: U32,
    pub(crate) edx: U32,
    pub(crate) esi: U32,
    pub(crate) edi: U32,
    pub(crate) ebp: U32,
    pub(crate) eax: U32,
    error_code: U16,
    entry_vector: U16,
    pub(crate) eip: U32,
    pub(crate) cs: Selector32,
    pub(crate) eflags: U32,
    pub(crate) esp: U32,
    pub(crate) ss: Selector32,
    pub(crate) es: Selector32,
    pub(crate) ds: Selector32,
    pub(crate) fs: Selector32,
    pub(crate) gs: Selector32,
    trap_ctxt: [u8; 256 * 8],
    ldt: [U32; 2],
    gdt: [U32; 17],
    kernel_ss: U32,
    kernel_sp: U32,
    ctrlreg: [U32; 8],
    debugreg: [U32; 8],
    callbacks: [U32; 4],
    vm_assist: U32,
}

const _: () = assert!(offset_of!(Context32, eip) == 548);
const _: () = assert!(offset_of!(Context32, gs) == 580);
const _: () = assert!(offset_of!(Context32, ctrlreg) == 2716);
const _: () = assert!(size_of::<Context32>() == 2800);

impl Context32 {
    /// Bit 1 of EFLAGS, which is always set (Intel SDM volume 1, "EFLAGS Register").
    const ALWAYS_SET: u32 = 1 << 1;

    /// Whether the context can be that of a vCPU that runs: its code and its stack have one privilege
    /// level. Xen lets no guest have level 0.
    pub(crate) fn is_plausible(&self) -> bool {
        let (cs, ss) = (self.cs.selector.get(), self.ss.selector.get());
        let level = cs & 3;
        cs > 3
            && ss > 3
            && level != 0
            && ss & 3 == level
            && self.eip.get() != 0
            && self.eflags.get() & Self::ALWAYS_SET != 0
    }
}

impl Context64 {
    /// Paging, in CR0, and physical address extension, in CR4. The 64-bit mode needs both.
    const PG: u64 = 1 << 31;
    const PAE: u64 = 1 << 5;

    /// Whether the CPU has paging, and cannot be in 64-bit mode.
    pub(crate) fn is_narrow(&self) -> bool {
        self.ctrlreg[0].get() & Self::PG != 0 && self.ctrlreg[4].get() & Self::PAE == 0
    }

    /// `VGCF_in_kernel`: a paravirtualized guest's kernel was running.
    const IN_KERNEL: u64 = 1 << 2;

    /// Whether the base of gs is `gs_base_kernel` (Xen `arch_get_info_guest` in
    /// `xen/arch/x86/domctl.c`).
    pub(crate) fn is_in_kernel(&self, paravirtualized: bool) -> bool {
        if paravirtualized {
            self.flags.get() & Self::IN_KERNEL != 0
        } else {
            self.cs.selector.get() & 3 == 0
        }
    }
}

//! The guest's CPUs, all of which idle: registers, descriptor tables,
//! stacks.
//!
//! Sources: Intel SDM volume 3, chapters 2, 3 and 7; Linux
//! `arch/x86/include/asm/segment.h` for the selectors.
#![forbid(unsafe_code)]

use crate::arch::x86_64::{DescriptorTable, Registers, Segment};
use crate::demo::layout::{IDT, INIT_TOP_PGT, PAGE_OFFSET, code, image_vaddr, per_cpu, stack_top};

/// Bytes of each stack that are in use.
const STACK_USED: u64 = 0x80;
/// Where in the code the CPUs idle, and where its callers are.
const IDLE: u64 = 0x4_2018;
const CALLERS: u64 = 0x3_1000;
/// Where in the code the interrupt handlers begin, and how far apart.
const HANDLERS: u64 = 0x1_0000;
const HANDLER_SIZE: u64 = 0x10;

// Selectors.
const KERNEL_CS: u32 = 0x10;
const KERNEL_DS: u32 = 0x18;
const TSS: u32 = 0x40;

/// The first descriptors: none, kernel's code (32-bit, then 64-bit) and
/// data, user's code (32-bit), data and code (64-bit), none.
const DESCRIPTORS: [u64; 8] = [
    0,
    0x00cf_9b00_0000_ffff,
    0x00af_9b00_0000_ffff,
    0x00cf_9300_0000_ffff,
    0x00cf_fb00_0000_ffff,
    0x00cf_f300_0000_ffff,
    0x00af_fb00_0000_ffff,
    0,
];
const TSS_FLAGS: u32 = 0x8b00;
const TSS_LIMIT: u32 = 0x67;
/// Size of the GDT in bytes: Linux has 16 descriptors.
const GDT_SIZE: u64 = 16 * 8;
const INTERRUPTS: u64 = 256;

/// Virtual address of a CPU's own data: its GDT, then its TSS.
const fn per_cpu_vaddr(cpu: usize) -> u64 {
    PAGE_OFFSET + per_cpu(cpu)
}

/// Guest-physical address that a CPU's stack pointer points to.
pub(super) const fn stack_pointer(cpu: usize) -> u64 {
    stack_top(cpu) - STACK_USED
}

pub(super) fn registers(cpu: usize) -> Registers {
    let rsp = PAGE_OFFSET + stack_pointer(cpu);
    let gs_base = per_cpu_vaddr(cpu);
    // A null selector keeps the limit but is not present.
    let null = Segment {
        selector: 0,
        limit: u32::MAX,
        flags: 0x00c0_0000,
        base: 0,
    };
    let user_base = 0x7f12_3456_7000 + ((cpu as u64) << 21);
    Registers {
        rbx: cpu as u64,
        rdx: PAGE_OFFSET + stack_top(cpu),
        rdi: cpu as u64,
        rsp,
        rbp: rsp,
        r12: gs_base,
        rip: code(IDLE),
        // Interrupts are enabled; parity and zero; bit 1 is always set.
        rflags: 0x246,
        cs: flat(KERNEL_CS),
        ss: flat(KERNEL_DS),
        ds: null,
        es: null,
        fs: Segment {
            base: user_base,
            ..null
        },
        gs: Segment {
            base: gs_base,
            ..null
        },
        ldt: Segment::default(),
        tr: Segment {
            selector: TSS,
            limit: TSS_LIMIT,
            flags: TSS_FLAGS,
            base: gs_base + GDT_SIZE,
        },
        gdt: DescriptorTable {
            limit: GDT_SIZE as u32 - 1,
            base: gs_base,
        },
        idt: DescriptorTable {
            limit: INTERRUPTS as u32 * 16 - 1,
            base: image_vaddr(IDT),
        },
        // PG, AM, WP, NE, ET, MP, PE.
        cr0: 0x8005_0033,
        cr2: user_base + 0x1000,
        cr3: INIT_TOP_PGT,
        // SMAP, SMEP, OSXSAVE, FSGSBASE, OSXMMEXCPT, OSFXSR, PGE, MCE, PAE,
        // PSE.
        cr4: 0x0035_06f0,
        kernel_gs_base: user_base + 0x800,
        ..Registers::default()
    }
}

/// The segment register of a flat segment of the kernel.
fn flat(selector: u32) -> Segment {
    Segment {
        selector,
        limit: u32::MAX,
        flags: (DESCRIPTORS[selector as usize / 8] >> 32) as u32,
        base: 0,
    }
}

/// A CPU's GDT; of the TSS behind it, the kernel's stack pointer.
pub(super) fn per_cpu_data(cpu: usize) -> impl Iterator<Item = u64> {
    let tss = per_cpu_vaddr(cpu) + GDT_SIZE;
    let tss_descriptor = [
        u64::from(TSS_LIMIT)
            | (tss & 0xff_ffff) << 16
            | u64::from(TSS_FLAGS) << 32
            | (tss >> 24 & 0xff) << 56,
        tss >> 32,
    ];
    // The first field is four bytes long and RSP0 behind it not aligned.
    let rsp0 = PAGE_OFFSET + stack_top(cpu);
    DESCRIPTORS
        .into_iter()
        .chain(tss_descriptor)
        .chain([0; 6])
        .chain([rsp0 << 32, rsp0 >> 32])
}

/// Interrupt gates: handler's address in three parts, selector, flags.
pub(super) fn interrupt_table() -> impl Iterator<Item = u64> {
    const GATE: u64 = 0x8e00;
    (0..INTERRUPTS).flat_map(|n| {
        let handler = code(HANDLERS + n * HANDLER_SIZE);
        let low = handler & 0xffff
            | u64::from(KERNEL_CS) << 16
            | GATE << 32
            | (handler >> 16 & 0xffff) << 48;
        [low, handler >> 32]
    })
}

/// The used part of a CPU's stack: frames of the idle loop's callers, each
/// the next frame's address and a return address.
pub(super) fn stack(cpu: usize) -> impl Iterator<Item = u64> {
    let bottom = PAGE_OFFSET + stack_pointer(cpu);
    let frames = STACK_USED / 16;
    (1..=frames).flat_map(move |n| {
        let next = if n < frames { bottom + n * 16 } else { 0 };
        [next, code(CALLERS + n * 0x140)]
    })
}

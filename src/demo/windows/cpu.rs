//! The registers of the guest's CPUs, which are in the kernel.
#![forbid(unsafe_code)]

use crate::arch::x86_64::{DescriptorTable, Registers, Segment};
use crate::arch::{self, i386};
use crate::demo::windows::image;
use crate::demo::windows::kernel::{GDT, IDT, kpcr};
use crate::demo::windows::kind::WindowsKind;
use crate::demo::windows::tables;
use crate::guest::windows::discover::width::Width;

/// Returns the registers of CPU `cpu`, of the guest's width.
pub(super) fn registers(kind: WindowsKind, cpu: usize) -> arch::CpuState {
    match kind.width() {
        Width::Bits32 => registers_32(kind, cpu).into(),
        Width::Bits64 => registers_64(kind, cpu).into(),
    }
}

/// Returns the registers of CPU `cpu` as a 64-bit CPU has them.
pub(super) fn wide_registers(kind: WindowsKind, cpu: usize) -> Registers {
    match kind.width() {
        Width::Bits32 => (&registers_32(kind, cpu)).into(),
        Width::Bits64 => registers_64(kind, cpu),
    }
}

const fn segment(selector: u32, flags: u32, base: u64) -> Segment {
    Segment {
        selector,
        limit: u32::MAX,
        flags,
        base,
    }
}

const fn stack(kind: WindowsKind, cpu: usize) -> u64 {
    kind.pool() + 0x3_0e00 + ((cpu as u64) << 16)
}

const fn code(kind: WindowsKind, cpu: usize) -> u64 {
    kind.vaddr(image::TEXT + 0x1_0040 + cpu as u64 * 0x20)
}

fn registers_64(kind: WindowsKind, cpu: usize) -> Registers {
    let pcr = kpcr(kind, cpu);
    let data = segment(0x2b, 0x00cf_f300, 0);
    let rsp = stack(kind, cpu);
    Registers {
        rax: cpu as u64,
        rcx: 0xd1,
        rsp,
        rbp: rsp + 0x80,
        rip: code(kind, cpu),
        rflags: 0x46,
        cs: segment(0x10, 0x0020_9b00, 0),
        ss: segment(0x18, 0x0040_9300, 0),
        ds: data,
        es: data,
        fs: segment(0x53, 0x0040_f300, 0),
        gs: Segment { base: pcr, ..data },
        tr: segment(0x40, 0x8b00, pcr + GDT + 0x80),
        gdt: DescriptorTable {
            base: pcr + GDT,
            limit: 0x57,
        },
        idt: DescriptorTable {
            base: pcr + IDT,
            limit: 256 * 16 - 1,
        },
        // PG, AM, WP, NE, ET, PE.
        cr0: 0x8005_0031,
        cr3: tables::root(kind),
        // SMAP, SMEP, OSXSAVE, FSGSBASE, UMIP, PGE, MCE, PAE, PSE, DE and others; no LA57.
        cr4: 0x0035_0ef8,
        kernel_gs_base: 0,
        ..Registers::default()
    }
}

fn registers_32(kind: WindowsKind, cpu: usize) -> i386::Registers {
    let pcr = kpcr(kind, cpu);
    let data = segment(0x23, 0x00cf_f300, 0);
    let esp = stack(kind, cpu) as u32;
    // Besides PAE, CR4 has PGE, MCE, PSE, DE and others.
    let pae = match kind {
        WindowsKind::I386NoPae => 0,
        _ => 0x20,
    };
    i386::Registers {
        eax: cpu as u32,
        ecx: 0xd1,
        esp,
        ebp: esp + 0x80,
        eip: code(kind, cpu) as u32,
        eflags: 0x46,
        cs: segment(0x8, 0x00cf_9b00, 0),
        ss: segment(0x10, 0x00cf_9300, 0),
        ds: data,
        es: data,
        fs: segment(0x30, 0x00cf_9300, pcr),
        gs: Segment::default(),
        tr: segment(0x28, 0x8b00, pcr + GDT + 0x80),
        gdt: DescriptorTable {
            base: pcr + GDT,
            limit: 0x3ff,
        },
        idt: DescriptorTable {
            base: pcr + IDT,
            limit: 256 * 8 - 1,
        },
        // PG, AM, WP, NE, ET, PE.
        cr0: 0x8005_0031,
        cr3: tables::root(kind) as u32,
        cr4: 0x6d8 | pae,
        ..i386::Registers::default()
    }
}

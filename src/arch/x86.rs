//! QEMU's CPU state note, which x86_64 and i386 share.
//!
//! Source: QEMU's `QEMUCPUState`, version 1, whose readers tell by its `size`
//! field whether `kernel_gs_base` is there (432 bytes without, 440 with).
#![forbid(unsafe_code)]

use std::mem::{offset_of, size_of};

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::abi::{ByteOrder, FieldOverflow};
use crate::arch::segment::{DescriptorTable, Segment};
use crate::arch::x86_64_registers::Registers;
use crate::elf::note::{Note, QEMU};

/// QEMU's `QEMUCPUState`, version 1.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct QemuCpuState {
    version: U32,
    /// Of the whole struct, in bytes.
    size: U32,
    /// rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8 to r15.
    general: [U64; 16],
    rip: U64,
    rflags: U64,
    /// cs, ds, es, fs, gs, ss, ldt, tr, gdt, idt.
    segments: [QemuSegment; 10],
    cr: [U64; 5],
    kernel_gs_base: U64,
}

/// QEMU's `QEMUCPUSegment`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct QemuSegment {
    selector: U32,
    limit: U32,
    flags: U32,
    padding: U32,
    base: U64,
}

const QEMU_STATE_VERSION: u32 = 1;

// 8, 16 × 8 = 128, 16, 10 × 24 = 240, 5 × 8 = 40, 8.
const _: () = assert!(offset_of!(QemuCpuState, general) == 8);
const _: () = assert!(offset_of!(QemuCpuState, rip) == 136);
const _: () = assert!(offset_of!(QemuCpuState, rflags) == 144);
const _: () = assert!(offset_of!(QemuCpuState, segments) == 152);
const _: () = assert!(offset_of!(QemuCpuState, cr) == 392);
const _: () = assert!(offset_of!(QemuCpuState, kernel_gs_base) == 432);
const _: () = assert!(size_of::<QemuCpuState>() == 440);
const _: () = assert!(offset_of!(QemuSegment, base) == 16);
const _: () = assert!(size_of::<QemuSegment>() == 24);

/// The general registers, in the note's order.
fn general(r: &mut Registers) -> [&mut u64; 16] {
    [
        &mut r.rax, &mut r.rbx, &mut r.rcx, &mut r.rdx, &mut r.rsi, &mut r.rdi, &mut r.rsp,
        &mut r.rbp, &mut r.r8, &mut r.r9, &mut r.r10, &mut r.r11, &mut r.r12, &mut r.r13,
        &mut r.r14, &mut r.r15,
    ]
}

fn qemu_state(r: &Registers) -> QemuCpuState {
    let table = |table: DescriptorTable| Segment {
        base: table.base,
        limit: table.limit,
        ..Segment::default()
    };
    let (gdt, idt) = (table(r.gdt), table(r.idt));
    let segments = [r.cs, r.ds, r.es, r.fs, r.gs, r.ss, r.ldt, r.tr, gdt, idt];
    QemuCpuState {
        version: QEMU_STATE_VERSION.into(),
        size: (size_of::<QemuCpuState>() as u32).into(),
        general: general(&mut { *r }).map(|register| (*register).into()),
        rip: r.rip.into(),
        rflags: r.rflags.into(),
        segments: segments.map(|s| QemuSegment {
            selector: s.selector.into(),
            limit: s.limit.into(),
            flags: s.flags.into(),
            padding: 0.into(),
            base: s.base.into(),
        }),
        cr: [r.cr0, r.cr1, r.cr2, r.cr3, r.cr4].map(U64::from),
        kernel_gs_base: r.kernel_gs_base.into(),
    }
}

/// Appends QEMU's CPU state note.
pub(super) fn encode_qemu_note(
    registers: &Registers,
    out: &mut Vec<u8>,
) -> Result<(), FieldOverflow> {
    Note {
        name: QEMU,
        kind: 0,
        desc: qemu_state(registers).as_bytes(),
    }
    .encode(ByteOrder::Little, out)
}

/// The registers in QEMU's CPU state note: all that [`Registers`] has. A
/// note of an older QEMU, without `kernel_gs_base`, gives 0 for that.
#[must_use]
pub fn decode_qemu_state(desc: &[u8]) -> Option<Registers> {
    let short = offset_of!(QemuCpuState, kernel_gs_base);
    let mut bytes = [0; size_of::<QemuCpuState>()];
    let len = desc.len().min(bytes.len());
    if len < short {
        return None;
    }
    bytes[..len].copy_from_slice(&desc[..len]);
    let s = QemuCpuState::read_from_bytes(&bytes).ok()?;
    if s.version != QEMU_STATE_VERSION {
        return None;
    }
    let [cs, ds, es, fs, gs, ss, ldt, tr, gdt, idt] = s.segments.map(|s| Segment {
        selector: s.selector.get(),
        limit: s.limit.get(),
        flags: s.flags.get(),
        base: s.base.get(),
    });
    let table = |segment: Segment| DescriptorTable {
        base: segment.base,
        limit: segment.limit,
    };
    let [cr0, cr1, cr2, cr3, cr4] = s.cr.map(U64::get);
    let mut registers = Registers {
        rip: s.rip.get(),
        rflags: s.rflags.get(),
        cs,
        ds,
        es,
        fs,
        gs,
        ss,
        ldt,
        tr,
        gdt: table(gdt),
        idt: table(idt),
        cr0,
        cr1,
        cr2,
        cr3,
        cr4,
        kernel_gs_base: s.kernel_gs_base.get(),
        ..Registers::default()
    };
    for (register, value) in general(&mut registers).into_iter().zip(s.general) {
        *register = value.get();
    }
    Some(registers)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn encoded_qemu_state_has_the_bytes_of_qemus_struct() {
        let r = Registers {
            rbx: 0xb,
            cs: Segment {
                selector: 0x10,
                limit: 0xffff_ffff,
                flags: 0x00af_9b00,
                base: 0,
            },
            cr3: 0x1_2345_6000,
            kernel_gs_base: 0xffff_8880_0000_0000,
            ..Registers::default()
        };
        let state = qemu_state(&r);
        let mut expected = [0u8; 440];
        expected[0] = 1;
        expected[4..6].copy_from_slice(&440u16.to_le_bytes());
        expected[16] = 0xb;
        expected[152] = 0x10;
        expected[156..160].fill(0xff);
        expected[160..164].copy_from_slice(&0x00af_9b00u32.to_le_bytes());
        expected[392 + 24..392 + 32].copy_from_slice(&r.cr3.to_le_bytes());
        expected[432..].copy_from_slice(&r.kernel_gs_base.to_le_bytes());
        assert_eq!(state.as_bytes(), expected);
        let old = decode_qemu_state(&expected[..432]).unwrap();
        assert_eq!(
            old,
            Registers {
                kernel_gs_base: 0,
                ..r
            }
        );
        assert_eq!(decode_qemu_state(&expected[..431]), None);
    }
}

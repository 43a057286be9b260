//! What x86_64 and i386 share: segment registers and QEMU's CPU state note.
//!
//! Source: QEMU's `QEMUCPUState`, version 1, whose readers tell by its `size`
//! field whether `kernel_gs_base` is there (432 bytes without, 440 with).
#![forbid(unsafe_code)]

use std::mem::{offset_of, size_of};

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::abi::{ByteOrder, FieldOverflow};
use crate::arch::json::json_struct;
use crate::arch::x86_64::Registers;
use crate::elf::note::{Note, QEMU};

json_struct! {
    /// A segment register with its hidden part.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Segment {
        /// The visible selector.
        pub selector: u32,
        /// Last offset in the segment, in bytes.
        pub limit: u32,
        /// The second 32-bit word of the segment's descriptor: type in bits 8 to
        /// 11, S in 12, DPL in 13 and 14, P in 15, AVL in 20, L in 21, D/B in
        /// 22, G in 23; the other bits are part of base and limit there and are
        /// ignored here. [`SegmentAttributes`] makes them of other forms.
        pub flags: u32,
        /// Guest-virtual base address.
        pub base: u64,
    }
}

/// A segment's attributes one by one, as KVM, crosvm and cloud-hypervisor
/// hold them: each but `type_` and `dpl` is 0 or 1.
///
/// Sources: Intel SDM volume 3, 3.4.5 "Segment Descriptors" and table 25-2
/// "Format of Access Rights"; AMD64 APM volume 2, 15.5.1 on the VMCB's
/// `attrib`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SegmentAttributes {
    /// The kind of segment, 4 bits.
    pub type_: u8,
    /// Code or data, not a system segment.
    pub s: u8,
    /// Descriptor privilege level, 2 bits.
    pub dpl: u8,
    /// Present. 0 for a segment that KVM or VMX call unusable.
    pub present: u8,
    /// Available to software.
    pub avl: u8,
    /// 64-bit code.
    pub l: u8,
    /// Default operation size.
    pub db: u8,
    /// Granularity. [`Segment::limit`] is in bytes whatever this says.
    pub g: u8,
}

impl SegmentAttributes {
    /// From VMX's access rights, which Hypervisor.framework has too, and
    /// Hyper-V, MSHV and WHPX without bit 16 (unusable).
    #[must_use]
    pub fn from_access_rights(rights: u32) -> Self {
        let bit = |at: u32| ((rights >> at) & 1) as u8;
        Self {
            type_: (rights & 0xf) as u8,
            s: bit(4),
            dpl: ((rights >> 5) & 3) as u8,
            present: bit(7) & (1 - bit(16)),
            avl: bit(12),
            l: bit(13),
            db: bit(14),
            g: bit(15),
        }
    }

    /// From the 12 bits of SVM's `attrib` in the VMCB, which bhyve has too.
    #[must_use]
    pub fn from_vmcb(attrib: u16) -> Self {
        let low = u32::from(attrib) & 0xff;
        let high = u32::from(attrib) & 0xf00;
        Self::from_access_rights((high << 4) | low)
    }

    /// As [`Segment::flags`].
    #[must_use]
    pub fn flags(self) -> u32 {
        let bit = |value: u8, at: u32| u32::from(value & 1) << at;
        (u32::from(self.type_ & 0xf) << 8)
            | bit(self.s, 12)
            | (u32::from(self.dpl & 3) << 13)
            | bit(self.present, 15)
            | bit(self.avl, 20)
            | bit(self.l, 21)
            | bit(self.db, 22)
            | bit(self.g, 23)
    }
}

json_struct! {
    /// A descriptor table register.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct DescriptorTable {
        /// Guest-virtual base address.
        pub base: u64,
        /// Last offset in the table, in bytes.
        pub limit: u32,
    }
}

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

    /// Linux's kernel code segment, 64-bit, execute and read, accessed: the
    /// second word of its descriptor is 0x00af9b00, of which 0xf0000 are
    /// limit. And a busy 64-bit TSS, and an unusable segment.
    #[test]
    fn attributes_of_all_forms_are_the_same_flags() {
        let code = SegmentAttributes {
            type_: 0xb,
            s: 1,
            present: 1,
            l: 1,
            g: 1,
            ..SegmentAttributes::default()
        };
        assert_eq!(code.flags(), 0x00af_9b00 & !0x000f_0000);
        assert_eq!(SegmentAttributes::from_access_rights(0xa09b), code);
        assert_eq!(SegmentAttributes::from_vmcb(0xa9b), code);
        assert_eq!(SegmentAttributes::from_access_rights(0x8b).flags(), 0x8b00);
        assert_eq!(SegmentAttributes::from_vmcb(0x8b).flags(), 0x8b00);
        // User data: DPL 3, 32-bit, AVL.
        assert_eq!(
            SegmentAttributes::from_access_rights(0xd0f3).flags(),
            0x00d0_f300
        );
        assert_eq!(SegmentAttributes::from_vmcb(0xdf3).flags(), 0x00d0_f300);
        assert_eq!(
            SegmentAttributes::from_access_rights(0x1_c0f3).flags(),
            0x00c0_7300
        );
    }

    #[test]
    fn qemu_state_bytes() {
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

//! arm, 32 bits: registers, `NT_PRSTATUS`, `NT_ARM_VFP`, kernel addresses.
//!
//! Sources: `struct pt_regs` of Linux `arch/arm/include/asm/ptrace.h`
//! (`ELF_NGREG` is 18) and `struct user_vfp` of `arch/arm/include/asm/user.h`;
//! the notes that QEMU writes, in its order: QEMU `target/arm/arch_dump.c`.
//! `e_machine`: elf.h.
#![forbid(unsafe_code)]

use std::slice::from_mut;

use super::Architecture;
use super::prstatus::{
    CpuNotes, decode_prstatus, encode_prstatus_with, prstatus_size, read_words, words,
};
use crate::elf::note::{CORE, LINUX, NT_PRSTATUS, Note};
use crate::encoding::{ByteOrder, Class, Encoding};
use crate::kdump::format::HeaderLayout;
use crate::vmcoreinfo::Vmcoreinfo;

/// `e_machine`.
pub const EM_ARM: u16 = 40;

/// `NT_ARM_VFP`, under the name `LINUX`: the floating-point registers.
pub const NT_ARM_VFP: u32 = 0x400;

const ENCODING: Encoding = Encoding {
    class: Class::Bits32,
    order: ByteOrder::Little,
};

/// 16 general registers, cpsr, orig_r0.
const GENERAL_SIZE: usize = 18 * 4;

pub(super) static ARCHITECTURE: Architecture = Architecture {
    // Readers look at the first three letters only.
    name: "arm",
    aliases: &["armv5tel", "armv6l", "armv7l", "armv8l", "armhf", "armel"],
    encoding: ENCODING,
    kdump_layout: HeaderLayout::Bits32Padded,
    elf_machine: EM_ARM,
    page_sizes: &[4 << 10],
    prstatus_size: prstatus_size(ENCODING.class, GENERAL_SIZE),
    // VMCOREINFO does not have it.
    phys_base: |_| None,
    kernel_image_to_physical: |_, _| None,
    encode_notes: |cpus, out| encode_notes(&Registers::of(cpus), out),
    decode_notes,
};

/// A virtual CPU's registers. All default to 0.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Registers {
    /// r0 to r15 of the current mode: 13 is the stack pointer, 14 the link
    /// register, 15 the guest-virtual address of the next instruction.
    pub r: [u32; 16],
    /// Current program status register.
    pub cpsr: u32,
    /// r0 at the entry of a system call; 0 in QEMU's dumps.
    pub orig_r0: u32,
    /// The floating-point registers, if the CPU has them.
    pub vfp: Option<Vfp>,
}

/// Floating-point registers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Vfp {
    /// d0 to d31; a CPU with 16 of them has 0 in the others.
    pub d: [u64; 32],
    /// Floating-point status and control register.
    pub fpscr: u32,
}

fn general(r: &Registers) -> Vec<u8> {
    let mut bytes = words(ENCODING.order, &r.r);
    bytes.extend(words(ENCODING.order, &[r.cpsr, r.orig_r0]));
    bytes
}

/// The notes of each CPU together, as QEMU orders them.
fn encode_notes(cpus: &[&Registers], out: &mut Vec<u8>) {
    for (index, r) in cpus.iter().enumerate() {
        encode_prstatus_with(ENCODING, index, &general(r), r.vfp.is_some(), out);
        if let Some(vfp) = &r.vfp {
            let mut desc = words(ENCODING.order, &vfp.d);
            desc.extend(words(ENCODING.order, &[vfp.fpscr]));
            Note {
                name: LINUX,
                kind: NT_ARM_VFP,
                desc: &desc,
            }
            .encode(ENCODING.order, out);
        }
    }
}

fn decode_notes(notes: &CpuNotes<'_>) -> Vec<super::Registers> {
    let mut vfp = notes.all(LINUX, NT_ARM_VFP);
    let statuses = notes.all(CORE, NT_PRSTATUS);
    let cpu = |desc| {
        let mut r = Registers::default();
        decode_general(desc, &mut r);
        r.vfp = vfp.next().and_then(decode_vfp);
        r.into()
    };
    statuses.map(cpu).collect()
}

fn decode_general(desc: &[u8], r: &mut Registers) -> Option<()> {
    let (_, bytes) = decode_prstatus(ENCODING, desc, GENERAL_SIZE)?;
    let rest = read_words(ENCODING.order, bytes, &mut r.r)?;
    let rest = read_words(ENCODING.order, rest, from_mut(&mut r.cpsr))?;
    read_words(ENCODING.order, rest, from_mut(&mut r.orig_r0))?;
    Some(())
}

fn decode_vfp(desc: &[u8]) -> Option<Vfp> {
    let mut vfp = Vfp::default();
    let rest = read_words(ENCODING.order, desc, &mut vfp.d)?;
    read_words(ENCODING.order, rest, from_mut(&mut vfp.fpscr))?;
    Some(vfp)
}

/// As [`Architecture::kernel_image_to_physical`], for RAM that begins at
/// `ram_start`: there the linear map begins, in which the image lies. Where
/// that is mapped VMCOREINFO does not say either, but the image begins in its
/// first 4 MiB; makedumpfile finds it in the same way.
pub(super) fn linear_to_physical(vaddr: u64, info: &Vmcoreinfo, ram_start: u64) -> Option<u64> {
    let page_offset = info.symbol("_stext")? & 0xffc0_0000;
    vaddr.checked_sub(page_offset)?.checked_add(ram_start)
}

//! aarch64 in both byte orders: registers, `NT_PRSTATUS`, `NT_PRFPREG`,
//! `NT_ARM_SVE`, kernel addresses.
//!
//! Sources:
//!
//! - Registers: `struct user_pt_regs`, `struct user_fpsimd_state`, `struct
//!   user_sve_header` and the `SVE_PT_SVE_*` offsets of Linux
//!   `arch/arm64/include/uapi/asm/ptrace.h`, with
//!   `Documentation/arch/arm64/sve.rst`.
//! - Notes and their order: QEMU `target/arm/arch_dump.c`. QEMU writes no note
//!   for pointer authentication or SME. The mask of pointer authentication is
//!   in VMCOREINFO (`KERNELPACMASK`).
//! - `e_machine`: elf.h.
//! - VMCOREINFO: Linux `arch/arm64/kernel/vmcore_info.c`.
#![forbid(unsafe_code)]

use std::slice::from_mut;

use crate::abi::{ByteOrder, Class, Encoding, FieldOverflow, U64Align};
use crate::arch::Architecture;
use crate::arch::json::json_struct;
use crate::arch::prstatus::{
    CpuNotes, decode_prstatus, encode_prstatus_fpvalid, prstatus_size, read_words, words,
};
use crate::elf::note::{CORE, LINUX, NT_PRFPREG, NT_PRSTATUS, Note};
use crate::vmcoreinfo::Vmcoreinfo;

/// `e_machine` of aarch64 in ELF files.
pub const EM_AARCH64: u16 = 183;

/// `NT_ARM_SVE`, under the name `LINUX`: the scalable vector registers.
pub const NT_ARM_SVE: u32 = 0x405;

const fn encoding(order: ByteOrder) -> Encoding {
    Encoding {
        class: Class::Bits64,
        order,
    }
}

/// Size of the registers in `NT_PRSTATUS`, in bytes: 31 general registers, sp,
/// pc, pstate.
const GENERAL_SIZE: usize = 34 * 8;

const LITTLE: Architecture = Architecture {
    name: "aarch64",
    uname: "aarch64",
    aliases: &["arm64"],
    encoding: encoding(ByteOrder::Little),
    u64_align: U64Align::Eight,
    elf_machine: EM_AARCH64,
    page_sizes: &[4 << 10, 16 << 10, 64 << 10],
    prstatus_size: prstatus_size(Class::Bits64, GENERAL_SIZE),
    frames_from_phys_base: false,
    phys_base,
    kernel_image_to_physical,
    direct_mapping: |_| None,
    encode_notes: |cpus, out| encode_notes(ByteOrder::Little, &Registers::of(cpus), out),
    decode_notes: |notes| decode_notes(ByteOrder::Little, notes),
};

pub(super) static ARCHITECTURE: Architecture = LITTLE;

pub(super) static BIG_ENDIAN: Architecture = Architecture {
    name: "aarch64_be",
    uname: "aarch64_be",
    aliases: &["arm64_be"],
    encoding: encoding(ByteOrder::Big),
    encode_notes: |cpus, out| encode_notes(ByteOrder::Big, &Registers::of(cpus), out),
    decode_notes: |notes| decode_notes(ByteOrder::Big, notes),
    ..LITTLE
};

json_struct! {
    /// A virtual CPU's registers. All default to 0.
    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    pub struct Registers {
        /// x0 to x30. In AArch32 state they contain the registers that the
        /// architecture maps to them.
        pub x: [u64; 31],
        /// The stack pointer of the current exception level.
        pub sp: u64,
        /// Guest-virtual address of the next instruction.
        pub pc: u64,
        /// Condition flags and the rest of the processor state, as in SPSR_EL1.
        /// In AArch32 state it is the CPSR.
        pub pstate: u64,
        /// v0 to v31, the low 128 bits of [`Sve::z`].
        pub v: [u128; 32],
        /// Floating-point status register.
        pub fpsr: u32,
        /// Floating-point control register.
        pub fpcr: u32,
        /// The scalable vector registers, if the CPU has them.
        pub sve: Option<Sve>,
        /// TTBR0_EL1: page tables of low addresses. The notes contain none of
        /// `ttbr0`, `ttbr1` and `tcr`; they are for
        /// [`crate::ElfOptions::paging`].
        pub ttbr0: u64,
        /// TTBR1_EL1: page tables of high addresses.
        pub ttbr1: u64,
        /// TCR_EL1. It is 0 if `ttbr0`, `ttbr1` and `tcr` are not known.
        pub tcr: u64,
    }
}

impl Registers {
    pub(super) fn program_counter(&self) -> u64 {
        self.pc
    }

    pub(super) fn stack_pointer(&self) -> u64 {
        self.sp
    }

    /// Returns the root of the kernel's page tables, if it is known.
    pub(super) fn page_table_root(&self) -> Option<u64> {
        (self.tcr != 0).then_some(self.ttbr1)
    }
}

json_struct! {
    /// Registers of the scalable vector extension. Their bytes are
    /// little-endian in both byte orders of the guest. If a register has fewer
    /// bytes than its length, the rest is 0; bytes beyond its length are
    /// ignored.
    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    pub struct Sve {
        /// Length of a vector at the current exception level, in bytes. It is a
        /// multiple of 16.
        pub vl: u16,
        /// The largest length of a vector that the CPU has, in bytes.
        pub max_vl: u16,
        /// z0 to z31: `vl` bytes each.
        pub z: [Vec<u8>; 32],
        /// The predicate registers p0 to p15: `vl / 8` bytes each.
        pub p: [Vec<u8>; 16],
        /// The first fault register: `vl / 8` bytes.
        pub ffr: Vec<u8>,
    }
}

/// Encodes `struct user_pt_regs`.
fn general(order: ByteOrder, r: &Registers) -> Vec<u8> {
    let mut bytes = words(order, &r.x);
    bytes.extend(words(order, &[r.sp, r.pc, r.pstate]));
    bytes
}

/// Encodes `struct user_fpsimd_state`, whose last 8 bytes are reserved.
fn fpsimd(order: ByteOrder, r: &Registers) -> Vec<u8> {
    let mut bytes = words(order, &r.v);
    bytes.extend(words(order, &[r.fpsr, r.fpcr, 0, 0]));
    bytes
}

/// Offsets of the parts of an SVE note, for vectors of one length.
struct SveLayout {
    /// Length of a vector in bytes.
    vl: usize,
}

impl SveLayout {
    /// Size of `struct user_sve_header` in bytes.
    const HEADER_SIZE: usize = 16;

    fn z(&self) -> usize {
        Self::HEADER_SIZE
    }

    fn p(&self) -> usize {
        self.z() + 32 * self.vl
    }

    fn ffr(&self) -> usize {
        self.p() + 16 * (self.vl / 8)
    }

    fn fpsr(&self) -> usize {
        (self.ffr() + self.vl / 8).next_multiple_of(16)
    }

    fn size(&self) -> usize {
        (self.fpsr() + 8).next_multiple_of(16)
    }
}

/// `user_sve_header.flags`: full SVE registers follow, not FPSIMD registers.
const SVE_PT_REGS_SVE: u16 = 1;

fn sve(order: ByteOrder, r: &Registers, sve: &Sve) -> Vec<u8> {
    let layout = |vl: u16| SveLayout { vl: vl.into() };
    let (now, max) = (layout(sve.vl), layout(sve.max_vl));
    let mut desc = words(order, &[now.size() as u32, max.size() as u32]);
    desc.extend(words(order, &[sve.vl, sve.max_vl, SVE_PT_REGS_SVE, 0]));
    let mut put = |bytes: &[u8], len: usize| {
        let end = desc.len() + len;
        desc.extend_from_slice(&bytes[..bytes.len().min(len)]);
        desc.resize(end, 0);
    };
    sve.z.iter().for_each(|z| put(z, now.vl));
    sve.p.iter().for_each(|p| put(p, now.vl / 8));
    put(&sve.ffr, now.vl / 8);
    desc.resize(now.fpsr(), 0);
    desc.extend(words(order, &[r.fpsr, r.fpcr]));
    desc.resize(now.size(), 0);
    desc
}

/// Decodes an SVE note. It returns `None` if the descriptor is shorter than its
/// vector length requires. It also returns `None` for FPSIMD registers, which
/// Linux writes for a thread that does not use SVE.
fn decode_sve(order: ByteOrder, desc: &[u8]) -> Option<Sve> {
    let (mut sizes, mut halves) = ([0u32; 2], [0u16; 4]);
    let rest = read_words(order, desc, &mut sizes)?;
    read_words(order, rest, &mut halves)?;
    let [vl, max_vl, flags, _] = halves;
    if flags & SVE_PT_REGS_SVE == 0 {
        return None;
    }
    let layout = SveLayout { vl: vl.into() };
    let get = |at: usize, len: usize| desc.get(at..at + len).map(<[u8]>::to_vec);
    let mut sve = Sve {
        vl,
        max_vl,
        ffr: get(layout.ffr(), layout.vl / 8)?,
        ..Sve::default()
    };
    for (i, z) in sve.z.iter_mut().enumerate() {
        *z = get(layout.z() + i * layout.vl, layout.vl)?;
    }
    for (i, p) in sve.p.iter_mut().enumerate() {
        *p = get(layout.p() + i * (layout.vl / 8), layout.vl / 8)?;
    }
    Some(sve)
}

/// Encodes the notes of all CPUs in QEMU's order: CPU by CPU.
fn encode_notes(
    order: ByteOrder,
    cpus: &[&Registers],
    out: &mut Vec<u8>,
) -> Result<(), FieldOverflow> {
    for (index, r) in cpus.iter().enumerate() {
        encode_prstatus_fpvalid(encoding(order), index, &general(order, r), 1, out)?;
        Note {
            name: CORE,
            kind: NT_PRFPREG,
            desc: &fpsimd(order, r),
        }
        .encode(order, out)?;
        if let Some(registers) = &r.sve {
            Note {
                name: LINUX,
                kind: NT_ARM_SVE,
                desc: &sve(order, r, registers),
            }
            .encode(order, out)?;
        }
    }
    Ok(())
}

fn decode_notes(order: ByteOrder, notes: &CpuNotes<'_>) -> Vec<crate::arch::CpuState> {
    let mut fpsimd = notes.all(CORE, NT_PRFPREG);
    let mut sve = notes.all(LINUX, NT_ARM_SVE);
    let statuses = notes.all(CORE, NT_PRSTATUS);
    let cpu = |desc| {
        let mut r = Registers::default();
        decode_general(order, desc, &mut r);
        fpsimd
            .next()
            .and_then(|desc| decode_fpsimd(order, desc, &mut r));
        r.sve = sve.next().and_then(|desc| decode_sve(order, desc));
        r.into()
    };
    statuses.map(cpu).collect()
}

fn decode_general(order: ByteOrder, desc: &[u8], r: &mut Registers) -> Option<()> {
    let (_, bytes) = decode_prstatus(encoding(order), desc, GENERAL_SIZE)?;
    let rest = read_words(order, bytes, &mut r.x)?;
    let mut last = [0; 3];
    read_words(order, rest, &mut last)?;
    [r.sp, r.pc, r.pstate] = last;
    Some(())
}

fn decode_fpsimd(order: ByteOrder, desc: &[u8], r: &mut Registers) -> Option<()> {
    let rest = read_words(order, desc, &mut r.v)?;
    let rest = read_words(order, rest, from_mut(&mut r.fpsr))?;
    read_words(order, rest, from_mut(&mut r.fpcr))?;
    Some(())
}

/// Returns `memstart_addr`, where the linear map begins. makedumpfile and crash
/// expect this address as `phys_base`. VMCOREINFO contains it in hexadecimal; it
/// is "negative" on kernels for 52-bit addresses.
fn phys_base(info: &Vmcoreinfo) -> Option<u64> {
    Some(info.number("PHYS_OFFSET")? as u64)
}

/// Translates an address in the kernel's image. `kimage_voffset` is the image's
/// guest-virtual address minus its guest-physical one.
fn kernel_image_to_physical(vaddr: u64, info: &Vmcoreinfo) -> Option<u64> {
    Some(vaddr.wrapping_sub(info.number("kimage_voffset")? as u64))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::array::from_fn;

    use super::*;
    use crate::arch::{Machine, encode_cpu_notes};
    use crate::elf::note::Notes;

    /// Returns registers that all have different values, so that a mix-up
    /// shows.
    fn registers(vl: u16) -> Registers {
        let bytes =
            |first: usize, len: u16| (0..len).map(move |i| (first + 3 * usize::from(i)) as u8);
        Registers {
            x: from_fn(|i| 0x1111_2222_3333_4400 + i as u64),
            sp: 0xffff_8000_1234_5670,
            pc: 0xffff_8000_0801_0000,
            pstate: 0x6000_03c5,
            v: from_fn(|i| ((0xaaaa_0000 + i as u128) << 96) | (0xbbbb_0000 + i as u128)),
            fpsr: 0x0800_0010,
            fpcr: 0x0300_0000,
            sve: (vl > 0).then(|| Sve {
                vl,
                max_vl: 256,
                z: from_fn(|i| bytes(i, vl).collect()),
                p: from_fn(|i| bytes(100 + i, vl / 8).collect()),
                ffr: bytes(200, vl / 8).collect(),
            }),
            // The notes do not contain these.
            ttbr0: 0,
            ttbr1: 0,
            tcr: 0,
        }
    }

    fn encoded(machine: Machine, cpus: &[Registers]) -> Vec<u8> {
        let cpus: Vec<_> = cpus.iter().cloned().map(Into::into).collect();
        let mut bytes = Vec::new();
        encode_cpu_notes(machine, &cpus, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn notes_come_back_in_both_byte_orders() {
        for machine in [Machine::Aarch64, Machine::Aarch64Be] {
            for vl in [0, 16, 64, 256] {
                let cpus = [
                    registers(vl),
                    Registers {
                        pc: 7,
                        ..registers(vl)
                    },
                ];
                let bytes = encoded(machine, &cpus);
                let notes = Notes::new(&bytes, machine.encoding().order);
                assert_eq!(machine.decode_notes(notes), cpus.map(Into::into));
            }
        }
    }

    #[test]
    fn notes_come_in_qemus_order_and_sizes() {
        let bytes = encoded(Machine::Aarch64, &[registers(64), registers(0)]);
        let notes = Notes::new(&bytes, ByteOrder::Little).flatten();
        let shape: Vec<_> = notes.map(|(_, n)| (n.name, n.kind, n.desc.len())).collect();
        assert_eq!(
            shape,
            [
                (CORE, 1, 392),
                (CORE, 2, 528),
                (LINUX, 0x405, 2224),
                (CORE, 1, 392),
                (CORE, 2, 528)
            ]
        );
    }

    #[test]
    fn encoded_notes_have_the_kernels_bytes_and_offsets() {
        let bytes = encoded(Machine::Aarch64, &[registers(64)]);
        let notes: Vec<_> = Notes::new(&bytes, ByteOrder::Little).flatten().collect();
        let status = notes[0].1.desc;
        assert_eq!(status[32..36], [1, 0, 0, 0]);
        assert_eq!(status[112..114], [0x00, 0x44]);
        assert_eq!(status[112 + 30 * 8..][..2], [0x1e, 0x44]);
        assert_eq!(status[112 + 32 * 8..][..4], [0, 0, 1, 8]); // pc
        assert_eq!(status[384..388], [1, 0, 0, 0]); // pr_fpvalid
        let fpsimd = notes[1].1.desc;
        assert_eq!(fpsimd[16..20], [1, 0, 0xbb, 0xbb]);
        assert_eq!(fpsimd[28..32], [1, 0, 0xaa, 0xaa]);
        assert_eq!(fpsimd[512..520], [0x10, 0, 0, 8, 0, 0, 0, 3]);
        // 2224 and 8768 are the sizes in a note of QEMU 10.0.2, for vectors of
        // 64 bytes of at most 256.
        let sve = notes[2].1.desc;
        assert_eq!(
            sve[..16],
            [0xb0, 8, 0, 0, 0x40, 0x22, 0, 0, 64, 0, 0, 1, 1, 0, 0, 0]
        );
        assert_eq!(sve[16 + 64..][..2], [1, 4]); // z1
        assert_eq!(sve[16 + 32 * 64 + 8..][..2], [101, 104]); // p1
        assert_eq!(sve[16 + 32 * 64 + 16 * 8], 200); // ffr
        assert_eq!(sve[2208..2216], [0x10, 0, 0, 8, 0, 0, 0, 3]);
    }

    #[test]
    fn big_endian_notes_have_scalable_vectors_little_endian() {
        let bytes = encoded(Machine::Aarch64Be, &[registers(64)]);
        let notes: Vec<_> = Notes::new(&bytes, ByteOrder::Big).flatten().collect();
        assert_eq!(notes[0].1.desc[112..116], [0x11, 0x11, 0x22, 0x22]);
        assert_eq!(notes[1].1.desc[16..20], [0xaa, 0xaa, 0, 1]);
        assert_eq!(notes[2].1.desc[8..16], [0, 64, 1, 0, 0, 1, 0, 0]);
        assert_eq!(notes[2].1.desc[16 + 64..][..2], [1, 4]);
    }

    #[test]
    fn sve_notes_that_lie_are_no_sve_registers() {
        let mut desc = sve(
            ByteOrder::Little,
            &registers(64),
            &registers(64).sve.unwrap(),
        );
        assert!(decode_sve(ByteOrder::Little, &desc).is_some());
        assert!(decode_sve(ByteOrder::Little, &desc[..2000]).is_none());
        desc[9] = 0xff; // vl
        assert!(decode_sve(ByteOrder::Little, &desc).is_none());
        desc[9] = 0;
        desc[12] = 0; // flags
        assert!(decode_sve(ByteOrder::Little, &desc).is_none());
    }

    #[test]
    fn vectors_of_other_lengths_are_cut_and_filled() {
        let mut short = registers(16);
        let wide = short.sve.as_mut().unwrap();
        wide.z[0] = vec![9; 40];
        wide.z[1] = vec![8];
        let bytes = encoded(Machine::Aarch64, &[short]);
        let notes = Notes::new(&bytes, ByteOrder::Little);
        let sve = notes.flatten().nth(2).unwrap().1.desc;
        assert_eq!(sve[16..32], [9; 16]);
        assert_eq!(sve[32..34], [8, 0]);
        assert_eq!(sve[48], 2);
    }

    #[test]
    fn kernel_addresses_are_translated_by_vmcoreinfo() {
        // Values of Debian's 6.1 kernel for arm64 with KASLR.
        let text = "OSRELEASE=6.1.0-56-cloud-arm64\n\
            NUMBER(kimage_voffset)=0xffffb1c7c6200000\n\
            NUMBER(PHYS_OFFSET)=0x40000000\n";
        let info = Vmcoreinfo::parse(text.as_bytes()).unwrap();
        assert_eq!(phys_base(&info), Some(0x4000_0000));
        let init_uts_ns = kernel_image_to_physical(0xffff_b1c8_07dc_0840, &info);
        assert_eq!(init_uts_ns, Some(0x41bc_0840));
        let info = Vmcoreinfo::parse(b"OSRELEASE=4.0\n").unwrap();
        assert_eq!(phys_base(&info), None);
        assert_eq!(kernel_image_to_physical(0xffff_0000_0000_0000, &info), None);
    }
}

//! ppc64 in both byte orders: registers, the five notes that QEMU writes for
//! them, kernel addresses.
//!
//! Sources:
//!
//! - Registers: `struct pt_regs` of Linux
//!   `arch/powerpc/include/uapi/asm/ptrace.h` and the register sets of
//!   `arch/powerpc/include/uapi/asm/elf.h` (`ELF_NGREG` is 48).
//! - Notes and their order: QEMU `target/ppc/arch_dump.c`. The name of all
//!   notes is `CORE`.
//! - `e_machine`: elf.h.
#![forbid(unsafe_code)]

use std::slice::from_mut;

use crate::abi::{ByteOrder, Class, Encoding, FieldOverflow, U64Align};
use crate::arch::json::json_struct;
use crate::arch::prstatus::{
    CpuNotes, decode_prstatus, encode_prstatus, prstatus_size, read_words, words,
};
use crate::arch::{Architecture, DirectMapping};
use crate::elf::note::{CORE, NT_PRFPREG, NT_PRSTATUS, Note};

/// `e_machine` of 64-bit PowerPC in ELF files.
pub const EM_PPC64: u16 = 21;

/// Whether `e_flags` have the version of the ABI of function calls, which is 1 for kernels of
/// big-endian ppc64.
///
/// Source: Linux `arch/powerpc/kernel/fadump.c`, `fadump_init_elfcore_header`.
pub(crate) fn has_abi_in_flags(elf_machine: u16, order: ByteOrder) -> bool {
    elf_machine == EM_PPC64 && order == ByteOrder::Big
}

/// `NT_PPC_VMX`: the vector registers.
pub const NT_PPC_VMX: u32 = 0x100;
/// `NT_PPC_SPE`: the signal processing engine's registers.
pub const NT_PPC_SPE: u32 = 0x101;
/// `NT_PPC_VSX`: the low halves of the first 32 vector-scalar registers.
pub const NT_PPC_VSX: u32 = 0x102;

const fn encoding(order: ByteOrder) -> Encoding {
    Encoding {
        class: Class::Bits64,
        order,
    }
}

/// Size of the registers in `NT_PRSTATUS`, in bytes: `ELF_NGREG` words, of
/// which 44 are registers and the last 4 are 0.
const GENERAL_SIZE: usize = 48 * 8;

const BIG: Architecture = Architecture {
    name: "ppc64",
    uname: "ppc64",
    aliases: &["powerpc64"],
    encoding: encoding(ByteOrder::Big),
    u64_align: U64Align::Eight,
    elf_machine: EM_PPC64,
    page_sizes: &[64 << 10, 4 << 10],
    prstatus_size: prstatus_size(Class::Bits64, GENERAL_SIZE),
    frames_from_phys_base: false,
    // The linear map begins at address 0.
    phys_base: |_| Some(0),
    kernel_image_to_physical: |vaddr, _| kernel_image_to_physical(vaddr),
    // drgn finds the page tables through the direct mapping.
    direct_mapping: |_| {
        Some(DirectMapping {
            vaddr: PAGE_OFFSET,
            start: 0,
            end: PAGE_OFFSET,
        })
    },
    encode_notes: |cpus, out| encode_notes(ByteOrder::Big, &Registers::of(cpus), out),
    decode_notes: |notes| decode_notes(ByteOrder::Big, notes),
};

pub(super) static ARCHITECTURE: Architecture = BIG;

pub(super) static LITTLE_ENDIAN: Architecture = Architecture {
    name: "ppc64le",
    uname: "ppc64le",
    aliases: &["ppc64el", "powerpc64le"],
    encoding: encoding(ByteOrder::Little),
    encode_notes: |cpus, out| encode_notes(ByteOrder::Little, &Registers::of(cpus), out),
    decode_notes: |notes| decode_notes(ByteOrder::Little, notes),
    ..BIG
};

json_struct! {
    /// A virtual CPU's registers. All default to 0.
    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    pub struct Registers {
        /// r0 to r31. r1 is the stack pointer.
        pub gpr: [u64; 32],
        /// Guest-virtual address of the next instruction.
        pub nip: u64,
        /// The machine state register.
        pub msr: u64,
        /// r3 at the entry of a system call. QEMU's dumps have 0 here and in
        /// the fields from [`softe`](Self::softe) to [`result`](Self::result).
        pub orig_gpr3: u64,
        /// The count register.
        pub ctr: u64,
        /// The link register.
        pub link: u64,
        /// The fixed-point exception register.
        pub xer: u64,
        /// The condition register. Field 0 is in the highest of the low 32
        /// bits.
        pub ccr: u64,
        /// Whether interrupts are enabled in software. This is Linux's own
        /// value.
        pub softe: u64,
        /// The number of the exception. This is Linux's own value.
        pub trap: u64,
        /// The data address register.
        pub dar: u64,
        /// The data storage interrupt status register.
        pub dsisr: u64,
        /// The result of a system call. This is Linux's own value.
        pub result: u64,
        /// f0 to f31, the high halves of the first 32 vector-scalar registers.
        pub fpr: [u64; 32],
        /// The floating-point status and control register.
        pub fpscr: u64,
        /// v0 to v31.
        pub vr: [u128; 32],
        /// The vector status and control register.
        pub vscr: u32,
        /// The vector save register.
        pub vrsave: u32,
        /// The low halves of the first 32 vector-scalar registers.
        pub vsr_low: [u64; 32],
        /// The high halves of the general registers, on a CPU with the signal
        /// processing engine.
        pub evr: [u32; 32],
        /// The signal processing engine's accumulator.
        pub spe_acc: u64,
        /// The signal processing engine's status and control register.
        pub spefscr: u32,
    }
}

impl Registers {
    pub(super) fn program_counter(&self) -> u64 {
        self.nip
    }

    pub(super) fn stack_pointer(&self) -> u64 {
        self.gpr[1]
    }

    /// Returns `None`: the hypervisor knows the page tables, no register does.
    pub(super) fn page_table_root(&self) -> Option<u64> {
        None
    }

    /// Returns the registers that follow the general ones in `NT_PRSTATUS`, in
    /// order.
    fn special(&mut self) -> [&mut u64; 12] {
        [
            &mut self.nip,
            &mut self.msr,
            &mut self.orig_gpr3,
            &mut self.ctr,
            &mut self.link,
            &mut self.xer,
            &mut self.ccr,
            &mut self.softe,
            &mut self.trap,
            &mut self.dar,
            &mut self.dsisr,
            &mut self.result,
        ]
    }
}

/// Encodes `elf_gregset_t`.
fn general(order: ByteOrder, r: &Registers) -> Vec<u8> {
    let mut bytes = words(order, &r.gpr);
    bytes.extend(words(order, &r.clone().special().map(|special| *special)));
    bytes.resize(GENERAL_SIZE, 0);
    bytes
}

/// Encodes `elf_fpregset_t`.
fn floating(order: ByteOrder, r: &Registers) -> Vec<u8> {
    let mut bytes = words(order, &r.fpr);
    bytes.extend(words(order, &[r.fpscr]));
    bytes
}

/// Encodes `elf_vrregset_t`. In both byte orders, as in QEMU's notes, vscr is
/// the last word of its 16 bytes and vrsave the first word of its own.
fn vmx(order: ByteOrder, r: &Registers) -> Vec<u8> {
    let mut bytes = words(order, &r.vr);
    bytes.extend(words(order, &[0, 0, 0, r.vscr, r.vrsave, 0, 0, 0]));
    bytes
}

/// Encodes `elf_evrregset_t`, then the status and control register.
fn spe(order: ByteOrder, r: &Registers) -> Vec<u8> {
    let mut bytes = words(order, &r.evr);
    bytes.extend(words(order, &[r.spe_acc]));
    bytes.extend(words(order, &[r.spefscr]));
    bytes
}

/// Encodes the notes of all CPUs in QEMU's order: CPU by CPU.
fn encode_notes(
    order: ByteOrder,
    cpus: &[&Registers],
    out: &mut Vec<u8>,
) -> Result<(), FieldOverflow> {
    for (index, r) in cpus.iter().enumerate() {
        encode_prstatus(encoding(order), index, &general(order, r), out)?;
        for (kind, desc) in [
            (NT_PRFPREG, floating(order, r)),
            (NT_PPC_VMX, vmx(order, r)),
            (NT_PPC_VSX, words(order, &r.vsr_low)),
            (NT_PPC_SPE, spe(order, r)),
        ] {
            Note {
                name: CORE,
                kind,
                desc: &desc,
            }
            .encode(order, out)?;
        }
    }
    Ok(())
}

fn decode_notes(order: ByteOrder, notes: &CpuNotes<'_>) -> Vec<crate::arch::CpuState> {
    let of_kind = |kind| notes.all(CORE, kind);
    let (mut floating, mut vmx) = (of_kind(NT_PRFPREG), of_kind(NT_PPC_VMX));
    let (mut vsx, mut spe) = (of_kind(NT_PPC_VSX), of_kind(NT_PPC_SPE));
    let cpu = |desc| {
        let mut r = Registers::default();
        decode_general(order, desc, &mut r);
        floating
            .next()
            .and_then(|desc| decode_floating(order, desc, &mut r));
        vmx.next().and_then(|desc| decode_vmx(order, desc, &mut r));
        vsx.next()
            .and_then(|desc| read_words(order, desc, &mut r.vsr_low));
        spe.next().and_then(|desc| decode_spe(order, desc, &mut r));
        r.into()
    };
    of_kind(NT_PRSTATUS).map(cpu).collect()
}

fn decode_general(order: ByteOrder, desc: &[u8], r: &mut Registers) -> Option<()> {
    let (_, bytes) = decode_prstatus(encoding(order), desc, GENERAL_SIZE)?;
    let mut rest = read_words(order, bytes, &mut r.gpr)?;
    for special in r.special() {
        rest = read_words(order, rest, from_mut(special))?;
    }
    Some(())
}

fn decode_floating(order: ByteOrder, desc: &[u8], r: &mut Registers) -> Option<()> {
    let rest = read_words(order, desc, &mut r.fpr)?;
    read_words(order, rest, from_mut(&mut r.fpscr))?;
    Some(())
}

fn decode_vmx(order: ByteOrder, desc: &[u8], r: &mut Registers) -> Option<()> {
    let rest = read_words(order, desc, &mut r.vr)?;
    let mut control = [0; 8];
    read_words(order, rest, &mut control)?;
    (r.vscr, r.vrsave) = (control[3], control[4]);
    Some(())
}

fn decode_spe(order: ByteOrder, desc: &[u8], r: &mut Registers) -> Option<()> {
    let rest = read_words(order, desc, &mut r.evr)?;
    let rest = read_words(order, rest, from_mut(&mut r.spe_acc))?;
    read_words(order, rest, from_mut(&mut r.spefscr))?;
    Some(())
}

/// Guest-virtual address at which the linear map begins: `PAGE_OFFSET` of Linux
/// `arch/powerpc/include/asm/page.h` (`CONFIG_PAGE_OFFSET`). The image lies in
/// the linear map.
const PAGE_OFFSET: u64 = 0xc000_0000_0000_0000;

fn kernel_image_to_physical(vaddr: u64) -> Option<u64> {
    vaddr.checked_sub(PAGE_OFFSET)
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
    fn registers() -> Registers {
        let mut r = Registers {
            gpr: from_fn(|i| 0xc000_0000_0000_1100 + i as u64),
            fpr: from_fn(|i| 0x4000_0000_0000_2200 + i as u64),
            fpscr: 0x8200_4000,
            vr: from_fn(|i| ((0xaaaa_0000 + i as u128) << 96) | (0xbbbb_0000 + i as u128)),
            vscr: 0x0001_0000,
            vrsave: 0xff,
            vsr_low: from_fn(|i| 0x5000_0000_0000_3300 + i as u64),
            evr: from_fn(|i| 0x6000_4400 + i as u32),
            spe_acc: 0x7000_0000_0000_5500,
            spefscr: 0x66,
            ..Registers::default()
        };
        for (special, value) in r.special().into_iter().zip(0x9000_0000_0000_0001..) {
            *special = value;
        }
        r
    }

    fn encoded(machine: Machine) -> (Registers, Vec<u8>) {
        let cpus = [registers().into(), Registers::default().into()];
        let mut bytes = Vec::new();
        encode_cpu_notes(machine, &cpus, &mut bytes).unwrap();
        let order = machine.encoding().order;
        assert_eq!(machine.decode_notes(Notes::new(&bytes, order)), cpus);
        (registers(), bytes)
    }

    #[test]
    fn notes_come_in_qemus_order_and_sizes() {
        for machine in [Machine::Ppc64, Machine::Ppc64le] {
            let (_, bytes) = encoded(machine);
            let notes = Notes::new(&bytes, machine.encoding().order).flatten();
            let shape: Vec<_> = notes.map(|(_, n)| (n.name, n.kind, n.desc.len())).collect();
            let cpu = [(1, 504), (2, 264), (0x100, 544), (0x102, 256), (0x101, 140)];
            let expected = [cpu, cpu].concat();
            assert_eq!(
                shape,
                expected
                    .iter()
                    .map(|&(k, n)| (CORE, k, n))
                    .collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn big_endian_notes_have_the_kernels_bytes_and_offsets() {
        let (_, bytes) = encoded(Machine::Ppc64);
        let notes = Notes::new(&bytes, ByteOrder::Big).flatten();
        let notes: Vec<_> = notes.map(|(_, note)| note.desc).collect();
        assert_eq!(notes[0][32..36], [0, 0, 0, 1]);
        assert_eq!(notes[0][112 + 8..][..8], [0xc0, 0, 0, 0, 0, 0, 0x11, 1]);
        assert_eq!(notes[0][112 + 32 * 8..][..8], [0x90, 0, 0, 0, 0, 0, 0, 1]); // nip
        assert_eq!(notes[0][112 + 44 * 8..], [0; 40]);
        assert_eq!(notes[1][256..264], [0, 0, 0, 0, 0x82, 0, 0x40, 0]);
        assert_eq!(notes[2][16..20], [0xaa, 0xaa, 0, 1]);
        assert_eq!(notes[2][512 + 12..][..8], [0, 1, 0, 0, 0, 0, 0, 0xff]);
        assert_eq!(notes[3][8..16], [0x50, 0, 0, 0, 0, 0, 0x33, 1]);
        assert_eq!(
            notes[4][128..],
            [0x70, 0, 0, 0, 0, 0, 0x55, 0, 0, 0, 0, 0x66]
        );
    }

    #[test]
    fn little_endian_notes_have_the_kernels_bytes_and_offsets() {
        let (_, bytes) = encoded(Machine::Ppc64le);
        let notes = Notes::new(&bytes, ByteOrder::Little).flatten();
        let notes: Vec<_> = notes.map(|(_, note)| note.desc).collect();
        assert_eq!(notes[0][32..36], [1, 0, 0, 0]);
        assert_eq!(notes[0][112 + 8..][..8], [1, 0x11, 0, 0, 0, 0, 0, 0xc0]);
        assert_eq!(notes[2][16..20], [1, 0, 0xbb, 0xbb]);
        assert_eq!(notes[2][512 + 12..][..8], [0, 0, 1, 0, 0xff, 0, 0, 0]);
    }

    #[test]
    fn the_linear_map_begins_at_address_0() {
        assert_eq!(
            kernel_image_to_physical(0xc000_0000_026a_b1c0),
            Some(0x026a_b1c0)
        );
        assert_eq!(kernel_image_to_physical(0x1000), None);
    }
}

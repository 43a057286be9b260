//! s390x: registers, the notes that QEMU writes for them, kernel addresses.
//!
//! Sources:
//!
//! - Registers: `s390_regs` and `s390_fp_regs` of Linux
//!   `arch/s390/include/uapi/asm/ptrace.h`, the `NT_S390_*` of
//!   `include/uapi/linux/elf.h`.
//! - Notes and their order: QEMU `target/s390x/arch_dump.c`.
//! - `e_machine`: elf.h.
//! - VMCOREINFO: Linux `arch/s390/kernel/vmcore_info.c`.
#![forbid(unsafe_code)]

use std::slice::from_mut;

use crate::abi::integers::Integer;
use crate::abi::{ByteOrder, Class, Encoding, FieldOverflow, U64Align};
use crate::arch::Architecture;
use crate::arch::json::json_struct;
use crate::arch::prstatus::{
    CpuNotes, decode_prstatus, encode_prstatus, prstatus_size, read_words, words,
};
use crate::elf::note::{CORE, LINUX, NT_PRFPREG, NT_PRSTATUS, Note};
use crate::vmcoreinfo::Vmcoreinfo;

/// `e_machine` of s390x in ELF files.
pub const EM_S390: u16 = 22;

/// `NT_S390_TIMER`: the CPU timer.
pub const NT_S390_TIMER: u32 = 0x301;
/// `NT_S390_TODCMP`: the clock comparator.
pub const NT_S390_TODCMP: u32 = 0x302;
/// `NT_S390_TODPREG`: the TOD programmable register.
pub const NT_S390_TODPREG: u32 = 0x303;
/// `NT_S390_CTRS`: the control registers.
pub const NT_S390_CTRS: u32 = 0x304;
/// `NT_S390_PREFIX`: the prefix register.
pub const NT_S390_PREFIX: u32 = 0x305;
/// `NT_S390_VXRS_LOW`: the low halves of vector registers 0 to 15.
pub const NT_S390_VXRS_LOW: u32 = 0x309;
/// `NT_S390_VXRS_HIGH`: vector registers 16 to 31.
pub const NT_S390_VXRS_HIGH: u32 = 0x30a;
/// `NT_S390_GS_CB`: the guarded storage control block.
pub const NT_S390_GS_CB: u32 = 0x30b;
/// `NT_S390_PV_CPU_DATA`: the encrypted state of a CPU of a protected guest.
pub const NT_S390_PV_CPU_DATA: u32 = 0x30e;

const ORDER: ByteOrder = ByteOrder::Big;
const ENCODING: Encoding = Encoding {
    class: Class::Bits64,
    order: ORDER,
};

/// Size of the registers in `NT_PRSTATUS`, in bytes: psw (2 words), 16 general
/// registers, 16 access registers (4 bytes each), orig_gpr2.
const GENERAL_SIZE: usize = 2 * 8 + 16 * 8 + 16 * 4 + 8;

pub(super) static ARCHITECTURE: Architecture = Architecture {
    name: "s390x",
    uname: "s390x",
    aliases: &[],
    encoding: ENCODING,
    u64_align: U64Align::Eight,
    elf_machine: EM_S390,
    page_sizes: &[4 << 10],
    prstatus_size: prstatus_size(ENCODING.class, GENERAL_SIZE),
    frames_from_phys_base: false,
    phys_base: |_| Some(0),
    kernel_image_to_physical,
    direct_mapping: |_| None,
    encode_notes: |cpus, out| encode_notes(&Registers::of(cpus), out),
    decode_notes,
};

json_struct! {
    /// A virtual CPU's registers. All default to 0.
    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    pub struct Registers {
        /// The mask, which is one half of the program status word.
        pub psw_mask: u64,
        /// Guest-virtual address of the next instruction, which is the other
        /// half of the program status word.
        pub psw_addr: u64,
        /// General registers 0 to 15. Register 15 is the stack pointer.
        pub gprs: [u64; 16],
        /// Access registers 0 to 15.
        pub acrs: [u32; 16],
        /// General register 2 at the entry of a system call. It is 0 in QEMU's
        /// dumps.
        pub orig_gpr2: u64,
        /// The floating-point control register.
        pub fpc: u32,
        /// Floating-point registers 0 to 15, the high halves of the vector
        /// registers 0 to 15.
        pub fprs: [u64; 16],
        /// The prefix register: guest-physical address of the CPU's low core.
        pub prefix: u32,
        /// Control registers 0 to 15.
        pub ctrs: [u64; 16],
        /// The CPU timer, in 2⁻¹² microseconds. It is signed and counts down.
        pub timer: u64,
        /// The clock comparator, in 2⁻¹² microseconds since 1900.
        pub todcmp: u64,
        /// The TOD programmable register.
        pub todpreg: u32,
        /// The low halves of vector registers 0 to 15.
        pub vxrs_low: [u64; 16],
        /// Vector registers 16 to 31.
        pub vxrs_high: [u128; 16],
        /// The guarded storage control block: a reserved word, designation,
        /// section mask, address of the parameter list.
        pub gs_cb: [u64; 4],
        /// The bytes that KVM's `KVM_PV_DUMP_CPU` returns for a CPU of a
        /// protected guest, unchanged. See also
        /// [`ElfOptions::sections`](crate::ElfOptions::sections).
        pub pv_cpu_data: Option<Vec<u8>>,
    }
}

impl Registers {
    pub(super) fn program_counter(&self) -> u64 {
        self.psw_addr
    }

    pub(super) fn stack_pointer(&self) -> u64 {
        self.gprs[15]
    }

    /// Returns the primary address-space-control element, in control register
    /// 1.
    pub(super) fn page_table_root(&self) -> Option<u64> {
        (self.ctrs[1] != 0).then_some(self.ctrs[1])
    }
}

/// Encodes `s390_regs`.
fn general(r: &Registers) -> Vec<u8> {
    let mut bytes = words(ORDER, &[r.psw_mask, r.psw_addr]);
    bytes.extend(words(ORDER, &r.gprs));
    bytes.extend(words(ORDER, &r.acrs));
    bytes.extend(words(ORDER, &[r.orig_gpr2]));
    bytes
}

/// Encodes `s390_fp_regs`.
fn floating(r: &Registers) -> Vec<u8> {
    let mut bytes = words(ORDER, &[r.fpc, 0]);
    bytes.extend(words(ORDER, &r.fprs));
    bytes
}

/// Encodes the notes of all CPUs in QEMU's order: CPU by CPU.
fn encode_notes(cpus: &[&Registers], out: &mut Vec<u8>) -> Result<(), FieldOverflow> {
    for (index, r) in cpus.iter().enumerate() {
        encode_prstatus(ENCODING, index, &general(r), out)?;
        for (name, kind, desc) in [
            (CORE, NT_PRFPREG, floating(r)),
            (LINUX, NT_S390_PREFIX, words(ORDER, &[r.prefix])),
            (LINUX, NT_S390_CTRS, words(ORDER, &r.ctrs)),
            (LINUX, NT_S390_TIMER, words(ORDER, &[r.timer])),
            (LINUX, NT_S390_TODCMP, words(ORDER, &[r.todcmp])),
            (LINUX, NT_S390_TODPREG, words(ORDER, &[r.todpreg])),
            (LINUX, NT_S390_VXRS_LOW, words(ORDER, &r.vxrs_low)),
            (LINUX, NT_S390_VXRS_HIGH, words(ORDER, &r.vxrs_high)),
            (LINUX, NT_S390_GS_CB, words(ORDER, &r.gs_cb)),
        ] {
            Note {
                name,
                kind,
                desc: &desc,
            }
            .encode(ORDER, out)?;
        }
        if let Some(data) = &r.pv_cpu_data {
            Note {
                name: LINUX,
                kind: NT_S390_PV_CPU_DATA,
                desc: data,
            }
            .encode(ORDER, out)?;
        }
    }
    Ok(())
}

fn decode_notes(notes: &CpuNotes<'_>) -> Vec<crate::arch::CpuState> {
    let linux = |kind| notes.all(LINUX, kind);
    let mut floating = notes.all(CORE, NT_PRFPREG);
    let (mut prefix, mut ctrs) = (linux(NT_S390_PREFIX), linux(NT_S390_CTRS));
    let (mut timer, mut todcmp) = (linux(NT_S390_TIMER), linux(NT_S390_TODCMP));
    let (mut todpreg, mut gs_cb) = (linux(NT_S390_TODPREG), linux(NT_S390_GS_CB));
    let mut pv = linux(NT_S390_PV_CPU_DATA);
    let (mut low, mut high) = (linux(NT_S390_VXRS_LOW), linux(NT_S390_VXRS_HIGH));
    let cpu = |desc| {
        let mut r = Registers::default();
        decode_general(desc, &mut r);
        floating.next().and_then(|d| decode_floating(d, &mut r));
        read(prefix.next(), from_mut(&mut r.prefix));
        read(ctrs.next(), &mut r.ctrs);
        read(timer.next(), from_mut(&mut r.timer));
        read(todcmp.next(), from_mut(&mut r.todcmp));
        read(todpreg.next(), from_mut(&mut r.todpreg));
        read(low.next(), &mut r.vxrs_low);
        read(high.next(), &mut r.vxrs_high);
        read(gs_cb.next(), &mut r.gs_cb);
        r.pv_cpu_data = pv.next().map(<[u8]>::to_vec);
        r.into()
    };
    notes.all(CORE, NT_PRSTATUS).map(cpu).collect()
}

/// Reads a register set of consecutive words, if there is a note with it.
fn read<W: Integer>(desc: Option<&[u8]>, registers: &mut [W]) {
    desc.and_then(|desc| read_words(ORDER, desc, registers));
}

fn decode_general(desc: &[u8], r: &mut Registers) -> Option<()> {
    let (_, bytes) = decode_prstatus(ENCODING, desc, GENERAL_SIZE)?;
    let rest = read_words(ORDER, bytes, from_mut(&mut r.psw_mask))?;
    let rest = read_words(ORDER, rest, from_mut(&mut r.psw_addr))?;
    let rest = read_words(ORDER, rest, &mut r.gprs)?;
    let rest = read_words(ORDER, rest, &mut r.acrs)?;
    read_words(ORDER, rest, from_mut(&mut r.orig_gpr2))?;
    Some(())
}

fn decode_floating(desc: &[u8], r: &mut Registers) -> Option<()> {
    let mut control = [0; 2];
    let rest = read_words(ORDER, desc, &mut control)?;
    r.fpc = control[0];
    read_words(ORDER, rest, &mut r.fprs)?;
    Some(())
}

/// Translates an address in the kernel's image.
///
/// Newer kernels have the image at `KERNELOFFSET` (guest-virtual) and
/// `KERNELOFFPHYS` (guest-physical). In older kernels both addresses of the
/// image are equal. crash also takes a `KERNELOFFSET` of 0 for such a kernel.
fn kernel_image_to_physical(vaddr: u64, info: &Vmcoreinfo) -> Option<u64> {
    match (info.kernel_offset(), info.kernel_offset_phys()) {
        (Some(start @ 1..), Some(physical)) => vaddr.checked_sub(start)?.checked_add(physical),
        _ => Some(vaddr),
    }
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
        Registers {
            psw_mask: 0x0706_0001_8000_0000,
            psw_addr: 0x0000_0000_0098_1234,
            gprs: from_fn(|i| 0x1000_0000_0000_1100 + i as u64),
            acrs: from_fn(|i| 0x2000_2200 + i as u32),
            orig_gpr2: 0x33,
            fpc: 0x0008_0000,
            fprs: from_fn(|i| 0x4000_0000_0000_4400 + i as u64),
            prefix: 0x0199_e000,
            ctrs: from_fn(|i| 0x5000_0000_0000_5500 + i as u64),
            timer: 0x1f40_0001_64e9_db17,
            todcmp: 0xe39d_4c4e_43cc_5c5e,
            todpreg: 7,
            vxrs_low: from_fn(|i| 0x6000_0000_0000_6600 + i as u64),
            vxrs_high: from_fn(|i| ((0xaaaa_0000 + i as u128) << 96) | (0xbbbb_0000 + i as u128)),
            gs_cb: from_fn(|i| 0x7000_0000_0000_7700 + i as u64),
            pv_cpu_data: None,
        }
    }

    #[test]
    fn notes_come_back_in_qemus_order_and_sizes() {
        let cpus = [registers().into(), Registers::default().into()];
        let mut bytes = Vec::new();
        encode_cpu_notes(Machine::S390x, &cpus, &mut bytes).unwrap();
        let notes = Notes::new(&bytes, ORDER);
        assert_eq!(Machine::S390x.decode_notes(notes.clone()), cpus);
        let shape: Vec<_> = notes
            .flatten()
            .map(|(_, n)| (n.name, n.kind, n.desc.len()))
            .collect();
        let cpu = [
            (CORE, 1, 336),
            (CORE, 2, 136),
            (LINUX, 0x305, 4),
            (LINUX, 0x304, 128),
            (LINUX, 0x301, 8),
            (LINUX, 0x302, 8),
            (LINUX, 0x303, 4),
            (LINUX, 0x309, 128),
            (LINUX, 0x30a, 256),
            (LINUX, 0x30b, 32),
        ];
        assert_eq!(shape, [cpu, cpu].concat());
    }

    #[test]
    fn a_cpu_of_a_protected_guest_has_one_more_note() {
        let cpu = Registers {
            pv_cpu_data: Some(vec![1, 2, 3, 4, 5]),
            ..registers()
        };
        let cpus = [cpu.clone().into(), cpu.into()];
        let mut bytes = Vec::new();
        encode_cpu_notes(Machine::S390x, &cpus, &mut bytes).unwrap();
        let notes = Notes::new(&bytes, ORDER);
        assert_eq!(Machine::S390x.decode_notes(notes.clone()), cpus);
        let notes: Vec<_> = notes.flatten().map(|(_, note)| note).collect();
        assert!(notes[10].is(LINUX, 0x30e));
        assert_eq!(notes[10].desc, [1, 2, 3, 4, 5]);
        assert!(notes[11].is(CORE, 1));
    }

    #[test]
    fn encoded_notes_have_the_kernels_bytes_and_offsets() {
        let mut bytes = Vec::new();
        encode_cpu_notes(Machine::S390x, &[registers().into()], &mut bytes).unwrap();
        let notes = Notes::new(&bytes, ORDER).flatten();
        let notes: Vec<_> = notes.map(|(_, note)| note.desc).collect();
        assert_eq!(notes[0][32..36], [0, 0, 0, 1]);
        assert_eq!(notes[0][112..120], [7, 6, 0, 1, 0x80, 0, 0, 0]);
        assert_eq!(notes[0][120..128], [0, 0, 0, 0, 0, 0x98, 0x12, 0x34]);
        assert_eq!(notes[0][136..144], [0x10, 0, 0, 0, 0, 0, 0x11, 1]);
        assert_eq!(notes[0][260..264], [0x20, 0, 0x22, 1]);
        assert_eq!(notes[0][327], 0x33);
        assert_eq!(
            notes[1][..16],
            [0, 8, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0x44, 0]
        );
        assert_eq!(notes[2], [1, 0x99, 0xe0, 0]);
        assert_eq!(notes[3][8..16], [0x50, 0, 0, 0, 0, 0, 0x55, 1]);
        assert_eq!(notes[4], [0x1f, 0x40, 0, 1, 0x64, 0xe9, 0xdb, 0x17]);
        assert_eq!(notes[5][..2], [0xe3, 0x9d]);
        assert_eq!(notes[6], [0, 0, 0, 7]);
        assert_eq!(notes[7][15], 1);
        assert_eq!(notes[8][16..20], [0xaa, 0xaa, 0, 1]);
        assert_eq!(notes[8][28..32], [0xbb, 0xbb, 0, 1]);
        assert_eq!(notes[9][24..32], [0x70, 0, 0, 0, 0, 0, 0x77, 3]);
    }

    #[test]
    fn addresses_of_kernels_with_and_without_a_separate_mapping_are_translated() {
        let physical = |text: &str, vaddr| {
            kernel_image_to_physical(vaddr, &Vmcoreinfo::parse(text.as_bytes()).unwrap())
        };
        let old = "OSRELEASE=6.1\nKERNELOFFSET=1000000\n";
        assert_eq!(physical(old, 0x1ef_4898), Some(0x1ef_4898));
        let not_moved = "OSRELEASE=6.12\nKERNELOFFSET=0\nKERNELOFFPHYS=1000\n";
        assert_eq!(physical(not_moved, 0x1ef_4898), Some(0x1ef_4898));
        let new =
            "OSRELEASE=6.12\nIDENTITYBASE=0\nKERNELOFFSET=3ffe0000000\nKERNELOFFPHYS=1000000\n";
        assert_eq!(physical(new, 0x3ff_e0ef_4898), Some(0x1ef_4898));
        assert_eq!(physical(new, 0x1000), None);
    }
}

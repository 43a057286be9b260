//! arm, 32 bits: registers, `NT_PRSTATUS`, `NT_ARM_VFP`, kernel addresses.
//!
//! Sources:
//!
//! - Registers: `struct pt_regs` of Linux `arch/arm/include/asm/ptrace.h`
//!   (`ELF_NGREG` is 18) and `struct user_vfp` of
//!   `arch/arm/include/asm/user.h`.
//! - Notes and their order: QEMU `target/arm/arch_dump.c`.
//! - `e_machine`: elf.h.
#![forbid(unsafe_code)]

use std::slice::from_mut;

use crate::abi::{ByteOrder, Class, Encoding, FieldOverflow, U64Align};
use crate::arch::json::json_struct;
use crate::arch::prstatus::{
    CpuNotes, decode_prstatus, encode_prstatus_fpvalid, prstatus_size, read_words, words,
};
use crate::arch::{Architecture, DirectMapping};
use crate::elf::note::{CORE, LINUX, NT_PRSTATUS, Note};
use crate::vmcoreinfo::Vmcoreinfo;

/// `e_machine` of 32-bit Arm in ELF files.
pub const EM_ARM: u16 = 40;

/// `NT_ARM_VFP`, under the name `LINUX`: the floating-point registers.
pub const NT_ARM_VFP: u32 = 0x400;

const ENCODING: Encoding = Encoding {
    class: Class::Bits32,
    order: ByteOrder::Little,
};

/// Size of the registers in `NT_PRSTATUS`, in bytes: 16 general registers,
/// cpsr, orig_r0.
const GENERAL_SIZE: usize = 18 * 4;

pub(super) static ARCHITECTURE: Architecture = Architecture {
    name: "arm",
    // Readers compare only the first three letters.
    uname: "armv7l",
    aliases: &["armv5tel", "armv6l", "armv8l", "armhf", "armel"],
    encoding: ENCODING,
    u64_align: U64Align::Eight,
    elf_machine: EM_ARM,
    page_sizes: &[4 << 10],
    prstatus_size: prstatus_size(ENCODING.class, GENERAL_SIZE),
    frames_from_phys_base: true,
    // VMCOREINFO does not contain it.
    phys_base: |_| None,
    kernel_image_to_physical: |_, _| None,
    // The page tables tell it.
    direct_mapping: |_| None,
    encode_notes: |cpus, out| encode_notes(&Registers::of(cpus), out),
    decode_notes,
};

json_struct! {
    /// A virtual CPU's registers. All default to 0.
    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    pub struct Registers {
        /// r0 to r15 of the current mode. r13 is the stack pointer, r14 the
        /// link register, r15 the guest-virtual address of the next
        /// instruction.
        pub r: [u32; 16],
        /// The current program status register.
        pub cpsr: u32,
        /// r0 at the entry of a system call. It is 0 in QEMU's dumps.
        pub orig_r0: u32,
        /// The floating-point registers, if the CPU has them.
        pub vfp: Option<Vfp>,
    }
}

impl Registers {
    pub(super) fn program_counter(&self) -> u64 {
        self.r[15].into()
    }

    pub(super) fn stack_pointer(&self) -> u64 {
        self.r[13].into()
    }

    /// Returns `None`, because the notes do not contain TTBR0 and TTBR1.
    pub(super) fn page_table_root(&self) -> Option<u64> {
        None
    }
}

json_struct! {
    /// Floating-point registers.
    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    pub struct Vfp {
        /// d0 to d31. On a CPU with 16 of them the others are 0.
        pub d: [u64; 32],
        /// The floating-point status and control register.
        pub fpscr: u32,
    }
}

fn general(r: &Registers) -> Vec<u8> {
    let mut bytes = words(ENCODING.order, &r.r);
    bytes.extend(words(ENCODING.order, &[r.cpsr, r.orig_r0]));
    bytes
}

/// Encodes the notes of all CPUs in QEMU's order: CPU by CPU.
fn encode_notes(cpus: &[&Registers], out: &mut Vec<u8>) -> Result<(), FieldOverflow> {
    for (index, r) in cpus.iter().enumerate() {
        encode_prstatus_fpvalid(ENCODING, index, &general(r), r.vfp.is_some().into(), out)?;
        if let Some(vfp) = &r.vfp {
            let mut desc = words(ENCODING.order, &vfp.d);
            desc.extend(words(ENCODING.order, &[vfp.fpscr]));
            Note {
                name: LINUX,
                kind: NT_ARM_VFP,
                desc: &desc,
            }
            .encode(ENCODING.order, out)?;
        }
    }
    Ok(())
}

fn decode_notes(notes: &CpuNotes<'_>) -> Vec<crate::arch::CpuState> {
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

/// Translates like [`Architecture::kernel_image_to_physical`], for RAM that
/// begins at `ram_start`.
///
/// The linear map begins at `ram_start`, and the image lies in it.
pub(super) fn linear_to_physical(vaddr: u64, info: &Vmcoreinfo, ram_start: u64) -> Option<u64> {
    let page_offset = page_offset(info.symbol("_stext")?)?;
    vaddr.checked_sub(page_offset)?.checked_add(ram_start)
}

/// `PAGE_OFFSET` of each `VMSPLIT` in Linux `arch/arm/Kconfig`: where the linear
/// map begins.
pub(crate) const PAGE_OFFSETS: [u64; 4] = [0xc000_0000, 0xb000_0000, 0x8000_0000, 0x4000_0000];

/// The most bytes of the linear map before the kernel's code. Linux has 32 KiB
/// and `textofs-y` of `arch/arm/Makefile`, less than 33 MiB. A kernel that runs
/// in flash memory has its code elsewhere.
const MAX_BEFORE_TEXT: u64 = 64 << 20;

/// Returns `PAGE_OFFSET` of the kernel whose code begins at the guest-virtual
/// address `stext`. VMCOREINFO does not contain it. crash and drgn find it in a
/// similar way.
fn page_offset(stext: u64) -> Option<u64> {
    let found = PAGE_OFFSETS.into_iter().find(|offset| *offset <= stext)?;
    (stext - found < MAX_BEFORE_TEXT).then_some(found)
}

/// The end of low memory by the default of `vmalloc=`: 240 MiB and a gap of
/// 8 MiB before `VMALLOC_END`, 0xff000000 in older kernels (`vmalloc_min` in
/// `arch/arm/mm/mmu.c`).
const DEFAULT_LOW_MEMORY_END: u64 = 0xef80_0000;

/// Returns the linear map of a kernel whose page tables are not known, for RAM
/// that begins at `start`.
pub(crate) fn default_mapping(info: &Vmcoreinfo, start: u64) -> Option<DirectMapping> {
    let vaddr = page_offset(info.symbol("_stext")?)?;
    Some(DirectMapping {
        vaddr,
        start,
        end: start.checked_add(DEFAULT_LOW_MEMORY_END - vaddr)?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::array::from_fn;

    use super::*;
    use crate::arch::{Machine, encode_cpu_notes};
    use crate::elf::note::Notes;

    fn registers() -> Registers {
        Registers {
            r: from_fn(|i| 0xc010_0000 + i as u32),
            cpsr: 0x6000_0093,
            orig_r0: 0x77,
            vfp: Some(Vfp {
                d: from_fn(|i| 0x4000_0000_0000_1100 + i as u64),
                fpscr: 0x0300_0010,
            }),
        }
    }

    fn encoded(cpus: &[Registers]) -> Vec<u8> {
        let cpus: Vec<_> = cpus.iter().cloned().map(Into::into).collect();
        let mut bytes = Vec::new();
        encode_cpu_notes(Machine::Arm, &cpus, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn notes_come_back_with_and_without_floating_point() {
        for vfp in [registers().vfp, None] {
            let cpus = [registers(), registers()].map(|r| Registers {
                vfp: vfp.clone(),
                ..r
            });
            let bytes = encoded(&cpus);
            let notes = Notes::new(&bytes, ByteOrder::Little);
            assert_eq!(Machine::Arm.decode_notes(notes), cpus.map(Into::into));
        }
    }

    #[test]
    fn notes_come_in_qemus_order_and_sizes() {
        let bare = Registers {
            vfp: None,
            ..registers()
        };
        let bytes = encoded(&[registers(), bare]);
        let notes = Notes::new(&bytes, ByteOrder::Little).flatten();
        let notes: Vec<_> = notes.map(|(_, note)| note).collect();
        let shape: Vec<_> = notes
            .iter()
            .map(|n| (n.name, n.kind, n.desc.len()))
            .collect();
        assert_eq!(shape, [(CORE, 1, 148), (LINUX, 0x400, 260), (CORE, 1, 148)]);
        let status = notes[0].desc;
        assert_eq!(status[24..28], [1, 0, 0, 0]);
        assert_eq!(status[72 + 15 * 4..][..4], [15, 0, 0x10, 0xc0]);
        assert_eq!(status[72 + 16 * 4..][..4], [0x93, 0, 0, 0x60]);
        assert_eq!(status[144..148], [1, 0, 0, 0]); // pr_fpvalid
        assert_eq!(notes[2].desc[144..148], [0; 4]);
        assert_eq!(notes[1].desc[8..16], [1, 0x11, 0, 0, 0, 0, 0, 0x40]);
        assert_eq!(notes[1].desc[256..], [0x10, 0, 0, 3]);
    }

    #[test]
    fn the_linear_map_begins_where_ram_begins() {
        let info = Vmcoreinfo::parse(b"OSRELEASE=6.1\nSYMBOL(_stext)=c0300000\n").unwrap();
        let physical = |vaddr| linear_to_physical(vaddr, &info, 0x4000_0000);
        assert_eq!(physical(0xc100_1234), Some(0x4100_1234));
        assert_eq!(physical(0xbfff_ffff), None);
        assert_eq!(linear_to_physical(u64::MAX, &info, u64::MAX), None);
        // VMSPLIT_3G_OPT, and code in flash memory.
        assert_eq!(page_offset(0xb020_8000), Some(0xb000_0000));
        assert_eq!(page_offset(0xbf08_0000), None);
        assert_eq!(page_offset(0x3fff_ffff), None);
    }
}

//! LoongArch, 64-bit: registers, `NT_PRSTATUS`, `NT_PRFPREG`, kernel
//! addresses.
//!
//! Sources:
//!
//! - Registers: `struct user_pt_regs` and `struct user_fp_state` in Linux
//!   `arch/loongarch/include/uapi/asm/ptrace.h`.
//! - Kernel addresses: `XKPRANGE`, `XKVRANGE` and `TO_PHYS_MASK` in
//!   `arch/loongarch/include/asm/addrspace.h`.
//! - Notes: QEMU's have `pr_fpvalid` 1 and an `NT_PRFPREG` of 268 bytes. They
//!   omit the padding of the kernel's struct. QEMU writes no vector registers
//!   (LSX, LASX).
#![forbid(unsafe_code)]

use crate::abi::{ByteOrder, Class, Encoding, FieldOverflow, U64Align};
use crate::arch::json::json_struct;
use crate::arch::prstatus::{
    CpuNotes, decode_prstatus, encode_prstatus_fpvalid, prstatus_size, read_words, words,
};
use crate::arch::{Architecture, DirectMapping};
use crate::elf::note::{CORE, NT_PRFPREG, NT_PRSTATUS, Note};
use crate::vmcoreinfo::Vmcoreinfo;

/// `e_machine` of LoongArch in ELF files.
pub const EM_LOONGARCH: u16 = 258;

const ENCODING: Encoding = Encoding {
    class: Class::Bits64,
    order: ByteOrder::Little,
};

/// Number of words in `struct user_pt_regs`: r0 to r31, orig_a0, csr_era,
/// csr_badv, and ten reserved ones.
const USER_REGS: usize = 45;
/// Number of words in `struct user_fp_state`: f0 to f31, fcc. fcsr follows.
const FP_WORDS: usize = 33;

pub(super) static ARCHITECTURE: Architecture = Architecture {
    name: "loongarch64",
    uname: "loongarch64",
    aliases: &["loongarch", "la64"],
    encoding: ENCODING,
    u64_align: U64Align::Eight,
    elf_machine: EM_LOONGARCH,
    page_sizes: &[16384, 4096, 65536],
    prstatus_size: prstatus_size(ENCODING.class, USER_REGS * 8),
    frames_from_phys_base: false,
    // makedumpfile assumes 0, whatever VMCOREINFO contains.
    phys_base: |_| None,
    kernel_image_to_physical,
    // The page tables have no entries for it.
    direct_mapping: |_| {
        Some(DirectMapping {
            vaddr: CACHE_BASE,
            start: 0,
            end: TO_PHYS_MASK + 1,
        })
    },
    encode_notes: |cpus, out| encode_notes(&Registers::of(cpus), out),
    decode_notes: |notes| decode_notes(notes).into_iter().map(Into::into).collect(),
};

json_struct! {
    /// A virtual CPU's registers. All default to 0.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Registers {
        /// r0 to r31. r1 is the return address, r3 the stack pointer.
        pub gpr: [u64; 32],
        /// The first argument of the system call that the CPU is in. QEMU
        /// writes 0.
        pub orig_a0: u64,
        /// Guest-virtual address at which the CPU was. Readers take it for the
        /// program counter. QEMU writes the CSR ERA, the return address of the
        /// last exception, whatever the program counter is.
        pub csr_era: u64,
        /// CSR BADV: the guest-virtual address of the last fault.
        pub csr_badv: u64,
        /// f0 to f31.
        pub fpr: [u64; 32],
        /// Condition flags, one byte each, fcc0 lowest.
        pub fcc: u64,
        /// The floating-point control and status register.
        pub fcsr: u32,
    }
}

impl Registers {
    pub(super) fn program_counter(&self) -> u64 {
        self.csr_era
    }

    pub(super) fn stack_pointer(&self) -> u64 {
        self.gpr[3]
    }

    /// Returns `None`, because the notes do not contain PGDL and PGDH.
    #[allow(clippy::unused_self)]
    pub(super) fn page_table_root(&self) -> Option<u64> {
        None
    }
}

/// Encodes the notes of all CPUs in QEMU's order: CPU by CPU.
fn encode_notes(cpus: &[&Registers], out: &mut Vec<u8>) -> Result<(), FieldOverflow> {
    for (index, r) in cpus.iter().enumerate() {
        let mut regs = [0; USER_REGS];
        regs[..32].copy_from_slice(&r.gpr);
        regs[32..35].copy_from_slice(&[r.orig_a0, r.csr_era, r.csr_badv]);
        let regs = words(ENCODING.order, &regs);
        encode_prstatus_fpvalid(ENCODING, index, &regs, 1, out)?;

        let mut fp = words(ENCODING.order, &r.fpr);
        fp.extend(words(ENCODING.order, &[r.fcc]));
        fp.extend(words(ENCODING.order, &[r.fcsr]));
        let note = Note {
            name: CORE,
            kind: NT_PRFPREG,
            desc: &fp,
        };
        note.encode(ENCODING.order, out)?;
    }
    Ok(())
}

fn decode_notes(notes: &CpuNotes<'_>) -> Vec<Registers> {
    let mut fp_states = notes.all(CORE, NT_PRFPREG);
    let statuses = notes.all(CORE, NT_PRSTATUS);
    let cpu = |desc| {
        let mut registers = decode_general(desc).unwrap_or_default();
        if let Some(fp) = fp_states.next() {
            decode_fp(fp, &mut registers);
        }
        registers
    };
    statuses.map(cpu).collect()
}

fn decode_general(desc: &[u8]) -> Option<Registers> {
    let (_, bytes) = decode_prstatus(ENCODING, desc, USER_REGS * 8)?;
    let mut gpr = [0; 32];
    let rest = read_words(ENCODING.order, bytes, &mut gpr)?;
    let mut special = [0; 3];
    read_words(ENCODING.order, rest, &mut special)?;
    let [orig_a0, csr_era, csr_badv] = special;
    Some(Registers {
        gpr,
        orig_a0,
        csr_era,
        csr_badv,
        ..Registers::default()
    })
}

fn decode_fp(desc: &[u8], registers: &mut Registers) -> Option<()> {
    let mut words = [0; FP_WORDS];
    let rest = read_words(ENCODING.order, desc, &mut words)?;
    let mut fcsr = [0];
    read_words(ENCODING.order, rest, &mut fcsr)?;
    registers.fpr.copy_from_slice(&words[..32]);
    registers.fcc = words[32];
    registers.fcsr = fcsr[0];
    Some(())
}

/// The windows that map all of physical memory (`XKPRANGE`). The kernel's image
/// is in one of them. `TO_PHYS_MASK` selects the physical address in a window's
/// address.
const WINDOWS: std::ops::Range<u64> = 0x8000_0000_0000_0000..0xc000_0000_0000_0000;
const TO_PHYS_MASK: u64 = (1 << 48) - 1;
/// The window in which the kernel uses RAM (`CACHE_BASE`, which is `PAGE_OFFSET`).
const CACHE_BASE: u64 = 0x9000_0000_0000_0000;

fn kernel_image_to_physical(vaddr: u64, _: &Vmcoreinfo) -> Option<u64> {
    WINDOWS.contains(&vaddr).then_some(vaddr & TO_PHYS_MASK)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::elf::note::Notes;

    fn registers() -> Registers {
        Registers {
            gpr: std::array::from_fn(|i| 0x100 + i as u64),
            orig_a0: 0x200,
            csr_era: 0x9000_0000_0020_0000,
            csr_badv: 0x202,
            fpr: std::array::from_fn(|i| 0x300 + i as u64),
            fcc: 0x0101,
            fcsr: 0x55,
        }
    }

    #[test]
    fn notes_come_in_qemus_order_and_sizes() {
        let (a, b) = (registers(), Registers::default());
        let mut bytes = Vec::new();
        encode_notes(&[&a, &b], &mut bytes).unwrap();
        let shape: Vec<_> = Notes::new(&bytes, ByteOrder::Little)
            .flatten()
            .map(|(_, n)| (n.name, n.kind, n.desc.len()))
            .collect();
        assert_eq!(
            shape,
            [
                (CORE, NT_PRSTATUS, 480),
                (CORE, NT_PRFPREG, 268),
                (CORE, NT_PRSTATUS, 480),
                (CORE, NT_PRFPREG, 268),
            ]
        );
        let notes = CpuNotes::new(Notes::new(&bytes, ByteOrder::Little));
        assert_eq!(decode_notes(&notes), [a, b]);
    }

    #[test]
    fn encoded_notes_have_the_kernels_bytes_and_offsets() {
        let mut bytes = Vec::new();
        encode_notes(&[&registers()], &mut bytes).unwrap();
        let status = &bytes[20..500];
        assert_eq!(status[32], 1); // pr_pid
        assert_eq!(status[112..120], 0x100u64.to_le_bytes()); // r0
        assert_eq!(status[360..368], 0x11fu64.to_le_bytes()); // r31
        assert_eq!(status[368..376], 0x200u64.to_le_bytes());
        assert_eq!(status[376..384], 0x9000_0000_0020_0000u64.to_le_bytes());
        assert_eq!(status[384..392], 0x202u64.to_le_bytes());
        assert_eq!(status[392..472], [0; 80]);
        assert_eq!(status[472..], [1, 0, 0, 0, 0, 0, 0, 0]); // pr_fpvalid
        let fp = &bytes[520..];
        assert_eq!(fp[..8], 0x300u64.to_le_bytes());
        assert_eq!(fp[256..264], 0x0101u64.to_le_bytes());
        assert_eq!(fp[264..], 0x55u32.to_le_bytes());
    }

    #[test]
    fn the_image_is_in_a_window() {
        let info = Vmcoreinfo::parse(b"OSRELEASE=6.6").unwrap();
        let physical = |vaddr| kernel_image_to_physical(vaddr, &info);
        assert_eq!(physical(0x9000_0000_0020_1000), Some(0x0020_1000));
        assert_eq!(physical(0xffff_8000_0000_0000), None);
    }
}

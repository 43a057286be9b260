//! riscv64 and riscv32: registers, `NT_PRSTATUS`, kernel addresses.
//!
//! Sources:
//!
//! - Registers: `struct user_regs_struct` in Linux
//!   `arch/riscv/include/uapi/asm/ptrace.h`.
//! - Numbers in VMCOREINFO: `arch/riscv/kernel/vmcore_info.c`.
//! - Kernel addresses: `kernel_mapping_va_to_pa` in
//!   `arch/riscv/include/asm/page.h`.
//!
//! QEMU writes no other note than `NT_PRSTATUS`.
#![forbid(unsafe_code)]

use crate::abi::{ByteOrder, Class, Encoding, FieldOverflow, U64Align};
use crate::arch::Architecture;
use crate::arch::json::json_struct;
use crate::arch::prstatus::{
    CpuNotes, decode_prstatus, encode_prstatus, prstatus_size, read_words, words,
};
use crate::elf::note::{CORE, NT_PRSTATUS};
use crate::vmcoreinfo::Vmcoreinfo;

/// `e_machine` of RISC-V in ELF files.
pub const EM_RISCV: u16 = 243;

/// Number of registers in `struct user_regs_struct`.
pub(crate) const USER_REGS: usize = 32;

const fn encoding(class: Class) -> Encoding {
    Encoding {
        class,
        order: ByteOrder::Little,
    }
}

pub(super) static RISCV64: Architecture = Architecture {
    name: "riscv64",
    uname: "riscv64",
    aliases: &["rv64"],
    encoding: encoding(Class::Bits64),
    u64_align: U64Align::Eight,
    elf_machine: EM_RISCV,
    page_sizes: &[4096],
    prstatus_size: prstatus_size(Class::Bits64, USER_REGS * 8),
    frames_from_phys_base: false,
    phys_base,
    kernel_image_to_physical: |vaddr, info| kernel_image_to_physical(vaddr, info, u64::MAX),
    direct_mapping: |_| None,
    encode_notes: |cpus, out| encode_notes(Class::Bits64, &Registers::of(cpus), out),
    decode_notes: |notes| decode_notes(Class::Bits64, notes),
};

pub(super) static RISCV32: Architecture = Architecture {
    name: "riscv32",
    uname: "riscv32",
    aliases: &["rv32"],
    encoding: encoding(Class::Bits32),
    u64_align: U64Align::Eight,
    prstatus_size: prstatus_size(Class::Bits32, USER_REGS * 4),
    kernel_image_to_physical: |vaddr, info| kernel_image_to_physical(vaddr, info, u32::MAX.into()),
    direct_mapping: |_| None,
    encode_notes: |cpus, out| encode_notes(Class::Bits32, &Registers::of(cpus), out),
    decode_notes: |notes| decode_notes(Class::Bits32, notes),
    ..RISCV64
};

json_struct! {
    /// A virtual CPU's registers by their names in the calling convention. All
    /// default to 0. A riscv32 guest uses the lower 32 bits.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    #[allow(missing_docs)] // The names are the architecture's.
    pub struct Registers {
        /// Guest-virtual address of the next instruction.
        pub pc: u64,
        /// x1.
        pub ra: u64,
        /// x2.
        pub sp: u64,
        /// x3.
        pub gp: u64,
        /// x4.
        pub tp: u64,
        /// x5.
        pub t0: u64,
        /// x6.
        pub t1: u64,
        /// x7.
        pub t2: u64,
        /// x8, the frame pointer.
        pub s0: u64,
        /// x9.
        pub s1: u64,
        /// x10.
        pub a0: u64,
        /// x11.
        pub a1: u64,
        /// x12.
        pub a2: u64,
        /// x13.
        pub a3: u64,
        /// x14.
        pub a4: u64,
        /// x15.
        pub a5: u64,
        /// x16.
        pub a6: u64,
        /// x17.
        pub a7: u64,
        /// x18.
        pub s2: u64,
        /// x19.
        pub s3: u64,
        /// x20.
        pub s4: u64,
        /// x21.
        pub s5: u64,
        /// x22.
        pub s6: u64,
        /// x23.
        pub s7: u64,
        /// x24.
        pub s8: u64,
        /// x25.
        pub s9: u64,
        /// x26.
        pub s10: u64,
        /// x27.
        pub s11: u64,
        /// x28.
        pub t3: u64,
        /// x29.
        pub t4: u64,
        /// x30.
        pub t5: u64,
        /// x31.
        pub t6: u64,
        /// The CSR that leads to the page tables: mode, ASID, page frame
        /// number. The notes do not contain it. It is 0 if it is not known.
        pub satp: u64,
    }
}

impl Registers {
    pub(super) fn program_counter(&self) -> u64 {
        self.pc
    }

    pub(super) fn stack_pointer(&self) -> u64 {
        self.sp
    }

    pub(super) fn page_table_root(&self) -> Option<u64> {
        (self.satp != 0).then_some(self.satp)
    }

    /// Returns the registers in the order of `struct user_regs_struct`.
    fn user_regs(&mut self) -> [&mut u64; USER_REGS] {
        let r = self;
        [
            &mut r.pc, &mut r.ra, &mut r.sp, &mut r.gp, &mut r.tp, &mut r.t0, &mut r.t1, &mut r.t2,
            &mut r.s0, &mut r.s1, &mut r.a0, &mut r.a1, &mut r.a2, &mut r.a3, &mut r.a4, &mut r.a5,
            &mut r.a6, &mut r.a7, &mut r.s2, &mut r.s3, &mut r.s4, &mut r.s5, &mut r.s6, &mut r.s7,
            &mut r.s8, &mut r.s9, &mut r.s10, &mut r.s11, &mut r.t3, &mut r.t4, &mut r.t5,
            &mut r.t6,
        ]
    }

    /// Builds the registers from the order of `struct user_regs_struct`.
    pub(crate) fn from_user_regs(regs: [u64; USER_REGS]) -> Self {
        let mut registers = Self::default();
        for (register, value) in registers.user_regs().into_iter().zip(regs) {
            *register = value;
        }
        registers
    }
}

fn encode_notes(class: Class, cpus: &[&Registers], out: &mut Vec<u8>) -> Result<(), FieldOverflow> {
    let encoding = encoding(class);
    for (index, registers) in cpus.iter().enumerate() {
        let mut registers = **registers;
        let regs = registers.user_regs().map(|register| *register);
        let regs = match class {
            Class::Bits32 => words(encoding.order, &regs.map(|r| r as u32)),
            Class::Bits64 => words(encoding.order, &regs),
        };
        encode_prstatus(encoding, index, &regs, out)?;
    }
    Ok(())
}

fn decode_notes(class: Class, notes: &CpuNotes<'_>) -> Vec<crate::arch::CpuState> {
    let statuses = notes.all(CORE, NT_PRSTATUS);
    statuses
        .map(|desc| user_regs(class, desc).unwrap_or([0; USER_REGS]))
        .map(|regs| Registers::from_user_regs(regs).into())
        .collect()
}

fn user_regs(class: Class, desc: &[u8]) -> Option<[u64; USER_REGS]> {
    let encoding = encoding(class);
    let mut regs = [0; USER_REGS];
    match class {
        Class::Bits32 => {
            let (_, bytes) = decode_prstatus(encoding, desc, USER_REGS * 4)?;
            let mut narrow = [0u32; USER_REGS];
            read_words(encoding.order, bytes, &mut narrow)?;
            regs = narrow.map(u64::from);
        }
        Class::Bits64 => {
            let (_, bytes) = decode_prstatus(encoding, desc, USER_REGS * 8)?;
            read_words(encoding.order, bytes, &mut regs)?;
        }
    }
    Some(regs)
}

/// Returns the guest-physical address at which RAM begins, by the kernel's
/// `phys_ram_base`. VMCOREINFO contains it in decimal.
fn phys_base(info: &Vmcoreinfo) -> Option<u64> {
    Some(info.number("phys_ram_base")? as u64)
}

/// Translates an address in the kernel's image or in the direct mapping. `mask`
/// has the bits of an address.
///
/// Addresses from `KERNEL_LINK_ADDR` on belong to the image. They are
/// `va_kernel_pa_offset` (Linux 6.4 and later) above the physical ones. The
/// image of older kernels lies where RAM begins. The direct mapping of RAM is
/// below `KERNEL_LINK_ADDR`.
fn kernel_image_to_physical(vaddr: u64, info: &Vmcoreinfo, mask: u64) -> Option<u64> {
    let number = |name| Some(info.number(name)? as u64 & mask);
    let link = number("KERNEL_LINK_ADDR")?;
    let offset = if vaddr >= link {
        number("va_kernel_pa_offset").or_else(|| Some(link.wrapping_sub(phys_base(info)?)))?
    } else {
        number("PAGE_OFFSET")
            .filter(|start| vaddr >= *start)?
            .wrapping_sub(phys_base(info)?)
    };
    Some(vaddr.wrapping_sub(offset) & mask)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::arch::Machine;
    use crate::elf::note::Notes;

    fn registers() -> Registers {
        Registers::from_user_regs(std::array::from_fn(|i| 0x8000_0000 + i as u64))
    }

    #[test]
    fn notes_have_qemus_sizes_and_come_back() {
        for (machine, class, size) in [
            (Machine::Riscv64, Class::Bits64, 376),
            (Machine::Riscv32, Class::Bits32, 204),
        ] {
            assert_eq!(machine.prstatus_size(), size);
            let mut bytes = Vec::new();
            encode_notes(class, &[&registers(), &Registers::default()], &mut bytes).unwrap();
            let notes: Vec<_> = Notes::new(&bytes, ByteOrder::Little)
                .map(|n| n.unwrap().1)
                .collect();
            assert_eq!(notes.len(), 2);
            for (note, pid) in notes.iter().zip(1..) {
                assert!(note.is(CORE, NT_PRSTATUS));
                assert_eq!(note.desc.len(), size);
                assert_eq!(machine.prstatus_pid(note.desc), Some(pid));
            }
            let back = machine.decode_notes(Notes::new(&bytes, ByteOrder::Little));
            assert_eq!(back, [registers().into(), Registers::default().into()]);
        }
    }

    #[test]
    fn encoded_prstatus_has_the_kernels_bytes_and_offsets() {
        let mut bytes = Vec::new();
        encode_notes(Class::Bits64, &[&registers()], &mut bytes).unwrap();
        let desc = &bytes[20..];
        assert_eq!(desc[112..120], 0x8000_0000u64.to_le_bytes()); // pc
        assert_eq!(desc[128..136], 0x8000_0002u64.to_le_bytes()); // sp, x2
        assert_eq!(desc[360..368], 0x8000_001fu64.to_le_bytes()); // t6, x31
        assert_eq!(desc[368..], [0; 8]);
        let mut bytes = Vec::new();
        encode_notes(Class::Bits32, &[&registers()], &mut bytes).unwrap();
        let desc = &bytes[20..];
        assert_eq!(desc[72..76], 0x8000_0000u32.to_le_bytes());
        assert_eq!(desc[196..200], 0x8000_001fu32.to_le_bytes());
        assert_eq!(desc[200..], [0; 4]);
    }

    /// Takes `phys_base` from VMCOREINFO. QEMU writes 0 into kdump's header,
    /// and with that makedumpfile cannot read mem_section.
    #[test]
    fn phys_base_is_phys_ram_base_not_0_as_by_qemu() {
        let info = Vmcoreinfo::parse(
            b"OSRELEASE=6.12.107+deb13-riscv64\n\
            NUMBER(phys_ram_base)=2147483648\n\
            NUMBER(PAGE_OFFSET)=0xff60000000000000\n\
            NUMBER(KERNEL_LINK_ADDR)=0xffffffff80000000\n\
            NUMBER(va_kernel_pa_offset)=0xfffffffeffe00000\n",
        )
        .unwrap();
        assert_eq!(Machine::Riscv64.phys_base(&info), Some(0x8000_0000));
        let physical = |vaddr| Machine::Riscv64.kernel_image_to_physical(vaddr, &info);
        assert_eq!(physical(0xffff_ffff_81d6_9658), Some(0x81f6_9658));
        assert_eq!(physical(0xff60_0000_0000_1000), Some(0x8000_1000));
        assert_eq!(physical(0x1000), None);
    }

    #[test]
    fn addresses_of_older_and_32_bit_kernels_are_translated() {
        let old = Vmcoreinfo::parse(
            b"OSRELEASE=6.1\nNUMBER(phys_ram_base)=2149580800\n\
            NUMBER(KERNEL_LINK_ADDR)=0xffffffff80000000\n",
        )
        .unwrap();
        let physical = Machine::Riscv64.kernel_image_to_physical(0xffff_ffff_8000_2000, &old);
        assert_eq!(physical, Some(0x8020_2000));
        let narrow = Vmcoreinfo::parse(
            b"OSRELEASE=6.6\nNUMBER(phys_ram_base)=2147483648\n\
            NUMBER(KERNEL_LINK_ADDR)=0xc0000000\nNUMBER(va_kernel_pa_offset)=0x3fc00000\n",
        )
        .unwrap();
        let physical = Machine::Riscv32.kernel_image_to_physical(0xc000_2000, &narrow);
        assert_eq!(physical, Some(0x8040_2000));
    }
}

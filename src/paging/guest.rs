//! Which page tables a guest has, from what a dump knows of it.

use super::{Aarch64, AddressSpace, Riscv, X86, X86Mode};
use crate::arch::{Machine, Registers};
use crate::elf::note::Notes;
use crate::vmcoreinfo::Vmcoreinfo;

/// The address space of each CPU, by its registers or by its notes among
/// `notes`, and the kernel's own by VMCOREINFO.
pub(crate) fn address_spaces(
    machine: Machine,
    cpus: &[Registers],
    notes: &[u8],
    info: Option<&Vmcoreinfo>,
) -> Vec<AddressSpace> {
    let kernel = info.and_then(|info| of_kernel(machine, info));
    let noted = machine.decode_notes(Notes::new(notes, machine.encoding().order));
    let of_cpus = cpus.iter().chain(&noted).filter_map(of_registers);
    of_cpus.chain(kernel).collect()
}

/// The page tables of one CPU, if its notes have their root.
fn of_registers(registers: &Registers) -> Option<AddressSpace> {
    match registers {
        Registers::X86_64(r) => of_x86(r.cr0, r.cr3, r.cr4, true),
        Registers::I386(r) => of_x86(r.cr0.into(), r.cr3.into(), r.cr4.into(), false),
        _ => None,
    }
}

fn of_kernel(machine: Machine, info: &Vmcoreinfo) -> Option<AddressSpace> {
    match machine {
        Machine::X86_64 => {
            X86::of_kernel(info, |vaddr| machine.kernel_image_to_physical(vaddr, info))
                .map(AddressSpace::X86)
        }
        Machine::Aarch64 => Aarch64::of_kernel(info).map(AddressSpace::Aarch64),
        Machine::Riscv64 => Riscv::of_kernel(info).map(AddressSpace::Riscv),
        _ => None,
    }
}

/// A CPU with 64-bit registers and PAE is taken to be in long mode: the
/// registers do not have EFER.
fn of_x86(cr0: u64, cr3: u64, cr4: u64, long_mode: bool) -> Option<AddressSpace> {
    if cr0 == 0 {
        // No CPU has that: the notes do not have control registers.
        return None;
    }
    Some(match X86Mode::of_registers(cr0, cr4, long_mode) {
        Some(mode) => AddressSpace::X86(X86 { cr3, mode }),
        None => AddressSpace::Physical,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn info(text: &str) -> Vmcoreinfo {
        Vmcoreinfo::parse(format!("OSRELEASE=6.1.0\n{text}").as_bytes()).unwrap()
    }

    #[test]
    fn kernel_of_x86_64() {
        // Debian's 6.1 kernel, with KASLR.
        let text = "NUMBER(phys_base)=161480704\nSYMBOL(init_top_pgt)=ffffffffa1410000\n";
        let root = |mode| {
            Some(AddressSpace::X86(X86 {
                cr3: 0x2141_0000 + 161_480_704,
                mode,
            }))
        };
        let of = |text: &str| of_kernel(Machine::X86_64, &info(text));
        assert_eq!(of(text), root(X86Mode::FourLevel));
        let four = format!("{text}NUMBER(pgtable_l5_enabled)=0\n");
        assert_eq!(of(&four), root(X86Mode::FourLevel));
        let five = format!("{text}NUMBER(pgtable_l5_enabled)=1\n");
        assert_eq!(of(&five), root(X86Mode::FiveLevel));
        assert_eq!(of("NUMBER(phys_base)=0\n"), None);
        assert_eq!(of("SYMBOL(init_top_pgt)=ffffffffa1410000\n"), None);
    }

    #[test]
    fn kernel_of_aarch64() {
        let kernel = |page_size: u64, va_bits: u64, t1sz: &str| {
            let text = format!(
                "PAGESIZE={page_size}\nSYMBOL(swapper_pg_dir)=ffff8000095d9000\n\
                 NUMBER(kimage_voffset)=0xffff7fffc8000000\nNUMBER(VA_BITS)={va_bits}\n{t1sz}"
            );
            of_kernel(Machine::Aarch64, &info(&text)).unwrap().trees()
        };
        let shape = |trees: Vec<super::super::walk::Tree>| {
            assert_eq!(trees.len(), 1);
            let tree = &trees[0];
            let bits = tree.levels[0].shift + tree.levels[0].bits;
            (
                tree.root,
                bits,
                tree.levels.len(),
                tree.levels.last().unwrap().shift,
            )
        };
        let root = 0x415d_9000;
        let t1sz = "NUMBER(TCR_EL1_T1SZ)=0x10\n";
        assert_eq!(shape(kernel(4096, 48, t1sz)), (root, 48, 4, 12));
        assert_eq!(shape(kernel(4096, 39, "")), (root, 39, 3, 12));
        assert_eq!(shape(kernel(16384, 47, "")), (root, 47, 3, 14));
        // Configured for 52 bits on a CPU that has 48: with 64 KiB pages the
        // tables are still those for 52.
        assert_eq!(shape(kernel(65536, 52, t1sz)), (root, 52, 3, 16));
        assert_eq!(shape(kernel(4096, 52, t1sz)), (root, 48, 4, 12));
        assert_eq!(
            shape(kernel(4096, 52, "NUMBER(TCR_EL1_T1SZ)=0xc\n")),
            (root, 52, 5, 12)
        );
        assert_eq!(of_kernel(Machine::Aarch64, &info("PAGESIZE=4096\n")), None);
        let nonsense = kernel(4096, 0, "");
        assert!(nonsense.is_empty());
    }

    #[test]
    fn kernel_of_riscv64() {
        let kernel = |va_bits: u64| {
            let text = format!(
                "SYMBOL(swapper_pg_dir)=ffffffff81a00000\nNUMBER(VA_BITS)={va_bits}\n\
                 NUMBER(va_kernel_pa_offset)=0xfffffffeffe00000\n"
            );
            of_kernel(Machine::Riscv64, &info(&text))
        };
        for (va_bits, mode) in [(39, 8u64), (48, 9), (57, 10)] {
            let satp = mode << 60 | 0x81c0_0000 >> 12;
            let expected = AddressSpace::Riscv(Riscv::Bits64 { satp });
            assert_eq!(kernel(va_bits), Some(expected));
        }
        assert_eq!(kernel(40), None);
    }
}

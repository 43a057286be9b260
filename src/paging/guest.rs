//! Which page tables a guest has, from what a dump knows of it.

use super::{Aarch64, AddressSpace, Riscv, X86, X86Mode};
use crate::arch::{Machine, Registers, x86_64};
use crate::elf::note::{Notes, QEMU};
use crate::vmcoreinfo::Vmcoreinfo;

/// The address space of each CPU, by its registers or by QEMU's CPU state
/// note among `notes`, and the kernel's own by VMCOREINFO.
pub(crate) fn address_spaces(
    machine: Machine,
    cpus: &[Registers],
    notes: &[u8],
    info: Option<&Vmcoreinfo>,
) -> Vec<AddressSpace> {
    let kernel = info.and_then(|info| of_kernel(machine, info));
    let notes = Notes::new(notes, machine.encoding().order).flatten();
    let of_notes = notes
        .filter(|(_, note)| note.is(QEMU, 0))
        .filter_map(|(_, note)| of_qemu_state(machine, note.desc));
    let of_cpus = cpus.iter().map(of_registers);
    of_cpus.chain(of_notes).chain(kernel).collect()
}

fn of_registers(registers: &Registers) -> AddressSpace {
    match registers {
        Registers::X86_64(r) => of_x86_64(r),
    }
}

/// The address space of a CPU by the descriptor of QEMU's CPU state note.
fn of_qemu_state(machine: Machine, desc: &[u8]) -> Option<AddressSpace> {
    match machine {
        Machine::X86_64 => x86_64::decode_qemu_state(desc).map(|r| of_x86_64(&r)),
    }
}

fn of_kernel(machine: Machine, info: &Vmcoreinfo) -> Option<AddressSpace> {
    match machine {
        Machine::X86_64 => {
            X86::of_kernel(info, |vaddr| machine.kernel_image_to_physical(vaddr, info))
                .map(AddressSpace::X86)
        }
    }
}

/// The kernel of an AArch64 guest.
#[allow(dead_code)] // Until there is a machine for it.
fn of_aarch64_kernel(info: &Vmcoreinfo) -> Option<AddressSpace> {
    Aarch64::of_kernel(info).map(AddressSpace::Aarch64)
}

/// The kernel of a 64-bit RISC-V guest.
#[allow(dead_code)] // Until there is a machine for it.
fn of_riscv64_kernel(info: &Vmcoreinfo) -> Option<AddressSpace> {
    Riscv::of_kernel(info).map(AddressSpace::Riscv)
}

/// With PAE this is taken for long mode: the registers do not have EFER.
fn of_x86_64(r: &x86_64::Registers) -> AddressSpace {
    of_x86(r.cr0, r.cr3, r.cr4, true)
}

fn of_x86(cr0: u64, cr3: u64, cr4: u64, long_mode: bool) -> AddressSpace {
    match X86Mode::of_registers(cr0, cr4, long_mode) {
        Some(mode) => AddressSpace::X86(X86 { cr3, mode }),
        None => AddressSpace::Physical,
    }
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
            of_aarch64_kernel(&info(&text)).unwrap().trees()
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
        assert_eq!(of_aarch64_kernel(&info("PAGESIZE=4096\n")), None);
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
            of_riscv64_kernel(&info(&text))
        };
        for (va_bits, mode) in [(39, 8u64), (48, 9), (57, 10)] {
            let satp = mode << 60 | 0x81c0_0000 >> 12;
            let expected = AddressSpace::Riscv(Riscv::Bits64 { satp });
            assert_eq!(kernel(va_bits), Some(expected));
        }
        assert_eq!(kernel(40), None);
    }
}

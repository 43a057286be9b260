//! Which page tables a guest has, from what a dump knows of it.

use super::{Aarch64, AddressSpace, Riscv, X86, X86Mode};
use crate::arch::{Machine, Registers};
use crate::elf::note::Notes;
use crate::error::{Error, Result};
use crate::vmcoreinfo::Vmcoreinfo;

/// The address space of each CPU, by `cpus` or by the CPU notes among
/// `notes`, and the kernel's own by VMCOREINFO; those that are known.
///
/// # Errors
///
/// - [`Error::PagingMachine`] if this crate does not know the architecture's
///   page tables;
/// - [`Error::NoPageTables`] if none is known.
pub(crate) fn address_spaces(
    machine: Machine,
    cpus: &[Registers],
    notes: &[u8],
    info: Option<&Vmcoreinfo>,
) -> Result<Vec<AddressSpace>> {
    if !is_known(machine) {
        return Err(Error::PagingMachine { machine });
    }
    let kernel = info.and_then(|info| of_kernel(machine, info));
    let of_notes = machine.decode_notes(Notes::new(notes, machine.encoding().order));
    let spaces: Vec<_> = cpus
        .iter()
        .chain(&of_notes)
        .filter_map(|registers| of_registers(machine, registers))
        .chain(kernel)
        .collect();
    if spaces.is_empty() {
        return Err(Error::NoPageTables);
    }
    Ok(spaces)
}

fn is_known(machine: Machine) -> bool {
    match machine {
        Machine::X86_64
        | Machine::I386
        | Machine::Aarch64
        | Machine::Aarch64Be
        | Machine::Riscv64
        | Machine::Riscv32 => true,
        Machine::Arm
        | Machine::Ppc64
        | Machine::Ppc64le
        | Machine::S390x
        | Machine::Loongarch64 => false,
    }
}

/// `None` if the registers do not tell: not every note has all of them.
fn of_registers(machine: Machine, registers: &Registers) -> Option<AddressSpace> {
    match registers {
        // Without EFER: with PAE this is taken for long mode.
        Registers::X86_64(r) => of_x86(r.cr0, r.cr3, r.cr4, true),
        Registers::I386(r) => of_x86(r.cr0.into(), r.cr3.into(), r.cr4.into(), false),
        Registers::Riscv(r) => of_riscv(machine, r.satp),
        // In no note, but a caller may know them.
        Registers::Aarch64(r) if r.tcr != 0 => Some(AddressSpace::Aarch64(Aarch64 {
            ttbr0: r.ttbr0,
            ttbr1: r.ttbr1,
            tcr: r.tcr,
            order: machine.encoding().order,
        })),
        Registers::Aarch64(_) => None,
        Registers::Arm(_)
        | Registers::Ppc64(_)
        | Registers::S390x(_)
        | Registers::Loongarch64(_) => None,
    }
}

/// The kernel's address space, by VMCOREINFO; `None` if that does not tell, or
/// this crate does not know the architecture's page tables.
pub(crate) fn of_kernel(machine: Machine, info: &Vmcoreinfo) -> Option<AddressSpace> {
    match machine {
        Machine::X86_64 => {
            let physical = |vaddr| machine.kernel_image_to_physical(vaddr, info);
            X86::of_kernel(info, physical).map(AddressSpace::X86)
        }
        Machine::Aarch64 | Machine::Aarch64Be => {
            Aarch64::of_kernel(info, machine.encoding().order).map(AddressSpace::Aarch64)
        }
        Machine::Riscv64 => Riscv::of_kernel(info).map(AddressSpace::Riscv),
        _ => None,
    }
}

fn of_x86(cr0: u64, cr3: u64, cr4: u64, long_mode: bool) -> Option<AddressSpace> {
    match X86Mode::of_registers(cr0, cr4, long_mode) {
        Some(mode) => Some(AddressSpace::X86(X86 { cr3, mode })),
        // No CPU has 0 there: bit 4 is always set.
        None => (cr0 != 0).then_some(AddressSpace::Physical),
    }
}

fn of_riscv(machine: Machine, satp: u64) -> Option<AddressSpace> {
    let riscv = match machine {
        Machine::Riscv32 => Riscv::Bits32 { satp: satp as u32 },
        _ => Riscv::Bits64 { satp },
    };
    (satp != 0).then_some(AddressSpace::Riscv(riscv))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::arch::{aarch64, i386, riscv, x86_64};
    use crate::encoding::ByteOrder;

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
        let nothing = info("PAGESIZE=4096\n");
        assert_eq!(of_kernel(Machine::Aarch64, &nothing), None);
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

    #[test]
    fn registers_of_each_architecture() {
        let spaces = |machine, cpus: &[Registers]| address_spaces(machine, cpus, &[], None);
        let x86 = |cr3, mode| AddressSpace::X86(X86 { cr3, mode });
        let r = i386::Registers {
            cr0: 0x8000_0011,
            cr3: 0x1000,
            cr4: 0x20,
            ..i386::Registers::default()
        };
        let pae = i386::Registers { cr3: 0x2000, ..r };
        let two = i386::Registers { cr4: 0x10, ..r };
        let off = i386::Registers { cr0: 0x11, ..r };
        assert_eq!(
            spaces(
                Machine::I386,
                &[r.into(), pae.into(), two.into(), off.into()]
            )
            .unwrap(),
            [
                x86(0x1000, X86Mode::Pae),
                x86(0x2000, X86Mode::Pae),
                x86(0x1000, X86Mode::TwoLevel { pse: true }),
                AddressSpace::Physical
            ]
        );
        let hart = |satp| {
            Registers::from(riscv::Registers {
                satp,
                ..riscv::Registers::default()
            })
        };
        let of_hart = |machine, satp| spaces(machine, &[hart(satp)]).unwrap();
        let bits64 = AddressSpace::Riscv(Riscv::Bits64 { satp: 9 << 60 | 1 });
        let bits32 = AddressSpace::Riscv(Riscv::Bits32 { satp: 1 << 31 | 1 });
        assert_eq!(of_hart(Machine::Riscv64, 9 << 60 | 1), [bits64]);
        assert_eq!(of_hart(Machine::Riscv32, 1 << 31 | 1), [bits32]);
        // What only the caller can know.
        let arm = aarch64::Registers {
            ttbr0: 0x1000,
            ttbr1: 0x2000,
            tcr: 0x10,
            ..aarch64::Registers::default()
        };
        let tables = |order| {
            AddressSpace::Aarch64(Aarch64 {
                ttbr0: 0x1000,
                ttbr1: 0x2000,
                tcr: 0x10,
                order,
            })
        };
        for (machine, order) in [
            (Machine::Aarch64, ByteOrder::Little),
            (Machine::Aarch64Be, ByteOrder::Big),
        ] {
            let found = spaces(machine, &[arm.clone().into()]).unwrap();
            assert_eq!(found, [tables(order)]);
        }
        // A note without these registers does not say that paging is off.
        for (machine, cpu) in [
            (Machine::Riscv64, hart(0)),
            (Machine::X86_64, x86_64::Registers::default().into()),
            (Machine::Aarch64, aarch64::Registers::default().into()),
        ] {
            let result = spaces(machine, &[cpu]);
            assert!(matches!(result, Err(Error::NoPageTables)), "{machine}");
        }
        let result = spaces(Machine::S390x, &[]);
        assert!(matches!(result, Err(Error::PagingMachine { .. })));
    }
}

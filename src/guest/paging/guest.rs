//! Which page tables a guest has, from what a dump knows of it.

use super::aarch64::Aarch64;
use super::address_space::AddressSpace;
use super::arm;
use super::error::PagingError;
use super::physical::ReadPhysical;
use super::ppc64::Ppc64Radix;
use super::riscv::Riscv;
use super::s390x::S390x;
use super::x86::{X86, X86Mode};
use crate::arch::{CpuState, Machine, s390x};
use crate::elf::note::Notes;
use crate::vmcoreinfo::Vmcoreinfo;

/// The address space of each CPU, by `cpus` or by the CPU notes among
/// `notes`, and the kernel's own by VMCOREINFO; those that are known. RAM begins
/// at `ram_start`. `read` reads guest memory, which some kernels' tables must be
/// asked for.
///
/// # Errors
///
/// - [`PagingError::Machine`] if this crate does not know the architecture's
///   page tables;
/// - [`PagingError::NoPageTables`] if none is known.
pub(crate) fn address_spaces(
    machine: Machine,
    cpus: &[CpuState],
    notes: &[u8],
    info: Option<&Vmcoreinfo>,
    ram_start: u64,
    read: &ReadPhysical<'_>,
) -> Result<Vec<AddressSpace>, PagingError> {
    if !is_known(machine) {
        return Err(PagingError::Machine(machine));
    }
    let kernel = info.and_then(|info| of_kernel(machine, info, ram_start, read));
    let of_notes = machine.decode_notes(Notes::new(notes, machine.encoding().order));
    let spaces: Vec<_> = cpus
        .iter()
        .chain(&of_notes)
        .filter_map(|registers| of_registers(machine, registers))
        .chain(kernel)
        .collect();
    if spaces.is_empty() {
        return Err(PagingError::NoPageTables);
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
        | Machine::Riscv32
        | Machine::Ppc64
        | Machine::Ppc64le
        | Machine::S390x
        | Machine::Arm => true,
        Machine::Loongarch64 => false,
    }
}

/// `None` if the registers do not tell: not every note has all of them.
fn of_registers(machine: Machine, registers: &CpuState) -> Option<AddressSpace> {
    match registers {
        // Without EFER: with PAE this is taken for long mode.
        CpuState::X86_64(r) => of_x86(r.cr0, r.cr3, r.cr4, true),
        CpuState::I386(r) => of_x86(r.cr0.into(), r.cr3.into(), r.cr4.into(), false),
        CpuState::Riscv(r) => of_riscv(machine, r.satp),
        // In no note, but a caller may know them.
        CpuState::Aarch64(r) if r.tcr != 0 => Some(AddressSpace::Aarch64(Aarch64 {
            ttbr0: r.ttbr0,
            ttbr1: r.ttbr1,
            tcr: r.tcr,
            order: machine.encoding().order,
        })),
        CpuState::Aarch64(_) => None,
        CpuState::S390x(r) => of_s390x(r),
        CpuState::Arm(_) | CpuState::Ppc64(_) | CpuState::Loongarch64(_) => None,
    }
}

/// The kernel's address space, by VMCOREINFO, where RAM begins at `ram_start`;
/// `None` if that does not tell, or this crate does not know the architecture's
/// page tables.
pub(crate) fn of_kernel(
    machine: Machine,
    info: &Vmcoreinfo,
    ram_start: u64,
    read: &ReadPhysical<'_>,
) -> Option<AddressSpace> {
    match machine {
        Machine::X86_64 => {
            let physical = |vaddr| machine.kernel_image_to_physical(vaddr, info);
            match X86::of_kernel(info, physical) {
                Some(space) => Some(AddressSpace::X86(space)),
                None => of_old_x86_64(info, read),
            }
        }
        Machine::Aarch64 | Machine::Aarch64Be => {
            Aarch64::of_kernel(info, machine.encoding().order).map(AddressSpace::Aarch64)
        }
        Machine::Arm => {
            let found = arm::Found::by(info, ram_start)?;
            let root = found.tables.root;
            maps(AddressSpace::Arm(found.tables), found.swapper, root, read)
        }
        Machine::Riscv64 => Riscv::of_kernel(info).map(AddressSpace::Riscv),
        Machine::S390x => {
            let (vaddr, root) = swapper(machine, info)?;
            let space = AddressSpace::S390x(S390x::of_kernel(root, read)?);
            maps(space, vaddr, root, read)
        }
        // 0: the hash MMU. Older kernels do not say.
        Machine::Ppc64 | Machine::Ppc64le if info.number("RADIX_MMU") != Some(0) => {
            let (vaddr, root) = swapper(machine, info)?;
            let page_size = info.page_size()?;
            maps(
                AddressSpace::Ppc64(Ppc64Radix { root, page_size }),
                vaddr,
                root,
                read,
            )
        }
        _ => None,
    }
}

/// The tables of an x86_64 kernel before Linux 4.13, whose VMCOREINFO contains
/// `SYMBOL(init_level4_pgt)` (`arch_crash_save_vmcoreinfo` in Linux 3.0
/// `arch/x86/kernel/machine_kexec_64.c`). Before 4.10 it does not contain
/// `phys_base`: the kernel is then at the address for which it was linked, if
/// its tables agree.
fn of_old_x86_64(info: &Vmcoreinfo, read: &ReadPhysical<'_>) -> Option<AddressSpace> {
    let vaddr = info.symbol("init_level4_pgt")?;
    let root = Machine::X86_64.kernel_image_to_physical(vaddr, info)?;
    let space = AddressSpace::X86(X86 {
        cr3: root,
        mode: X86Mode::FourLevel,
    });
    maps(space, vaddr, root, read)
}

/// The kernel's first table: its guest-virtual and guest-physical address.
fn swapper(machine: Machine, info: &Vmcoreinfo) -> Option<(u64, u64)> {
    let vaddr = info.symbol("swapper_pg_dir")?;
    Some((vaddr, machine.kernel_image_to_physical(vaddr, info)?))
}

/// `space`, if it has its own first table where that is: then its kind, which
/// VMCOREINFO does not tell, is right.
fn maps(
    space: AddressSpace,
    vaddr: u64,
    gpa: u64,
    read: &ReadPhysical<'_>,
) -> Option<AddressSpace> {
    (space.translate(read, vaddr).ok()? == gpa).then_some(space)
}

/// By the program status word: bit 5 says whether addresses are translated,
/// bits 16 and 17 which control register leads to the tables of the
/// primary, secondary or home space (`PSW_MASK_DAT`, `PSW_MASK_ASC` in Linux
/// `arch/s390/include/uapi/asm/ptrace.h`; the registers in QEMU
/// `target/s390x/mmu_helper.c`).
fn of_s390x(r: &s390x::Registers) -> Option<AddressSpace> {
    const TRANSLATION: u64 = 1 << 58;
    const SPACE_SHIFT: u32 = 46;
    let register = match r.psw_mask >> SPACE_SHIFT & 3 {
        0b10 => 7,
        0b11 => 13,
        // Access registers choose for each access, most often this one.
        _ => 1,
    };
    match r.ctrs[register] {
        // Not in the notes.
        0 => None,
        _ if r.psw_mask & TRANSLATION == 0 => Some(AddressSpace::Physical),
        asce => Some(AddressSpace::S390x(S390x { asce })),
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
    use std::io;

    use super::super::format::Format;
    use super::super::tree::Tree;
    use super::*;
    use crate::abi::ByteOrder;
    use crate::arch::{aarch64, i386, riscv, x86_64};

    fn info(text: &str) -> Vmcoreinfo {
        Vmcoreinfo::parse(format!("OSRELEASE=6.1.0\n{text}").as_bytes()).unwrap()
    }

    /// A guest without memory.
    fn nothing(_: u64, _: &mut [u8]) -> io::Result<()> {
        Err(io::ErrorKind::InvalidInput.into())
    }

    #[test]
    fn kernel_of_x86_64_has_the_address_space_of_vmcoreinfo() {
        // Debian's 6.1 kernel, with KASLR.
        let text = "NUMBER(phys_base)=161480704\nSYMBOL(init_top_pgt)=ffffffffa1410000\n";
        let root = |mode| {
            Some(AddressSpace::X86(X86 {
                cr3: 0x2141_0000 + 161_480_704,
                mode,
            }))
        };
        let of = |text: &str| of_kernel(Machine::X86_64, &info(text), 0, &nothing);
        assert_eq!(of(text), root(X86Mode::FourLevel));
        let four = format!("{text}NUMBER(pgtable_l5_enabled)=0\n");
        assert_eq!(of(&four), root(X86Mode::FourLevel));
        let five = format!("{text}NUMBER(pgtable_l5_enabled)=1\n");
        assert_eq!(of(&five), root(X86Mode::FiveLevel));
        assert_eq!(of("NUMBER(phys_base)=0\n"), None);
        assert_eq!(of("SYMBOL(init_top_pgt)=ffffffffa1410000\n"), None);
    }

    #[test]
    fn old_kernel_of_x86_64_has_the_tables_that_agree() {
        // The table at 16 MiB, where the kernel's image is mapped.
        let tables = [
            (0x100_0ff8, 0x100_1063),
            (0x100_1ff0, 0x100_2063),
            (0x100_2040, 0x100_01e3),
        ];
        let read = |gpa: u64, buf: &mut [u8]| {
            buf.fill(0);
            let found = tables.iter().find(|(at, _)| *at == gpa);
            found.map_or(Ok(()), |(_, entry)| {
                buf.copy_from_slice(&u64::to_le_bytes(*entry)[..buf.len()]);
                Ok(())
            })
        };
        let of = |text: &str| of_kernel(Machine::X86_64, &info(text), 0, &read);
        let root = Some(AddressSpace::X86(X86 {
            cr3: 0x100_0000,
            mode: X86Mode::FourLevel,
        }));
        let pgt = "SYMBOL(init_level4_pgt)=ffffffff81000000\n";
        assert_eq!(of(pgt), root);
        assert_eq!(of(&format!("{pgt}NUMBER(phys_base)=0\n")), root);
        assert_eq!(of(&format!("{pgt}NUMBER(phys_base)=4096\n")), None);
        assert_eq!(of("SYMBOL(init_level4_pgt)=ffffffff82000000\n"), None);
    }

    #[test]
    fn kernel_of_aarch64_has_the_address_space_of_vmcoreinfo() {
        let kernel = |page_size: u64, va_bits: u64, t1sz: &str| {
            let text = format!(
                "PAGESIZE={page_size}\nSYMBOL(swapper_pg_dir)=ffff8000095d9000\n\
                 NUMBER(kimage_voffset)=0xffff7fffc8000000\nNUMBER(VA_BITS)={va_bits}\n{t1sz}"
            );
            let space = of_kernel(Machine::Aarch64, &info(&text), 0, &nothing);
            space.unwrap().trees()
        };
        let shape = |trees: Vec<Tree<Format>>| {
            assert_eq!(trees.len(), 1);
            let tree = &trees[0];
            let bits = tree.levels[0].shift + tree.levels[0].bits;
            (
                tree.root.gpa,
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
        let short = info("PAGESIZE=4096\n");
        assert_eq!(of_kernel(Machine::Aarch64, &short, 0, &nothing), None);
        let nonsense = kernel(4096, 0, "");
        assert!(nonsense.is_empty());
    }

    #[test]
    fn kernel_of_riscv64_has_the_address_space_of_vmcoreinfo() {
        let kernel = |va_bits: u64| {
            let text = format!(
                "SYMBOL(swapper_pg_dir)=ffffffff81a00000\nNUMBER(VA_BITS)={va_bits}\n\
                 NUMBER(va_kernel_pa_offset)=0xfffffffeffe00000\n"
            );
            of_kernel(Machine::Riscv64, &info(&text), 0, &nothing)
        };
        for (va_bits, mode) in [(39, 8u64), (48, 9), (57, 10)] {
            let satp = mode << 60 | 0x81c0_0000 >> 12;
            let expected = AddressSpace::Riscv(Riscv::Bits64 { satp });
            assert_eq!(kernel(va_bits), Some(expected));
        }
        assert_eq!(kernel(40), None);
    }

    /// Guest memory from 0x1_0000 on, of big-endian words.
    fn memory(words: &[(u64, u64)]) -> impl Fn(u64, &mut [u8]) -> io::Result<()> {
        let mut bytes = vec![0; 0x3_0000];
        for (gpa, word) in words {
            let at = (gpa - 0x1_0000) as usize;
            bytes[at..at + 8].copy_from_slice(&word.to_be_bytes());
        }
        move |gpa, buf| {
            let at = gpa.checked_sub(0x1_0000).map(|at| at as usize..);
            let found = at.and_then(|at| bytes.get(at)?.get(..buf.len()));
            buf.copy_from_slice(found.ok_or(io::ErrorKind::InvalidInput)?);
            Ok(())
        }
    }

    #[test]
    fn kernel_of_s390x_has_the_address_space_of_its_first_table() {
        let of = |text: &str, words: &[(u64, u64)]| {
            of_kernel(Machine::S390x, &info(text), 0, &memory(words))
        };
        let expected = |asce| Some(AddressSpace::S390x(S390x { asce }));
        let text = "SYMBOL(swapper_pg_dir)=10000\n";
        // A segment of 1 MiB with the kernel's image.
        let third = [(0x1_0000, 0x2_0007), (0x2_0000, 0x400)];
        assert_eq!(of(text, &third), expected(0x1_0007));
        let second = [
            (0x1_0000, 0x1_400b),
            (0x1_4000, 0x2_0007),
            (0x2_0000, 0x400),
        ];
        assert_eq!(of(text, &second), expected(0x1_000b));
        // The image at a virtual address of its own, since Linux 6.10; the
        // first entry of the root is empty, and has its type all the same.
        let moved = "SYMBOL(swapper_pg_dir)=3ffe0010000\n\
                     KERNELOFFSET=3ffe0000000\nKERNELOFFPHYS=0\n";
        let tables = [
            (0x1_0000, 0x24),
            (0x1_0000 + 0x7ff * 8, 0x2_0007),
            (0x2_0000 + 0x600 * 8, 0x400),
        ];
        assert_eq!(of(moved, &tables), expected(0x1_0007));
        // No type, no tables, a root that is not where it maps itself.
        assert_eq!(of(text, &[(0x1_0000, 0x2_0003), (0x2_0000, 0x400)]), None);
        assert_eq!(of("SYMBOL(swapper_pg_dir)=50000\n", &third), None);
        let elsewhere = [(0x1_0000, 0x2_0007), (0x2_0000, 0x10_0400)];
        assert_eq!(of(text, &elsewhere), None);
        assert_eq!(of("", &third), None);
    }

    #[test]
    fn kernel_of_ppc64_has_the_address_space_of_its_radix_table() {
        const ROOT: u64 = 0x2_0000;
        const VALID: u64 = 1 << 63;
        const LEAF: u64 = 3 << 62;
        let of = |machine, lines: &str, words: &[(u64, u64)]| {
            let text = format!("PAGESIZE=65536\nSYMBOL(swapper_pg_dir)=c000000000020000\n{lines}");
            of_kernel(machine, &info(&text), 0, &memory(words))
        };
        let radix = [
            (ROOT, 0x1_0000 | VALID | 9),
            (0x1_0000, 0x1_1000 | VALID | 9),
            (0x1_1000, LEAF),
        ];
        let expected = Some(AddressSpace::Ppc64(Ppc64Radix {
            root: ROOT,
            page_size: 65536,
        }));
        for machine in [Machine::Ppc64, Machine::Ppc64le] {
            assert_eq!(of(machine, "", &radix), expected);
            assert_eq!(of(machine, "NUMBER(RADIX_MMU)=1\n", &radix), expected);
            assert_eq!(of(machine, "NUMBER(RADIX_MMU)=0\n", &radix), None);
            // The hash MMU's root has no linear mapping; its pointers have no
            // sizes.
            assert_eq!(of(machine, "", &[]), None);
            assert_eq!(
                of(machine, "", &[(ROOT, 0x1_0000 | VALID), radix[1], radix[2]]),
                None
            );
        }
    }

    #[test]
    fn registers_of_each_architecture_give_address_spaces() {
        let spaces =
            |machine, cpus: &[CpuState]| address_spaces(machine, cpus, &[], None, 0, &nothing);
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
            CpuState::from(riscv::Registers {
                satp,
                ..riscv::Registers::default()
            })
        };
        let of_hart = |machine, satp| spaces(machine, &[hart(satp)]).unwrap();
        let bits64 = AddressSpace::Riscv(Riscv::Bits64 { satp: 9 << 60 | 1 });
        let bits32 = AddressSpace::Riscv(Riscv::Bits32 { satp: 1 << 31 | 1 });
        assert_eq!(of_hart(Machine::Riscv64, 9 << 60 | 1), [bits64]);
        assert_eq!(of_hart(Machine::Riscv32, 1 << 31 | 1), [bits32]);
        // The program status word chooses one of three spaces.
        let s390x = |psw_mask| {
            let mut ctrs = [0; 16];
            (ctrs[1], ctrs[7], ctrs[13]) = (0x1007, 0x7007, 0xd007);
            let registers = super::s390x::Registers {
                psw_mask,
                ctrs,
                ..super::s390x::Registers::default()
            };
            spaces(Machine::S390x, &[registers.into()]).unwrap()
        };
        let element = |asce| [AddressSpace::S390x(S390x { asce })];
        assert_eq!(s390x(0x0704_0001_8000_0000), element(0x1007));
        assert_eq!(s390x(0x0704_8001_8000_0000), element(0x7007));
        assert_eq!(s390x(0x0704_c001_8000_0000), element(0xd007));
        assert_eq!(s390x(0x0004_0001_8000_0000), [AddressSpace::Physical]);
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
            (Machine::S390x, super::s390x::Registers::default().into()),
        ] {
            let result = spaces(machine, &[cpu]);
            assert!(
                matches!(result, Err(PagingError::NoPageTables)),
                "{machine}"
            );
        }
        let result = spaces(Machine::Loongarch64, &[]);
        assert!(matches!(result, Err(PagingError::Machine(_))));
    }
}

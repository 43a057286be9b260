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

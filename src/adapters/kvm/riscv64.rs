//! Registers of riscv64 and riscv32 from pairs of `KVM_GET_ONE_REG`.
//!
//! Source: Linux `arch/riscv/include/uapi/asm/kvm.h`. Ids count words in its
//! `struct kvm_riscv_core` (with `struct user_regs_struct` of `asm/ptrace.h`)
//! and `struct kvm_riscv_csr`.
#![forbid(unsafe_code)]

use crate::adapters::kvm::{
    KVM_REG_RISCV, KVM_REG_SIZE_U32, KVM_REG_SIZE_U64, OneRegError, OneRegs,
};
use crate::arch::riscv::{Registers, USER_REGS};

/// The id of a register of a riscv64 guest, by its index in `struct user_regs_struct`: pc
/// is 0, then x1 (ra) to x31.
#[must_use]
pub const fn user(n: u64) -> u64 {
    KVM_REG_RISCV | KVM_REG_SIZE_U64 | (0x02 << 24) | n
}
/// The id of satp of a riscv64 guest: the page tables.
pub const SATP: u64 = KVM_REG_RISCV | KVM_REG_SIZE_U64 | (0x03 << 24) | 8;

/// Makes a vCPU's registers from pairs of id and value.
///
/// All registers but [`SATP`] are required. A dump with guest-virtual addresses also needs
/// [`SATP`]. The registers of a riscv32 guest have 32-bit ids.
///
/// # Errors
///
/// If the size of a value differs from that in its id, or a required register is missing.
pub fn registers<V: AsRef<[u8]>>(
    registers: impl IntoIterator<Item = (u64, V)>,
) -> Result<Registers, OneRegError> {
    let given = OneRegs::new(registers)?;
    let narrow = |id: u64| id ^ KVM_REG_SIZE_U64 ^ KVM_REG_SIZE_U32;
    let get = |id| given.get(id).or_else(|| given.get(narrow(id)));
    let mut regs = [0; USER_REGS];
    for (n, to) in (0..).zip(&mut regs) {
        let (id, name) = (user(n), "pc, x1 to x31");
        *to = get(id).ok_or(OneRegError::Missing { id, name })? as u64;
    }
    Ok(Registers {
        satp: get(SATP).unwrap_or_default() as u64,
        ..Registers::from_user_regs(regs)
    })
}

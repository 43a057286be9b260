//! riscv64, and riscv32: from KVM's one-reg pairs.
//!
//! Source: Linux `arch/riscv/include/uapi/asm/kvm.h`: ids count words in its
//! `struct kvm_riscv_core` (with `struct user_regs_struct` of `asm/ptrace.h`)
//! and `struct kvm_riscv_csr`.
#![forbid(unsafe_code)]

use crate::adapters::kvm::{
    KVM_REG_RISCV, KVM_REG_SIZE_U32, KVM_REG_SIZE_U64, OneRegError, OneRegs,
};
use crate::arch::riscv::{Registers, USER_REGS};

/// A register of `struct user_regs_struct`: pc is 0, then x1 (ra) to x31.
/// Of a riscv64 guest.
#[must_use]
pub const fn user(n: u64) -> u64 {
    KVM_REG_RISCV | KVM_REG_SIZE_U64 | (0x02 << 24) | n
}
/// satp of a riscv64 guest: the page tables.
pub const SATP: u64 = KVM_REG_RISCV | KVM_REG_SIZE_U64 | (0x03 << 24) | 8;

/// A vCPU's registers from pairs of id and value. All but [`SATP`] must be
/// there; without that there is no dump with guest-virtual addresses. Those of
/// a riscv32 guest have 32-bit ids.
///
/// # Errors
///
/// If a value has not its id's size, or one that must be there is missing.
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

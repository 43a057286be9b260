//! Registers of aarch64 from pairs of `KVM_GET_ONE_REG`.
//!
//! Sources:
//!
//! - Linux `arch/arm64/include/uapi/asm/kvm.h`. Ids of core registers count 32-bit words in
//!   its `struct kvm_regs`, with `struct user_pt_regs` and `struct user_fpsimd_state` of
//!   `asm/ptrace.h`.
//! - Linux `arch/arm64/include/asm/sysreg.h` for the encodings of system registers.
#![forbid(unsafe_code)]

use crate::adapters::kvm::{
    KVM_REG_ARM64, KVM_REG_SIZE_U32, KVM_REG_SIZE_U64, KVM_REG_SIZE_U128, KVM_REG_SIZE_U256,
    KVM_REG_SIZE_U512, KVM_REG_SIZE_U2048, OneRegError, OneRegs,
};
use crate::arch::aarch64::{Registers, Sve};

/// A core register of `size`, at `offset` bytes in `struct kvm_regs`.
const fn core(size: u64, offset: u64) -> u64 {
    KVM_REG_ARM64 | size | (0x0010 << 16) | (offset / 4)
}

const fn sysreg(op0: u64, op1: u64, crn: u64, crm: u64, op2: u64) -> u64 {
    let encoding = (op0 << 14) | (op1 << 11) | (crn << 7) | (crm << 3) | op2;
    KVM_REG_ARM64 | KVM_REG_SIZE_U64 | (0x0013 << 16) | encoding
}

const fn sve(size: u64, register: u64) -> u64 {
    KVM_REG_ARM64 | size | (0x0015 << 16) | register
}

/// x0 to x30.
#[must_use]
pub const fn x(n: u64) -> u64 {
    core(KVM_REG_SIZE_U64, 8 * n)
}
/// SP_EL0.
pub const SP_EL0: u64 = core(KVM_REG_SIZE_U64, 248);
/// The program counter.
pub const PC: u64 = core(KVM_REG_SIZE_U64, 256);
/// PSTATE.
pub const PSTATE: u64 = core(KVM_REG_SIZE_U64, 264);
/// SP_EL1.
pub const SP_EL1: u64 = core(KVM_REG_SIZE_U64, 272);
/// v0 to v31. A vCPU with SVE has [`z`] instead.
#[must_use]
pub const fn v(n: u64) -> u64 {
    core(KVM_REG_SIZE_U128, 336 + 16 * n)
}
/// FPSR.
pub const FPSR: u64 = core(KVM_REG_SIZE_U32, 336 + 512);
/// FPCR.
pub const FPCR: u64 = core(KVM_REG_SIZE_U32, 336 + 516);
/// ZCR_EL1: the vector length that the kernel chose.
pub const ZCR_EL1: u64 = sysreg(3, 0, 1, 2, 0);
/// TTBR0_EL1.
pub const TTBR0_EL1: u64 = sysreg(3, 0, 2, 0, 0);
/// TTBR1_EL1.
pub const TTBR1_EL1: u64 = sysreg(3, 0, 2, 0, 1);
/// TCR_EL1.
pub const TCR_EL1: u64 = sysreg(3, 0, 2, 0, 2);
/// SP_EL2. Only a vCPU that can run a hypervisor has it.
pub const SP_EL2: u64 = sysreg(3, 6, 4, 1, 0);
/// z0 to z31, 256 bytes each.
#[must_use]
pub const fn z(n: u64) -> u64 {
    sve(KVM_REG_SIZE_U2048, n << 5)
}
/// p0 to p15, 32 bytes each.
#[must_use]
pub const fn p(n: u64) -> u64 {
    sve(KVM_REG_SIZE_U256, 0x400 | (n << 5))
}
/// The first fault register, 32 bytes.
pub const FFR: u64 = sve(KVM_REG_SIZE_U256, 0x600);
/// The vector lengths of the vCPU: bit n stands for 16 · (n + 1) bytes.
pub const SVE_VLS: u64 = sve(KVM_REG_SIZE_U512, 0xffff);

/// Makes a vCPU's registers from pairs of id and value.
///
/// x0 to x30, pc, pstate and the stack pointers are required. A dump with guest-virtual
/// addresses also needs the three registers of the page tables.
///
/// # Errors
///
/// If the size of a value differs from that in its id, or a required register is missing.
pub fn registers<V: AsRef<[u8]>>(
    registers: impl IntoIterator<Item = (u64, V)>,
) -> Result<Registers, OneRegError> {
    let given = OneRegs::new(registers)?;
    let word = |id| given.get(id).unwrap_or_default() as u64;
    let pstate = given.need(PSTATE, "pstate")?;
    let mut registers = Registers {
        sp: stack_pointer(&given, pstate)?,
        pc: given.need(PC, "pc")?,
        pstate,
        fpsr: word(FPSR) as u32,
        fpcr: word(FPCR) as u32,
        sve: scalable(&given)?,
        ttbr0: word(TTBR0_EL1),
        ttbr1: word(TTBR1_EL1),
        tcr: word(TCR_EL1),
        ..Registers::default()
    };
    for (n, to) in (0..).zip(&mut registers.x) {
        *to = given.need(x(n), "x0 to x30")?;
    }
    for (n, to) in (0..).zip(&mut registers.v) {
        let low = |z: &[u8]| Some(u128::from_le_bytes(*z.first_chunk()?));
        let of_z = || given.bytes(z(n)).and_then(low);
        *to = given.get(v(n)).or_else(of_z).unwrap_or_default();
    }
    Ok(registers)
}

/// Values of PSTATE's M field for an exception level that uses its own stack pointer, as
/// Linux's kernel does (Linux `arch/arm64/include/uapi/asm/ptrace.h`).
const PSR_MODE_MASK: u64 = 0x1f;
const PSR_MODE_EL1H: u64 = 0x5;
const PSR_MODE_EL2H: u64 = 0x9;

/// Returns the stack pointer of the current exception level.
fn stack_pointer<V: AsRef<[u8]>>(given: &OneRegs<V>, pstate: u64) -> Result<u64, OneRegError> {
    match pstate & PSR_MODE_MASK {
        PSR_MODE_EL1H => given.need(SP_EL1, "SP_EL1"),
        PSR_MODE_EL2H => given.need(SP_EL2, "SP_EL2"),
        _ => given.need(SP_EL0, "SP_EL0"),
    }
}

/// Returns the scalable vector registers, if the vCPU has them.
fn scalable<V: AsRef<[u8]>>(given: &OneRegs<V>) -> Result<Option<Sve>, OneRegError> {
    if given.bytes(z(0)).is_none() {
        return Ok(None);
    }
    let (id, name) = (SVE_VLS, "KVM_REG_ARM64_SVE_VLS");
    let lengths = given.bytes(id).ok_or(OneRegError::Missing { id, name })?;
    // A register has room for at most 16 times 16 bytes.
    let has = |quads: &u16| lengths[usize::from(quads - 1) / 8] >> ((quads - 1) % 8) & 1 == 1;
    let longest = (1..=16).filter(has).max().unwrap_or(1);
    // ZCR_EL1.LEN is one less than the requested length. If the CPU does not have that
    // length, it uses the next shorter one.
    let chosen = given
        .get(ZCR_EL1)
        .map_or(longest, |zcr| (zcr & 0xf) as u16 + 1);
    let now = (1..=chosen).filter(has).max().unwrap_or(1);
    let vl = 16 * now;
    let cut = |id, len: u16| {
        let bytes = given.bytes(id).unwrap_or_default();
        bytes[..bytes.len().min(len.into())].to_vec()
    };
    Ok(Some(Sve {
        vl,
        max_vl: 16 * longest,
        z: std::array::from_fn(|n| cut(z(n as u64), vl)),
        p: std::array::from_fn(|n| cut(p(n as u64), vl / 8)),
        ffr: cut(FFR, vl / 8),
    }))
}

//! Adapters from KVM's registers. Needs the feature `kvm-bindings`.
//!
//! - On an x86_64 host, `kvm::x86_64` takes the structs of kvm-bindings 0.14:
//!   `kvm_regs`, `kvm_sregs`, MSRs, debug registers, FPU or XSAVE state. kvm-bindings has
//!   these structs on no other host.
//! - [`aarch64`] and [`riscv64`] take the answers of `KVM_GET_ONE_REG` on any host. An
//!   answer is a pair of the register's id and its value, in little-endian bytes of the
//!   size in the id. All registers of `KVM_GET_REG_LIST` may be given, in any order.
//!   Registers that have no place in a dump are ignored.
//!
//! ```
//! # #[cfg(target_arch = "x86_64")] {
//! use guestdump::adapters::kvm;
//! use guestdump::{DumpOptions, Format, GuestInfo, Machine};
//! # use kvm_bindings::{kvm_msr_entry, kvm_regs, kvm_sregs};
//! # let (regs, sregs) = (kvm_regs::default(), kvm_sregs::default());
//! # let msrs = [kvm_msr_entry::default()];
//!
//! // regs, sregs and msrs are the answers of KVM_GET_REGS, KVM_GET_SREGS, KVM_GET_MSRS.
//! let vcpu0 = kvm::x86_64::registers(&regs, &sregs, &msrs);
//! let guest = GuestInfo::new(Machine::X86_64).cpus([vcpu0]);
//! let options = DumpOptions::new(guest, Format::Elf);
//! # }
//! ```
#![forbid(unsafe_code)]

pub mod aarch64;
pub mod riscv64;
#[cfg(target_arch = "x86_64")]
pub mod x86_64;

/// Why registers are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OneRegError {
    /// The size of a value differs from that in the register's id.
    #[error("KVM's register {id:#x} has a value of {len} bytes; its id says {size}")]
    Size {
        /// The register's id.
        id: u64,
        /// Size of the value in bytes.
        len: usize,
        /// Size by the id in bytes.
        size: usize,
    },
    /// A register is missing without which the dump would be misleading.
    #[error("KVM's register {id:#x} ({name}) is missing; read it with KVM_GET_ONE_REG")]
    Missing {
        /// The register's id.
        id: u64,
        /// The register's name.
        name: &'static str,
    },
}

/// Bits of a register's id (Linux `include/uapi/linux/kvm.h`).
const KVM_REG_ARM64: u64 = 0x6000_0000_0000_0000;
const KVM_REG_RISCV: u64 = 0x8000_0000_0000_0000;
const KVM_REG_SIZE_SHIFT: u32 = 52;
const KVM_REG_SIZE_MASK: u64 = 0x00f0_0000_0000_0000;
const KVM_REG_SIZE_U32: u64 = 2 << KVM_REG_SIZE_SHIFT;
const KVM_REG_SIZE_U64: u64 = 3 << KVM_REG_SIZE_SHIFT;
const KVM_REG_SIZE_U128: u64 = 4 << KVM_REG_SIZE_SHIFT;
const KVM_REG_SIZE_U256: u64 = 5 << KVM_REG_SIZE_SHIFT;
const KVM_REG_SIZE_U512: u64 = 6 << KVM_REG_SIZE_SHIFT;
const KVM_REG_SIZE_U2048: u64 = 8 << KVM_REG_SIZE_SHIFT;

/// Values by their ids. Each has the size in its id.
struct OneRegs<V>(std::collections::BTreeMap<u64, V>);

impl<V: AsRef<[u8]>> OneRegs<V> {
    fn new(registers: impl IntoIterator<Item = (u64, V)>) -> Result<Self, OneRegError> {
        let mut all = std::collections::BTreeMap::new();
        for (id, value) in registers {
            let size = 1 << ((id & KVM_REG_SIZE_MASK) >> KVM_REG_SIZE_SHIFT);
            let len = value.as_ref().len();
            if len != size {
                return Err(OneRegError::Size { id, len, size });
            }
            all.insert(id, value);
        }
        Ok(Self(all))
    }

    fn bytes(&self, id: u64) -> Option<&[u8]> {
        self.0.get(&id).map(AsRef::as_ref)
    }

    /// Returns the value of a register of at most 16 bytes.
    fn get(&self, id: u64) -> Option<u128> {
        let value = self.bytes(id)?;
        let mut bytes = [0; 16];
        bytes.get_mut(..value.len())?.copy_from_slice(value);
        Some(u128::from_le_bytes(bytes))
    }

    fn need(&self, id: u64, name: &'static str) -> Result<u64, OneRegError> {
        let value = self.get(id).ok_or(OneRegError::Missing { id, name })?;
        Ok(value as u64)
    }
}

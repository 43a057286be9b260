//! Adapters from types of other crates to types of this crate. Each adapter is a feature,
//! and nothing else in this crate depends on it.
//!
//! | feature | module | from | to |
//! |---|---|---|---|
//! | `vm-memory` | `vm_memory` | guest memory of vm-memory 0.18 | [`GuestMemory`](crate::GuestMemory) |
//! | `vm-memory-0-17` | `vm_memory_0_17` | guest memory of vm-memory 0.17 | [`GuestMemory`](crate::GuestMemory) |
//! | `kvm-bindings` | `kvm` | KVM's registers | [`CpuState`](crate::CpuState) |

#[cfg(feature = "kvm-bindings")]
pub mod kvm;
#[cfg(any(feature = "vm-memory", feature = "vm-memory-0-17"))]
mod mapped_regions;
#[cfg(any(feature = "vm-memory", feature = "vm-memory-0-17"))]
mod region_part;
#[cfg(any(feature = "vm-memory", feature = "vm-memory-0-17"))]
mod vm_memory_options;
#[cfg(any(feature = "vm-memory", feature = "vm-memory-0-17"))]
mod vm_memory_version;

#[cfg(feature = "vm-memory")]
pub mod vm_memory;
#[cfg(feature = "vm-memory-0-17")]
pub mod vm_memory_0_17;

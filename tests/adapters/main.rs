//! The adapters to other crates: guest memory of vm-memory in both versions,
//! KVM's registers.
// The same tests for both versions.
#![allow(missing_docs, clippy::unwrap_used, clippy::duplicate_mod)]

#[cfg(feature = "vm-memory")]
#[path = "."]
mod vm_memory_0_18 {
    use ::vm_memory as vmm;
    use guestdump::adapters::vm_memory as adapter;
    use vmm::GuestMemoryBackend as Backend;

    #[path = "vm_memory_regions.rs"]
    mod regions;
    #[path = "vm_memory_tests.rs"]
    mod tests;
}

#[cfg(feature = "vm-memory-0-17")]
#[path = "."]
mod vm_memory_0_17 {
    use ::vm_memory_0_17 as vmm;
    use guestdump::adapters::vm_memory_0_17 as adapter;
    use vmm::GuestMemory as Backend;

    #[path = "vm_memory_regions.rs"]
    mod regions;
    #[path = "vm_memory_tests.rs"]
    mod tests;
}

#[cfg(feature = "kvm-bindings")]
mod kvm_one_reg;
#[cfg(all(feature = "kvm-bindings", target_arch = "x86_64"))]
mod kvm_x86_64;

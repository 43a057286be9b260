//! The registers of an x86_64 CPU.
#![forbid(unsafe_code)]

use crate::arch::json::json_struct;
use crate::arch::segment::{DescriptorTable, Segment};

json_struct! {
    /// A virtual CPU's registers. All default to 0.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    #[allow(missing_docs)] // The names are the architecture's.
    pub struct Registers {
        pub rax: u64,
        pub rbx: u64,
        pub rcx: u64,
        pub rdx: u64,
        pub rsi: u64,
        pub rdi: u64,
        pub rsp: u64,
        pub rbp: u64,
        pub r8: u64,
        pub r9: u64,
        pub r10: u64,
        pub r11: u64,
        pub r12: u64,
        pub r13: u64,
        pub r14: u64,
        pub r15: u64,
        pub rip: u64,
        pub rflags: u64,
        pub cs: Segment,
        pub ds: Segment,
        pub es: Segment,
        pub fs: Segment,
        pub gs: Segment,
        pub ss: Segment,
        pub ldt: Segment,
        pub tr: Segment,
        pub gdt: DescriptorTable,
        pub idt: DescriptorTable,
        pub cr0: u64,
        /// Reserved by the architecture; QEMU keeps a slot for it.
        pub cr1: u64,
        pub cr2: u64,
        pub cr3: u64,
        pub cr4: u64,
        /// MSR `KERNEL_GS_BASE` (0xc0000102).
        pub kernel_gs_base: u64,
    }
}

impl Registers {
    pub(super) fn program_counter(&self) -> u64 {
        self.rip
    }

    pub(super) fn stack_pointer(&self) -> u64 {
        self.rsp
    }

    /// `NT_PRSTATUS` alone does not have cr3.
    pub(super) fn page_table_root(&self) -> Option<u64> {
        (self.cr3 != 0).then_some(self.cr3)
    }
}

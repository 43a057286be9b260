//! Properties that follow from the word size of a Windows kernel.
#![forbid(unsafe_code)]

use std::ops::Range;

use crate::guest::paging::X86Mode;
use crate::guest::windows::discover::format::{KUSER_SHARED_DATA_32, KUSER_SHARED_DATA_64};
use crate::windmp::{Context32, Context64};

/// The word size of a Windows kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    /// 32 bits, with PAE or without.
    Bits32,
    Bits64,
}

impl Width {
    /// Returns the word size of a kernel with such page tables.
    pub(crate) const fn of(mode: X86Mode) -> Self {
        match mode {
            X86Mode::TwoLevel { .. } | X86Mode::Pae => Self::Bits32,
            X86Mode::FourLevel | X86Mode::FiveLevel => Self::Bits64,
        }
    }

    /// Returns the number of bytes in a pointer.
    pub(crate) const fn word(self) -> usize {
        match self {
            Self::Bits32 => 4,
            Self::Bits64 => 8,
        }
    }

    /// Returns the guest-virtual address of `KUSER_SHARED_DATA`.
    pub(crate) const fn shared_data(self) -> u64 {
        match self {
            Self::Bits32 => KUSER_SHARED_DATA_32,
            Self::Bits64 => KUSER_SHARED_DATA_64,
        }
    }

    /// Returns whether `vaddr` may belong to the kernel, which has the upper
    /// half of all addresses. A 32-bit Windows started with /3GB has the upper
    /// quarter, which is part of it.
    pub(crate) const fn is_kernel_address(self, vaddr: u64) -> bool {
        match self {
            Self::Bits32 => 0x8000_0000 <= vaddr && vaddr <= 0xffff_ffff,
            Self::Bits64 => vaddr >= 0xffff_8000_0000_0000,
        }
    }

    /// Returns the guest-virtual addresses where Windows puts its kernel's
    /// image. For 64 bits MemProcFS `vmm/vmmwininit.c` looks there too.
    pub(crate) const fn kernel_space(self) -> Range<u64> {
        match self {
            Self::Bits32 => 0x8000_0000..0x1_0000_0000,
            Self::Bits64 => 0xffff_f800_0000_0000..0xffff_f810_0000_0000,
        }
    }

    /// Returns the most CPUs that Windows supports. Windows Server 2022
    /// supports
    /// 2048. A 32-bit Windows has one bit for each CPU in a word.
    pub(crate) const fn max_cpus(self) -> usize {
        match self {
            Self::Bits32 => 32,
            Self::Bits64 => 2048,
        }
    }

    /// Returns the address in `word`. KDBG has 64 bits for each address, and
    /// 32-bit kernels may sign-extend it.
    pub(crate) const fn address(self, word: u64) -> u64 {
        match self {
            Self::Bits32 => word & 0xffff_ffff,
            Self::Bits64 => word,
        }
    }

    /// Returns the size of a `CONTEXT` in bytes.
    pub(crate) const fn context(self) -> usize {
        match self {
            Self::Bits32 => Context32::SIZE,
            Self::Bits64 => Context64::SIZE,
        }
    }
}

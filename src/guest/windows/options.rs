//! Facts that a caller states about a Windows guest.
#![forbid(unsafe_code)]

use crate::guest::windows::ExtraState;
use crate::windmp::BugcheckData;

/// The source of a Windows dump's header.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum HeaderSource {
    /// The guest's note. If there is none, the header is built from the guest
    /// itself.
    #[default]
    Any,
    /// The note of the guest's driver, to which
    /// [`GuestInfo::vmcoreinfo`](crate::guest::GuestInfo::vmcoreinfo) leads. A
    /// scan of guest RAM finds it as well, at the start of a page.
    Note,
    /// These bytes, a `DUMP_HEADER64` of 8 KiB or a `DUMP_HEADER32` of 4 KiB.
    Given(Vec<u8>),
    /// Built from the kernel's data in guest memory, starting at the registers
    /// of the CPUs. This works for Windows XP and later, 32-bit and 64-bit.
    Guest,
}

/// The place in guest memory where Windows keeps one CPU's `CONTEXT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextPlace {
    /// Index of the virtual CPU in
    /// [`GuestInfo::cpus`](crate::guest::GuestInfo::cpus).
    pub cpu: usize,
    /// Guest-physical address and length in bytes of each piece, in order. A
    /// context that crosses a page border may continue in any other page.
    pub pieces: Vec<(u64, usize)>,
}

/// Facts about a Windows guest beyond its memory and its CPUs' registers.
#[derive(Debug, Clone, Default)]
pub struct WindowsInfo {
    pub(crate) crash_registers: Option<BugcheckData>,
    pub(crate) extra: Vec<ExtraState>,
    pub(crate) contexts: Vec<ContextPlace>,
    pub(crate) crashed_cpu: usize,
}

impl WindowsInfo {
    /// Creates a description that states no facts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets Hyper-V's crash registers, `HV_X64_MSR_CRASH_P0` to `P4`.
    ///
    /// Windows writes the bug check's code and its parameters into them. A dump
    /// uses them if the guest's `KiBugcheckData` cannot be read.
    #[must_use]
    pub fn crash_registers(mut self, registers: [u64; 5]) -> Self {
        self.crash_registers = Some(BugcheckData::from_crash_registers(registers));
        self
    }

    /// Sets the registers of each virtual CPU, in order, that
    /// [`GuestInfo::cpus`](crate::guest::GuestInfo::cpus) does not contain.
    #[must_use]
    pub fn extra_state(mut self, cpus: impl IntoIterator<Item = ExtraState>) -> Self {
        self.extra = cpus.into_iter().collect();
        self
    }

    /// Sets where Windows stores the contexts of CPUs.
    ///
    /// The dump contains the CPUs' registers there; guest memory is not
    /// written. If the caller sets no places, KDBG gives them.
    #[must_use]
    pub fn contexts(mut self, places: impl IntoIterator<Item = ContextPlace>) -> Self {
        self.contexts = places.into_iter().collect();
        self
    }

    /// Sets the index of the virtual CPU that crashed. The header contains its
    /// registers. The default is the first virtual CPU.
    #[must_use]
    pub fn crashed_cpu(mut self, cpu: usize) -> Self {
        self.crashed_cpu = cpu;
        self
    }
}

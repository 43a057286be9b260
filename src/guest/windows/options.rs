//! What a caller says about a Windows guest.
#![forbid(unsafe_code)]

use crate::guest::windows::ExtraState;
use crate::windmp::BugcheckData;

/// Where a Windows dump's header comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum HeaderSource {
    /// The guest's note, or without one built from the guest itself.
    #[default]
    Any,
    /// The note of the guest's driver, which
    /// [`GuestInfo::vmcoreinfo`](crate::guest::GuestInfo::vmcoreinfo) leads to.
    /// A scan of guest RAM finds it as well, at the start of a page.
    Note,
    /// These bytes: a `DUMP_HEADER64` of 8 KiB or a `DUMP_HEADER32` of 4 KiB.
    Given(Vec<u8>),
    /// Built from what the guest's kernel has in memory, beginning with the
    /// registers of its CPUs: Windows XP and later, 32-bit and 64-bit.
    Guest,
}

/// Where in guest memory Windows keeps one CPU's `CONTEXT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextPlace {
    /// Index of the virtual CPU in
    /// [`GuestInfo::cpus`](crate::guest::GuestInfo::cpus).
    pub cpu: usize,
    /// Guest-physical address and length in bytes of each piece, in order: a
    /// context that reaches over a page border may go on in any other page.
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
    /// No fact.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets Hyper-V's crash registers, `HV_X64_MSR_CRASH_P0` to `P4`, into
    /// which Windows writes the bug check's code and its parameters. A dump
    /// uses them where the guest's `KiBugcheckData` cannot be read.
    #[must_use]
    pub fn crash_registers(mut self, registers: [u64; 5]) -> Self {
        self.crash_registers = Some(BugcheckData::from_crash_registers(registers));
        self
    }

    /// Sets registers that [`GuestInfo::cpus`](crate::guest::GuestInfo::cpus)
    /// does not contain, of each virtual CPU in order.
    #[must_use]
    pub fn extra_state(mut self, cpus: impl IntoIterator<Item = ExtraState>) -> Self {
        self.extra = cpus.into_iter().collect();
        self
    }

    /// Sets where Windows stores the contexts of CPUs. The dump contains the
    /// CPUs' registers there; guest memory is not written. Without any, KDBG
    /// tells the places.
    #[must_use]
    pub fn contexts(mut self, places: impl IntoIterator<Item = ContextPlace>) -> Self {
        self.contexts = places.into_iter().collect();
        self
    }

    /// Sets the index of the virtual CPU that crashed, whose registers the
    /// header contains. The default is the first one.
    #[must_use]
    pub fn crashed_cpu(mut self, cpu: usize) -> Self {
        self.crashed_cpu = cpu;
        self
    }
}

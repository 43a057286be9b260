//! The guest's state as far as a dump reads it, and the crash data of a guest.
//!
//! Source: QEMU's `qapi/run-state.json`.

use serde::{Deserialize, Serialize};

use crate::guest::windows::BugcheckData;

/// QEMU's enumeration of a virtual machine's states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RunState {
    /// A debugger has stopped the guest.
    Debug,
    /// The guest waits for an incoming migration, and its memory is not complete.
    Inmigrate,
    /// An error in the VMM prevents the guest from running.
    InternalError,
    /// An I/O error has stopped the guest.
    IoError,
    /// The user has stopped the guest.
    Paused,
    /// The guest was migrated away.
    Postmigrate,
    /// The guest has not started yet.
    Prelaunch,
    /// The guest is paused for the end of a migration.
    FinishMigrate,
    /// The guest's state is being restored.
    RestoreVm,
    /// The guest runs.
    Running,
    /// The guest is paused while its state is saved, as for a dump.
    SaveVm,
    /// The guest is shut down.
    Shutdown,
    /// The guest sleeps (ACPI S3).
    Suspended,
    /// A watchdog has stopped the guest.
    Watchdog,
    /// The guest has panicked.
    GuestPanicked,
    /// The guest is paused for a COLO checkpoint.
    Colo,
}

impl RunState {
    /// Every state, in the schema's order.
    pub const ALL: &'static [Self] = &[
        Self::Debug,
        Self::Inmigrate,
        Self::InternalError,
        Self::IoError,
        Self::Paused,
        Self::Postmigrate,
        Self::Prelaunch,
        Self::FinishMigrate,
        Self::RestoreVm,
        Self::Running,
        Self::SaveVm,
        Self::Shutdown,
        Self::Suspended,
        Self::Watchdog,
        Self::GuestPanicked,
        Self::Colo,
    ];

    /// Whether the guest runs. A dump pauses such a guest, and resumes it afterwards.
    #[must_use]
    pub const fn is_running(self) -> bool {
        matches!(self, Self::Running)
    }

    /// Whether the guest's memory can be dumped: in every state but [`Inmigrate`](Self::Inmigrate).
    #[must_use]
    pub const fn allows_dump(self) -> bool {
        !matches!(self, Self::Inmigrate)
    }
}

/// The answer to `query-status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusInfo {
    /// Whether the guest's CPUs run.
    pub running: bool,
    /// The guest's state.
    pub status: RunState,
}

impl From<RunState> for StatusInfo {
    fn from(status: RunState) -> Self {
        Self {
            running: status.is_running(),
            status,
        }
    }
}

/// The action that is taken when a guest panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum GuestPanicAction {
    /// The guest is paused.
    Pause,
    /// The guest is powered off.
    Poweroff,
    /// The guest runs on.
    Run,
}

/// The crash data of a guest that panicked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum GuestPanicInformation {
    /// Hyper-V's crash registers.
    HyperV(GuestPanicInformationHyperV),
    /// The PSW of an s390 guest.
    S390(GuestPanicInformationS390),
    /// A TDX guest's fatal error (QEMU 10.1).
    Tdx(GuestPanicInformationTdx),
    /// A SEV guest's termination request (QEMU 11.0).
    Sev(GuestPanicInformationSev),
}

/// Hyper-V's crash registers, `HV_X64_MSR_CRASH_P0` to `P4`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GuestPanicInformationHyperV {
    /// Windows: the STOP code. Linux: an error code.
    pub arg1: u64,
    /// Windows: the STOP's first argument. Linux: the guest OS identity.
    pub arg2: u64,
    /// Windows: the STOP's second argument. Linux: the program counter.
    pub arg3: u64,
    /// Windows: the STOP's third argument. Linux: RAX, or the stack pointer
    /// on aarch64.
    pub arg4: u64,
    /// Windows: the STOP's fourth argument. Linux on x86: the stack pointer.
    pub arg5: u64,
}

impl From<GuestPanicInformationHyperV> for BugcheckData {
    fn from(crash: GuestPanicInformationHyperV) -> Self {
        let GuestPanicInformationHyperV {
            arg1,
            arg2,
            arg3,
            arg4,
            arg5,
        } = crash;
        Self::from_crash_registers([arg1, arg2, arg3, arg4, arg5])
    }
}

/// The place at which an s390 guest stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct GuestPanicInformationS390 {
    /// The CPU's core number.
    pub core: u32,
    /// The PSW's control bits.
    pub psw_mask: u64,
    /// The PSW's instruction address.
    pub psw_addr: u64,
    /// The reason for which the CPU stopped.
    pub reason: S390CrashReason,
}

/// The reason for which an s390 CPU is in its crashed state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum S390CrashReason {
    /// No reason was given.
    Unknown,
    /// The CPU entered a wait state with interrupts disabled.
    DisabledWait,
    /// Clock or timer interrupts have a new PSW that enables external interrupts.
    ExtintLoop,
    /// A program interrupt has a bad new PSW.
    PgmintLoop,
    /// An operation exception occurs at the program interrupt's new PSW.
    OpintLoop,
}

/// A TDX guest's `TDG.VP.VMCALL<ReportFatalError>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct GuestPanicInformationTdx {
    /// The error code.
    pub error_code: u32,
    /// The guest's message, which is not trustworthy.
    pub message: String,
    /// The guest-physical address of a page with more text, which ends in a zero; `None` if there
    /// is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpa: Option<u64>,
}

/// A SEV guest's termination request, from the GHCB MSR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestPanicInformationSev {
    /// The set to which the reason code belongs.
    pub set: u32,
    /// The reason code.
    pub code: u32,
}

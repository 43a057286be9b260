//! Why a guest crashed.
#![forbid(unsafe_code)]

use crate::windmp::LIVE_SYSTEM_DUMP;

/// Windows's record of a crash: `KiBugcheckData`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BugcheckData {
    /// The bug check's code.
    pub code: u32,
    /// Its four parameters.
    pub parameters: [u64; 4],
}

impl BugcheckData {
    /// The record of a guest that has not crashed.
    pub const LIVE: Self = Self {
        code: LIVE_SYSTEM_DUMP,
        parameters: [0; 4],
    };

    /// The record that Windows leaves in Hyper-V's crash registers, `HV_X64_MSR_CRASH_P0` to `P4`.
    /// QEMU's `GuestPanicInformation` has them as `arg1` to `arg5`.
    #[must_use]
    pub const fn from_crash_registers([code, a, b, c, d]: [u64; 5]) -> Self {
        Self {
            code: code as u32,
            parameters: [a, b, c, d],
        }
    }

    /// The record with the low 32 bits of each parameter, which are all that a 32-bit guest has.
    #[must_use]
    pub fn low_words(mut self) -> Self {
        for parameter in &mut self.parameters {
            *parameter &= u64::from(u32::MAX);
        }
        self
    }
}

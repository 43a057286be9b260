//! Memory besides RAM that a dump includes.

/// The memory that a dump has besides RAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Include {
    /// Firmware and the ROMs of devices. makedumpfile cannot filter a dump
    /// of a small x86 guest that has them.
    pub rom: bool,
    /// Video memory, and what other memory devices have on their board.
    pub vram: bool,
}

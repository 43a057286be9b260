//! The guest's own list of its memory.
#![forbid(unsafe_code)]

use crate::guest::windows::WinDmpError;
use crate::memory::MemoryRange;
use crate::memory::is_ram;
use crate::windmp::{PAGE_SIZE, Run};

/// Checks the guest's own list of its memory. The dump has all RAM, so the list
/// must be part of `ram`.
///
/// # Errors
///
/// - [`WinDmpError::RunOrder`] if a run is not above the one before it;
/// - [`WinDmpError::RunOutsideRam`] if a run is not entirely in `ram`.
pub(crate) fn check_runs(
    runs: impl Iterator<Item = Run>,
    ram: &[MemoryRange],
) -> Result<(), WinDmpError> {
    let mut end = 0;
    for (index, run) in runs.enumerate() {
        let Run {
            base_page,
            page_count,
        } = run;
        if base_page < end {
            return Err(WinDmpError::RunOrder { index, base_page });
        }
        let bytes = base_page
            .checked_mul(PAGE_SIZE)
            .zip(page_count.checked_mul(PAGE_SIZE));
        if !bytes.is_some_and(|(start, len)| is_ram(ram, start, len)) {
            return Err(WinDmpError::RunOutsideRam {
                index,
                base_page,
                page_count,
            });
        }
        end = base_page + page_count;
    }
    Ok(())
}

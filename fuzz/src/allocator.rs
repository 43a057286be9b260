//! How much memory is allocated at a time.

use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Runs `body`, which may have `limit` bytes allocated at a time.
///
/// # Panics
///
/// If it has more.
pub fn bounded<R>(limit: usize, body: impl FnOnce() -> R) -> R {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let result = body();
    let used = ALLOCATOR.peak_usage().saturating_sub(before);
    assert!(
        used <= limit,
        "{used} bytes were allocated at a time, more than {limit}"
    );
    result
}

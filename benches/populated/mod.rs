//! What of a RAM file is populated, for the benchmarks beside peers.

use guestdump::memory::{FileMemory, GuestMemory, MemoryRange};

#[allow(clippy::unwrap_used)]
pub(crate) fn extents(memory: &FileMemory) -> Vec<MemoryRange> {
    let mut extents = Vec::new();
    for range in memory.ranges() {
        let mut rest = Some(range);
        while let Some(extent) = rest.and_then(|rest| memory.next_populated(rest).unwrap()) {
            extents.push(extent);
            rest = MemoryRange::new(extent.end(), range.end() - extent.end()).ok();
        }
    }
    extents
}

//! Core files of processes.

use guestdump::memory::{MIN_PAGE_SIZE, MemoryRange, validate_ranges};
use guestdump::process_core::{ProcessCore, RamBlock};
use guestdump::{GuestMemory, Progress};
use testkit::pieces::{self, Sparse};

use super::allocator::bounded;

pub fn process_core(input: &[u8]) {
    let pieces = pieces::decode(input);
    // A search also keeps what it finds.
    let limit = (24 << 20) + 8 * pieces::len(&pieces);
    let file = Sparse::new(&pieces);
    bounded(limit, || {
        let Ok(core) = ProcessCore::open(file) else {
            return;
        };
        for pair in core.segments().windows(2) {
            assert!(pair[0].end() <= pair[1].hva);
        }
        extract(&core);
        if let Ok(ram) = core.find_qemu_ram(None, &Progress::new()) {
            let ranges: Vec<_> = ram.blocks.iter().map(|block| block.range).collect();
            validate_ranges(&ranges).unwrap();
        }
    });
}

/// Extracts every segment as a block of RAM, with pages around it that are not
/// in the file.
fn extract(core: &ProcessCore) {
    let mut gpa = 0;
    let mut blocks = Vec::new();
    for segment in core.segments().iter().take(64) {
        let hva = (segment.hva - segment.hva % MIN_PAGE_SIZE).saturating_sub(MIN_PAGE_SIZE);
        let size = (segment.end() - hva)
            .min(1 << 40)
            .next_multiple_of(MIN_PAGE_SIZE);
        let Ok(range) = MemoryRange::new(gpa, size + MIN_PAGE_SIZE) else {
            continue;
        };
        gpa = range.end();
        blocks.push(RamBlock { range, hva });
    }
    let Ok(extracted) = core.extract(&blocks) else {
        return;
    };
    // Each page is either in the file or missing.
    let missing: u64 = extracted.missing.iter().map(|m| m.range.size()).sum();
    let Ok(memory) = extracted.into_memory() else {
        return;
    };
    let ranges = memory.ranges();
    let found: u64 = ranges.iter().map(MemoryRange::size).sum();
    assert_eq!(found + missing, gpa);
    let mut page = [0; MIN_PAGE_SIZE as usize];
    for range in ranges.iter().take(16) {
        memory.read(range.start(), &mut page).unwrap();
        memory.read(range.end() - MIN_PAGE_SIZE, &mut page).unwrap();
    }
}

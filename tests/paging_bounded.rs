//! Memory that hostile page tables take has a limit. Alone in its process, so
//! that the peak is this test's.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io;

use guestdump::Progress;
use guestdump::guest::paging::{AddressSpace, Budget, X86, X86Mode, mappings};
use guestdump::memory::MemoryRange;
use testkit::peak::peak_memory;

/// RAM of 2 TiB in which every page is a page table, full of references to
/// others all over RAM.
fn read(gpa: u64, buf: &mut [u8]) -> io::Result<()> {
    for (at, entry) in (gpa..).step_by(8).zip(buf.chunks_exact_mut(8)) {
        let anywhere = at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 23;
        let present = anywhere & 0x1ff_ffff_f000 | 1;
        entry.copy_from_slice(&present.to_le_bytes());
    }
    Ok(())
}

#[test]
fn hostile_page_tables_take_limited_memory() {
    let spaces: Vec<_> = (0..64)
        .map(|cpu| {
            AddressSpace::X86(X86 {
                cr3: cpu << 12,
                mode: X86Mode::FiveLevel,
            })
        })
        .collect();
    let ram = [MemoryRange::new(0, 2 << 40).unwrap()];
    let progress = Progress::new();
    let many_mappings = mappings(&spaces, &read, &ram, Budget::default(), &progress).unwrap();
    assert_eq!(many_mappings.list.len(), Budget::default().mappings);
    assert!(many_mappings.is_partial());
    drop(many_mappings);
    // No page is RAM: all that there is are tables.
    let many_tables = Budget {
        table_bytes: 64 << 20,
        ..Budget::default()
    };
    let ram = [MemoryRange::new(1 << 50, 4096).unwrap()];
    let many_tables = mappings(&spaces, &read, &ram, many_tables, &progress).unwrap();
    assert_eq!(many_tables.tables, (64 << 20) / 4096);
    assert!(many_tables.list.is_empty() && many_tables.is_partial());
    assert!(peak_memory() < 100, "{} MiB", peak_memory());
}

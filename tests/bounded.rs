//! Memory that a dump takes does not depend on the guest's size. Alone in its
//! process, so that the peak is this test's.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io;

use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::memory::MemoryRange;
use guestdump::{Format, GuestInfo, GuestMemory, Machine, dump};
use testkit::peak::peak_memory;
use testkit::windows::{given, header_64};
use testkit::{Nowhere, range};

/// 32 GiB with a page of text every 16 MiB, and a gap of 64 TiB.
struct Large;

const STEP: u64 = 16 << 20;

impl GuestMemory for Large {
    fn ranges(&self) -> Vec<MemoryRange> {
        [(0, 16 << 30), (64 << 40, 16 << 30)]
            .map(|(start, size)| range(start, size))
            .to_vec()
    }
    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        for (at, byte) in (gpa..).zip(buf) {
            *byte = (at % 251) as u8;
        }
        Ok(())
    }
    fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
        let next = MemoryRange::new(range.start().next_multiple_of(STEP), 4096).unwrap();
        Ok(next.intersection(&range))
    }
}

#[test]
fn a_dump_takes_a_few_mebibytes_whatever_the_guests_size() {
    for format in Format::available().filter(|f| f.needs_positions() || f.codec().is_none()) {
        let options = given(&*header_64(0x1000))
            .options(
                GuestInfo::new(Machine::X86_64).vmcoreinfo(VmcoreinfoSource::None),
                format,
            )
            .threads(4);
        let summary = dump(&Large, &mut Nowhere, &options).unwrap();
        assert_eq!(summary.pages, (32 << 30) / 4096);
        assert_eq!(summary.pages - summary.zero_pages, (32 << 30) / STEP);
    }
    assert!(peak_memory() < 48, "{} MiB", peak_memory());
}

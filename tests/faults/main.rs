//! Faults on purpose, counted: sinks that fail at every write, memory that
//! cannot be read or changes, disks that are full, processes that are killed.
//! docs/reliability.md has the figures, which the tests print and insist on.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr)]

mod changing;
#[cfg(feature = "cli")]
mod command;
mod keep;
// Once is enough: `tests/run` runs all tests with two sets of features.
#[cfg(all(feature = "cli", not(feature = "minilzo")))]
mod kill;
#[cfg(feature = "mapped")]
mod mapped;
mod memory;
mod scripted;
mod sink;

use std::collections::BTreeMap;
use std::io;

use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::memory::MemoryRange;
use guestdump::read::Vmcore;
use guestdump::{DumpOptions, Format, GuestInfo, GuestMemory, Machine, arch};
use testkit::windows::{given, header_64};
use testkit::{Page, PageMemory};

/// A dump in `format` by two threads.
pub(crate) fn options(format: Format) -> DumpOptions {
    given(&*header_64(0x1000))
        .options(
            GuestInfo::new(Machine::X86_64)
                .vmcoreinfo(VmcoreinfoSource::Bytes(
                    b"OSRELEASE=6.1.0\nPAGESIZE=4096\n".to_vec(),
                ))
                .cpus(vec![arch::x86_64::Registers::default(); 2]),
            format,
        )
        .threads(2)
}

/// Every kind of page in two ranges, three chunks, few pages to compress.
pub(crate) fn guest() -> PageMemory {
    use Page::{Random, Text, Untouched, Zero};
    let mut low = vec![Text(1), Zero, Random(2), Untouched, Text(3), Text(4)];
    low.resize(300, Untouched);
    low.extend([Text(5), Random(6), Zero]);
    low.resize(513, Untouched);
    low.push(Random(7));
    PageMemory::new([(0x1000, low), (0x4000_0000, vec![Text(8), Zero, Random(9)])])
}

/// A guest whose pages are made once, for very many dumps of it.
pub(crate) struct Prepared(PageMemory, BTreeMap<u64, Vec<u8>>);

impl Prepared {
    pub(crate) fn new(guest: PageMemory) -> Self {
        let pages = guest.pages().map(|(gpa, page)| (gpa, page.bytes()));
        let pages = pages.collect();
        Self(guest, pages)
    }
}

impl GuestMemory for Prepared {
    fn ranges(&self) -> Vec<MemoryRange> {
        self.0.ranges()
    }
    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        let from = (gpa % 4096) as usize;
        let len = buf.len();
        if from + len <= 4096 {
            buf.copy_from_slice(&self.1[&(gpa - from as u64)][from..from + len]);
            return Ok(());
        }
        let pages = (gpa..).step_by(4096).zip(buf.chunks_mut(4096));
        pages.for_each(|(gpa, part)| part.copy_from_slice(&self.1[&gpa]));
        Ok(())
    }
    fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
        self.0.next_populated(range)
    }
}

/// The page at `gpa`, if the dump has it.
pub(crate) fn page_of(dump: &Vmcore, gpa: u64) -> Option<Vec<u8>> {
    let mut page = vec![0xa5; 4096];
    let inside = dump.ranges().iter().any(|range| range.contains(gpa, 4096));
    inside.then(|| {
        dump.read(gpa, &mut page).unwrap();
        page
    })
}

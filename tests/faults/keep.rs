//! Out of space, and what there is was to be kept.

use std::io;

use guestdump::memory::MemoryRange;
use guestdump::read::{Headers, Vmcore, VmcoreError};
use guestdump::{
    DumpOptions, Error, Fault, Format, FormatOptions, GuestMemory, NotInFormat, OnReadError,
    Progress, dump,
};
use testkit::options::With;
use testkit::{Disk, PAGE, Page, PageMemory, range};

use super::{Prepared, guest, page_of};

const BLOCK: u64 = 4096;
const ENOSPC: i32 = 28;

fn raw_formats() -> impl Iterator<Item = Format> {
    Format::available().filter(|f| f.codec().is_some() && f.needs_positions())
}

/// A dump in `format` that is kept if it fails.
fn options(format: Format) -> DumpOptions {
    super::options(format).with_format(FormatOptions::keep_partial)
}

/// That the incomplete dump is sound, and has the first `pages` pages of the
/// `wanted` ones and no others.
#[track_caller]
fn check_kept(dump: &Vmcore, wanted: &[(u64, Page)], pages: u64, excluded: u64) {
    let error = dump.check(&Progress::new()).unwrap_err();
    assert!(matches!(error, VmcoreError::Incomplete { .. }), "{error}");
    let Headers::Kdump { main, .. } = dump.headers() else {
        panic!("no kdump");
    };
    assert_eq!(u64::from(main.written_blocks), pages);
    assert_eq!(
        u64::from(main.total_ram_blocks),
        wanted.len() as u64 + excluded
    );
    assert_eq!(
        dump.ranges().iter().map(|r| r.size()).sum::<u64>(),
        pages * PAGE
    );
    for (at, (gpa, page)) in wanted.iter().enumerate() {
        let found = page_of(dump, *gpa);
        let expected = ((at as u64) < pages).then(|| page.bytes());
        assert!(found == expected, "page {at} of {pages}, at {gpa:#x}");
    }
}

#[test]
fn a_disk_that_is_full_at_any_block_keeps_what_there_is() {
    let guest = guest();
    let wanted: Vec<_> = guest.pages().collect();
    let guest = Prepared::new(guest);
    let mut kept = 0;
    for (format, can_reserve) in raw_formats().flat_map(|f| [(f, true), (f, false)]) {
        let options = options(format);
        let mut before = 0;
        for size in 0.. {
            let mut disk = Disk::new(size).can_reserve(can_reserve);
            match dump(&guest, &mut disk, &options) {
                Ok(summary) => {
                    assert!(before > 0, "{format}: nothing was ever kept");
                    assert_eq!(summary.pages, wanted.len() as u64);
                    disk.dump().check(&Progress::new()).unwrap();
                    break;
                }
                Err(Error::Incomplete { pages, of, cause }) => {
                    assert_eq!((of, disk.finished), (wanted.len() as u64, 1));
                    let full = matches!(
                        &cause,
                        Fault::Write { source, .. } if source.raw_os_error() == Some(ENOSPC)
                    );
                    assert!(full, "{cause}");
                    check_kept(&disk.dump(), &wanted, pages, 0);
                    assert!(pages >= before, "{format}: fewer pages on a larger disk");
                    (before, kept) = (pages, kept + 1);
                }
                // No room for the headers, or for the first block.
                Err(error) => {
                    assert_eq!((before, disk.finished), (0, 0), "{format}: {error}");
                    assert!(
                        matches!(error, Error::Failed(Fault::Write { .. })),
                        "{error}"
                    );
                }
            }
        }
    }
    eprintln!("{kept} incomplete dumps of full disks");
}

#[test]
fn every_write_that_fails_leaves_a_sound_dump_or_none() {
    let guest = guest();
    let wanted: Vec<_> = guest.pages().collect();
    let guest = Prepared::new(guest);
    let mut kept = 0;
    for format in raw_formats() {
        let options = options(format);
        for count in [1, 2, usize::MAX] {
            for write in 0.. {
                let mut disk = Disk::new(usize::MAX).can_reserve(true).broken(write, count);
                match dump(&guest, &mut disk, &options) {
                    Ok(_) => break,
                    Err(Error::Incomplete { pages, .. }) => {
                        assert_eq!(disk.finished, 1);
                        check_kept(&disk.dump(), &wanted, pages, 0);
                        kept += 1;
                    }
                    Err(error) => {
                        assert_eq!(disk.finished, 0);
                        let first = matches!(&error, Error::Failed(Fault::Write { source, .. })
                            if source.raw_os_error() == Some(5));
                        assert!(first, "{error}");
                    }
                }
            }
        }
    }
    assert!(kept > 0);
    eprintln!("{kept} incomplete dumps of broken disks");
}

#[test]
fn descriptors_of_many_blocks_are_kept_with_the_pages() {
    // More than are written at once, and data behind them that fails.
    let mut pages = vec![Page::Text(1); 3];
    pages.resize(65_530, Page::Untouched);
    pages.extend((0..600).map(|i| Page::Random(i as u8)));
    let guest = PageMemory::new([(0, pages)]);
    let Some(format) = raw_formats().next() else {
        return;
    };
    let options = options(format);
    let fixed = (65_530 + 600) * 24 / BLOCK as usize;
    for size in [fixed + 200, fixed + 300, fixed + 500] {
        let mut disk = Disk::new(size).can_reserve(true);
        let error = dump(&guest, &mut disk, &options).unwrap_err();
        let Error::Incomplete { pages, .. } = error else {
            panic!("{error}");
        };
        let dump = disk.dump();
        let error = dump.check(&Progress::new()).unwrap_err();
        assert!(matches!(error, VmcoreError::Incomplete { .. }), "{error}");
        assert_eq!(dump.ranges(), [range(0, pages * PAGE)]);
        for gpa in [0, 0x2000, (pages - 1) * PAGE] {
            let found = page_of(&dump, gpa).unwrap();
            assert!(found == guest.page(gpa).unwrap().bytes(), "{gpa:#x}");
        }
    }
}

#[test]
fn descriptors_that_were_due_and_not_written_are_not_counted() {
    // One write fails, and the disk works again when the dump is closed.
    let mut pages = vec![Page::Text(1); 3];
    pages.resize(65_530, Page::Untouched);
    pages.extend((0..600).map(|i| Page::Random(i as u8)));
    let guest = PageMemory::new([(0, pages)]);
    let Some(format) = raw_formats().next() else {
        return;
    };
    let options = options(format);
    let mut failed_after_pages = 0;
    for write in 0.. {
        let mut disk = Disk::new(usize::MAX).can_reserve(true).broken(write, 1);
        match dump(&guest, &mut disk, &options) {
            Ok(_) => break,
            Err(Error::Incomplete { pages, .. }) => {
                failed_after_pages += 1;
                let dump = disk.dump();
                let error = dump.check(&Progress::new()).unwrap_err();
                assert!(
                    matches!(error, VmcoreError::Incomplete { .. }),
                    "{write}: {error}"
                );
                assert_eq!(dump.ranges(), [range(0, pages * PAGE)]);
                for gpa in [0, (pages - 1) * PAGE] {
                    let found = page_of(&dump, gpa).unwrap();
                    assert!(found == guest.page(gpa).unwrap().bytes(), "{gpa:#x}");
                }
            }
            Err(_) => {}
        }
    }
    assert!(failed_after_pages > 0);
}

#[test]
fn a_dump_that_has_pages_left_out_can_be_kept_too() {
    struct Bad(PageMemory);
    impl GuestMemory for Bad {
        fn ranges(&self) -> Vec<MemoryRange> {
            self.0.ranges()
        }
        fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
            if gpa <= 0x3000 && gpa + buf.len() as u64 > 0x3000 {
                return Err(io::ErrorKind::Other.into());
            }
            self.0.read(gpa, buf)
        }
        fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
            self.0.next_populated(range)
        }
    }
    let guest = Bad(guest());
    let wanted: Vec<_> = guest.0.pages().filter(|(gpa, _)| *gpa != 0x3000).collect();
    let mut kept = 0;
    for format in raw_formats() {
        let options = options(format).on_read_error(OnReadError::Skip);
        for size in 0.. {
            let mut disk = Disk::new(size).can_reserve(true);
            match dump(&guest, &mut disk, &options) {
                Ok(summary) => {
                    assert_eq!(summary.pages, wanted.len() as u64);
                    break;
                }
                Err(Error::Incomplete { pages, .. }) => {
                    check_kept(&disk.dump(), &wanted, pages, 1);
                    kept += 1;
                }
                Err(_) => assert_eq!(disk.finished, 0),
            }
        }
    }
    assert!(kept > 0);
    eprintln!("{kept} incomplete dumps with pages left out");
}

/// Cancels the dump when it is asked for this address.
struct Cancels(PageMemory, u64, Progress);

impl GuestMemory for Cancels {
    fn ranges(&self) -> Vec<MemoryRange> {
        self.0.ranges()
    }
    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        if gpa >= self.1 {
            self.2.cancel();
        }
        self.0.read(gpa, buf)
    }
    fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
        self.0.next_populated(range)
    }
}

#[test]
fn a_dump_that_is_cancelled_or_cannot_read_on_is_kept() {
    for format in raw_formats() {
        let progress = Progress::new();
        let memory = Cancels(guest(), 0x10_0000, progress.clone());
        let mut disk = Disk::new(usize::MAX);
        let all = options(format).threads(1);
        let error = dump(&memory, &mut disk, &all.clone().progress(progress)).unwrap_err();
        let Error::Incomplete { pages, cause, .. } = error else {
            panic!("{error}");
        };
        assert!(matches!(cause, Fault::Cancelled), "{cause}");
        let wanted: Vec<_> = memory.0.pages().collect();
        check_kept(&disk.dump(), &wanted, pages, 0);

        let memory = PageMemory {
            poisoned: Some(0x4000_2000),
            ..guest()
        };
        let mut disk = Disk::new(usize::MAX);
        let error = dump(&memory, &mut disk, &all).unwrap_err();
        let Error::Incomplete { pages, cause, .. } = error else {
            panic!("{error}");
        };
        assert!(matches!(cause, Fault::Read { .. }), "{cause}");
        check_kept(&disk.dump(), &wanted, pages, 0);
    }
}

#[test]
fn formats_that_no_reader_opens_half_are_not_kept() {
    for format in Format::available().filter(|f| !raw_formats().any(|raw| raw == *f)) {
        let error = FormatOptions::from(format).keep_partial().unwrap_err();
        assert_eq!(error, NotInFormat::KeepPartial(format));
    }
}

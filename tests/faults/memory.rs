//! Memory that cannot be read.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::FileExt;

use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::memory::{FileMemory, MemoryRange};
use guestdump::sink::{BufferSink, StreamSink};
use guestdump::{Error, Fault, Format, GuestMemory, OnReadError, Progress, Refusal, dump};
use testkit::options::With;
use testkit::{PAGE, Page, PageMemory, open, range, to_buffer};

use super::{guest, options, page_of};

/// A guest with poisoned pages.
struct Poisoned {
    guest: PageMemory,
    bad: BTreeSet<u64>,
}

impl Poisoned {
    fn new(bad: impl IntoIterator<Item = u64>) -> Self {
        Self {
            guest: guest(),
            bad: bad.into_iter().collect(),
        }
    }
}

impl GuestMemory for Poisoned {
    fn ranges(&self) -> Vec<MemoryRange> {
        self.guest.ranges()
    }
    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        let first = gpa - gpa % PAGE;
        if self
            .bad
            .range(first..gpa + buf.len() as u64)
            .next()
            .is_some()
        {
            // What was read before the bad page, and is not to be used.
            buf.fill(0xee);
            return Err(io::Error::from_raw_os_error(5));
        }
        self.guest.read(gpa, buf)
    }
    fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
        self.guest.next_populated(range)
    }
}

/// The first page; two together; one of zeroes; the last of all.
const BAD: [u64; 5] = [0x1000, 0x5000, 0x6000, 0x4000_1000, 0x4000_2000];

pub(crate) fn can_skip(format: Format) -> bool {
    format.codec().is_some() || format == Format::WIN_DMP_BITMAP
}

#[test]
fn a_dump_fails_and_names_the_page() {
    let guest = Poisoned::new(BAD);
    for format in Format::available() {
        let mut sink = BufferSink::new();
        let error = dump(&guest, &mut sink, &options(format).threads(1)).unwrap_err();
        match &error {
            Error::Failed(Fault::Read { gpa, len, source }) => {
                assert_eq!((*gpa, *len), (0x1000, PAGE), "{format}");
                assert_eq!(source.raw_os_error(), Some(5));
            }
            other => panic!("{format}: {other}"),
        }
    }
    // Far into a read of many pages.
    let guest = Poisoned::new([0x6000]);
    let error = dump(&guest, &mut BufferSink::new(), &options(Format::Elf)).unwrap_err();
    assert!(
        matches!(error, Error::Failed(Fault::Read { gpa: 0x6000, .. })),
        "{error}"
    );
}

#[test]
fn zeroes_take_the_place_of_exactly_what_cannot_be_read() {
    let guest = Poisoned::new(BAD);
    for format in Format::available() {
        let options = options(format).on_read_error(OnReadError::Zero);
        let (bytes, summary) = to_buffer(&guest, &options);
        for threads in [1, 3] {
            let (again, _) = to_buffer(&guest, &options.clone().threads(threads));
            assert!(bytes == again, "{format} on {threads} threads");
        }
        let unreadable = summary.unreadable.unwrap();
        let ranges = [
            range(0x1000, PAGE),
            range(0x5000, 2 * PAGE),
            range(0x4000_1000, 2 * PAGE),
        ];
        assert_eq!(unreadable.ranges, ranges, "{format}");
        assert_eq!((unreadable.bytes, unreadable.more_ranges), (5 * PAGE, 0));
        assert!(unreadable.first_error.contains("os error 5"));
        let dump = open(&bytes);
        let report = dump.check(&Progress::new()).unwrap();
        assert_eq!(report.zero_pages, summary.zero_pages, "{format}");
        for (gpa, page) in guest.guest.pages() {
            let expected = if BAD.contains(&gpa) { Page::Zero } else { page };
            let found = page_of(&dump, gpa).unwrap();
            assert!(found == expected.bytes(), "{format} at {gpa:#x}");
        }
    }
}

#[test]
fn what_cannot_be_read_is_left_out_of_formats_with_a_list_of_pages() {
    let guest = Poisoned::new(BAD);
    let all = guest.guest.pages().count() as u64;
    for format in Format::available() {
        let options = options(format).on_read_error(OnReadError::Skip);
        if !can_skip(format) {
            let error = dump(&guest, &mut BufferSink::new(), &options).unwrap_err();
            assert!(
                matches!(error, Error::Refused(Refusal::SkipFormat { .. })),
                "{error}"
            );
            assert!(error.is_refusal());
            continue;
        }
        let (bytes, summary) = to_buffer(&guest, &options);
        for threads in [1, 3] {
            let (again, _) = to_buffer(&guest, &options.clone().threads(threads));
            assert!(bytes == again, "{format} on {threads} threads");
        }
        assert_eq!(summary.pages, all - 5, "{format}");
        assert_eq!(summary.bytes_total, (all - 5) * PAGE);
        let dump = open(&bytes);
        let report = dump.check(&Progress::new()).unwrap();
        assert_eq!(report.pages, all - 5, "{format}");
        assert_eq!(report.zero_pages, summary.zero_pages, "{format}");
        if format.codec().is_some() {
            assert_eq!(report.excluded_pages, 5, "{format}");
        }
        if format.needs_positions() {
            assert_eq!(summary.file_size, bytes.len() as u64);
        }
        for (gpa, page) in guest.guest.pages() {
            let expected = (!BAD.contains(&gpa)).then(|| page.bytes());
            assert!(page_of(&dump, gpa) == expected, "{format} at {gpa:#x}");
        }
        // Nothing changes where all can be read, but for the order of a
        // flattened dump's records.
        let (good, summary) = to_buffer(&guest.guest, &options);
        assert_eq!(summary.unreadable, None);
        if format.needs_positions() || format.is_windows() {
            let fail = options.on_read_error(OnReadError::Fail);
            assert!(good == to_buffer(&guest.guest, &fail).0, "{format}");
        }
    }
}

#[test]
fn a_stream_cannot_leave_pages_out_of_a_bitmap_that_it_has_sent() {
    let options = options(Format::WIN_DMP_BITMAP).on_read_error(OnReadError::Skip);
    let mut sink = StreamSink::new(Vec::new());
    let error = dump(&guest(), &mut sink, &options).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Refused(Refusal::SkipFormat { stream: true, .. })
        ),
        "{error}"
    );
    assert!(sink.into_inner().is_empty());
}

#[test]
fn a_large_page_is_left_out_whole_and_zeroed_in_part() {
    let guest = Poisoned::new([0x5000]);
    let Some(format) = Format::available().find(|f| f.codec().is_some() && f.needs_positions())
    else {
        return;
    };
    let options = options(format).with_guest(|guest| guest.page_size(65536));
    let (bytes, summary) = to_buffer(&guest, &options.clone().on_read_error(OnReadError::Skip));
    assert_eq!(summary.unreadable.unwrap().ranges, [range(0, 65536)]);
    let dump = open(&bytes);
    dump.check(&Progress::new()).unwrap();
    assert_eq!(page_of(&dump, 0x1000), None);
    assert_eq!(page_of(&dump, 0xf000), None);
    assert!(page_of(&dump, 0x10000).is_some());
    let (bytes, summary) = to_buffer(&guest, &options.on_read_error(OnReadError::Zero));
    assert_eq!(summary.unreadable.unwrap().ranges, [range(0x5000, PAGE)]);
    let dump = open(&bytes);
    assert_eq!(page_of(&dump, 0x1000), Some(Page::Text(1).bytes()));
    assert_eq!(page_of(&dump, 0x5000), Some(Page::Zero.bytes()));
}

/// A guest of which nothing can be read, nor be told what is populated.
struct Gone;

impl GuestMemory for Gone {
    fn ranges(&self) -> Vec<MemoryRange> {
        vec![range(0, 5000 << 12)]
    }
    fn read(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
    fn next_populated(&self, _: MemoryRange) -> io::Result<Option<MemoryRange>> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

#[test]
fn a_dump_of_nothing_fails_whatever_the_policy() {
    for format in Format::available() {
        for policy in OnReadError::ALL {
            if policy == OnReadError::Skip && !can_skip(format) {
                continue;
            }
            let options = options(format).on_read_error(policy);
            let error = dump(&Gone, &mut BufferSink::new(), &options).unwrap_err();
            assert!(
                matches!(error, Error::Failed(Fault::Read { gpa: 0, .. })),
                "{format} {policy:?}: {error}"
            );
        }
    }
}

#[test]
fn a_file_that_is_cut_short_has_lost_memory_and_no_holes() {
    for cut in [100 * PAGE, 100 * PAGE + 17, PAGE] {
        for hole in [false, true] {
            let file = tempfile::tempfile().unwrap();
            file.set_len(300 * PAGE).unwrap();
            let end = if hole { 50 } else { 300 };
            for page in 0..end {
                let bytes = Page::Text(page as u8).bytes();
                file.write_all_at(&bytes, page * PAGE).unwrap();
            }
            let memory = FileMemory::flat(file.try_clone().unwrap()).unwrap();
            file.set_len(cut).unwrap();
            let first = cut / PAGE * PAGE;
            for format in Format::available() {
                let one = options(format).threads(1);
                let error = dump(&memory, &mut BufferSink::new(), &one).unwrap_err();
                let named = matches!(error, Error::Failed(Fault::Read { gpa, .. }) if gpa == first);
                assert!(named, "{format}, {cut:#x}, hole {hole}: {error}");
                let options = options(format).on_read_error(OnReadError::Zero);
                let (bytes, summary) = to_buffer(&memory, &options);
                let lost = summary.unreadable.unwrap().ranges;
                assert_eq!(lost, [range(first, 300 * PAGE - first)], "{format}");
                open(&bytes).check(&Progress::new()).unwrap();
            }
        }
    }
}

#[test]
fn what_cannot_be_read_does_not_keep_vmcoreinfo_from_being_found() {
    // The text is behind a page that cannot be read.
    struct WithText(Poisoned);
    impl GuestMemory for WithText {
        fn ranges(&self) -> Vec<MemoryRange> {
            self.0.ranges()
        }
        fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
            self.0.read(gpa, buf)?;
            let text = b"OSRELEASE=6.1.0\nPAGESIZE=4096\n\0";
            for (at, byte) in (gpa..).zip(buf) {
                if let Some(found) = text.get(at.wrapping_sub(0x3000) as usize) {
                    *byte = *found;
                }
            }
            Ok(())
        }
    }
    let guest = WithText(Poisoned {
        guest: PageMemory::new([(0x1000, vec![Page::Text(1); 8])]),
        bad: [0x1000].into(),
    });
    let options = options(Format::Elf).with_guest(|guest| guest.vmcoreinfo(VmcoreinfoSource::Scan));
    let error = dump(&guest, &mut BufferSink::new(), &options).unwrap_err();
    assert!(
        matches!(error, Error::Refused(Refusal::Vmcoreinfo(_))),
        "{error}"
    );
    let (_, summary) = to_buffer(&guest, &options.on_read_error(OnReadError::Zero));
    assert_eq!(summary.vmcoreinfo.unwrap().info.osrelease(), "6.1.0");
}

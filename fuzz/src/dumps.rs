//! Dumps of every kind, as the crate's reader opens them.

use guestdump::memory::{MIN_PAGE_SIZE, validate_ranges};
use guestdump::read::Vmcore;
use guestdump::read::{RearrangeError, rearrange};
use guestdump::sink::FdSink;
use guestdump::{Format, GuestMemory, Progress, dump};
use testkit::FaultySink;
use testkit::pieces::{self, Sparse};

use super::allocator::bounded;

/// Returns how many bytes opening and checking a dump of `len` bytes may allocate
/// at a time. The reader keeps a few copies of each header, page descriptor and
/// note, and a file may consist of these alone.
fn limit(len: usize) -> usize {
    (8 << 20) + 8 * len
}

/// A dump's memory is written again if it has no more bytes, and lacks no more.
const MAX_WRITTEN: u64 = 128 << 10;
/// A stream of ELF has zeroes for what is absent.
const MAX_ABSENT: u64 = 1 << 20;

pub fn elf(input: &[u8]) {
    sparse(input);
}

pub fn kdump(input: &[u8]) {
    sparse(input);
}

pub fn windmp(input: &[u8]) {
    sparse(input);
}

fn sparse(input: &[u8]) {
    let pieces = pieces::decode(input);
    let dump = Sparse::new(&pieces);
    bounded(limit(pieces::len(&pieces)), || {
        if let Ok(vmcore) = Vmcore::open(dump) {
            look_inside(&vmcore, format_for(input));
        }
    });
}

/// The format that the input's dump is written in again: by the sum of its bytes.
fn format_for(input: &[u8]) -> Format {
    let sum = input
        .iter()
        .fold(0usize, |sum, byte| sum + usize::from(*byte));
    [Format::Elf, Format::KDUMP_SNAPPY, Format::WIN_DMP_BITMAP][sum % 3]
}

fn look_inside(vmcore: &Vmcore, format: Format) {
    let ranges = vmcore.ranges();
    if !ranges.is_empty() {
        validate_ranges(&ranges).unwrap();
    }
    let _ = vmcore.headers();
    let _ = vmcore.is_complete();
    let _ = vmcore.machine();
    let _ = vmcore.vmcoreinfo().map(|info| info.osrelease());
    let _ = vmcore.utsname();
    assert!(vmcore.cpus() <= vmcore.notes().count());
    let bytes: u64 = ranges.iter().map(|range| range.size()).sum();
    assert!(vmcore.pages() <= bytes / MIN_PAGE_SIZE);
    if let Some(size) = vmcore.page_size() {
        assert!(size.is_power_of_two() && size >= MIN_PAGE_SIZE);
    }

    let sound = vmcore.check(&Progress::new());
    if let Ok(report) = &sound {
        assert_eq!(report.pages, vmcore.pages());
        let compressed: u64 = report.compressed_pages.iter().map(|(_, n)| n).sum();
        assert_eq!(report.raw_pages + compressed, report.pages);
        assert!(report.zero_pages <= report.pages);
    }
    let mut page = vec![0; MIN_PAGE_SIZE as usize];
    let mut part = vec![0; 100];
    for range in ranges.iter().take(16) {
        for gpa in [range.start(), range.end() - MIN_PAGE_SIZE] {
            let read = vmcore.read(gpa, &mut page);
            assert!(read.is_ok() || sound.is_err(), "a sound dump's page");
            if read.is_ok() {
                vmcore.read(gpa + 3000, &mut part).unwrap();
                assert_eq!(part, page[3000..3100]);
            }
        }
        let populated = vmcore.next_populated(*range).unwrap();
        assert!(populated.is_none_or(|extent| extent.intersection(range).is_some()));
        let _ = vmcore.read(range.end() - 1, &mut part[..2]);
    }
    let _ = vmcore.read(u64::MAX, &mut part[..2]);
    let absent = vmcore.coverage().absent_bytes();
    if sound.is_ok() && bytes <= MAX_WRITTEN && absent <= MAX_ABSENT {
        write_again(vmcore, format);
    }
}

/// Writes the dump again, if it can be written, and compares the memory.
fn write_again(vmcore: &Vmcore, format: Format) {
    let Ok(options) = vmcore.options(format) else {
        return;
    };
    // A bitmap covers every page frame below a page far away.
    let absent = vmcore.coverage().absent;
    let mut ranges = vmcore.ranges().into_iter().chain(absent);
    if ranges.any(|range| range.end() > 1 << 34) && format != Format::Elf {
        return;
    }
    let mut sink = FaultySink::slow_stream();
    // Starting threads takes longer than such a small dump.
    match dump(vmcore, &mut sink, &options.threads(1)) {
        Ok(_) => {
            let copy = Vmcore::open(sink.into_bytes()).unwrap();
            same_memory(vmcore, &copy);
        }
        Err(error) => assert!(error.is_refusal() && sink.is_empty(), "{error}"),
    }
}

fn same_memory(from: &dyn GuestMemory, copy: &dyn GuestMemory) {
    let mut pages = [vec![0; 4096], vec![0; 4096]];
    for range in from.ranges() {
        for gpa in (range.start()..range.end()).step_by(4096) {
            let [a, b] = &mut pages;
            from.read(gpa, a).unwrap();
            copy.read(gpa, b).unwrap();
            assert_eq!(a, b, "the page at {gpa:#x}");
        }
    }
}

/// An input is the stream's records, as pieces; if the first byte is odd, a
/// stream without its end. The seekable reader and `rearrange` must agree.
pub fn flattened(input: &[u8]) {
    use guestdump::kdump::flattened::{FileHeader, RecordHeader};
    let Some((&flags, input)) = input.split_first() else {
        return;
    };
    let mut stream = Vec::new();
    FileHeader::CURRENT.encode(&mut stream);
    if flags & 2 == 0 {
        for piece in pieces::decode(input) {
            let header = RecordHeader {
                offset: piece.offset.into(),
                len: piece.bytes.len() as i64,
            };
            stream.extend_from_slice(&header.to_bytes());
            stream.extend_from_slice(&piece.bytes);
        }
    } else {
        // Record headers of any kind.
        stream.extend_from_slice(input);
    }
    if flags & 1 == 0 {
        stream.extend_from_slice(&RecordHeader::END.to_bytes());
    }
    let raw = pieces::empty_file();
    let rearranged = bounded(1 << 20, || {
        let mut sink = FdSink::new(raw.try_clone().unwrap().into()).unwrap();
        rearrange(&mut &stream[..], &mut sink, &Progress::new())
    });
    bounded(limit(stream.len()), || {
        let Ok(vmcore) = Vmcore::open(stream) else {
            return;
        };
        assert!(vmcore.is_flattened());
        look_inside(&vmcore, format_for(input));
        match rearranged {
            // No file is that long.
            Err(RearrangeError::Fault(_) | RearrangeError::Finish(_)) => return,
            // What is there of it can be read.
            Err(RearrangeError::Truncated { .. }) => return assert!(!vmcore.is_complete()),
            _ => {}
        }
        assert_eq!(rearranged.unwrap(), vmcore.raw_len());
        let plain = Vmcore::open(raw.try_clone().unwrap()).unwrap();
        assert_eq!(plain.raw_len(), vmcore.raw_len());
        assert_eq!(plain.ranges(), vmcore.ranges());
        let checks = [&plain, &vmcore].map(|v| v.check(&Progress::new()).ok());
        assert_eq!(checks[0], checks[1]);
        if checks[0].as_ref().is_some_and(|report| report.pages < 1024) {
            same_memory(&plain, &vmcore);
        }
    });
}

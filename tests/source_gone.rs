//! Memory whose source is gone, or of which nothing can be read, is no memory
//! with bad pages: an earlier dump stays. Slices of a wrong length are refused.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::memory::MemoryRange;
use guestdump::read::Vmcore;
use guestdump::sink::{BufferSink, FileSink, FileSinkOptions};
use guestdump::{
    DumpOptions, Error, Fault, Format, GuestInfo, GuestMemory, Machine, OnReadError, Summary, dump,
};

const SIZE: u64 = 4 << 20;

/// Memory of which `good` reads succeed; `error` makes the error of the others.
struct Failing<E> {
    good: u64,
    reads: AtomicU64,
    error: E,
}

impl<E: Fn() -> io::Error + Send + Sync> GuestMemory for Failing<E> {
    fn ranges(&self) -> Vec<MemoryRange> {
        vec![MemoryRange::new(0, SIZE).unwrap()]
    }
    fn read(&self, _: u64, buf: &mut [u8]) -> io::Result<()> {
        if self.reads.fetch_add(1, Relaxed) >= self.good {
            return Err((self.error)());
        }
        buf.fill(7);
        Ok(())
    }
}

const FORMATS: [Format; 3] = [Format::Elf, Format::KDUMP_RAW_ZLIB, Format::KDUMP_ZLIB];
const POLICIES: [OnReadError; 2] = [OnReadError::Zero, OnReadError::Skip];

fn options(format: Format, policy: OnReadError) -> DumpOptions {
    let guest = GuestInfo::new(Machine::X86_64).vmcoreinfo(VmcoreinfoSource::None);
    DumpOptions::new(guest, format)
        .on_read_error(policy)
        .threads(2)
}

/// Dumps over yesterday's dump, which must be there if the dump fails.
fn over_yesterdays(memory: &dyn GuestMemory, options: &DumpOptions) -> guestdump::Result<Summary> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dump");
    fs::write(&path, "yesterday").unwrap();
    let overwrite = FileSinkOptions::new().overwrite(true);
    let mut sink = FileSink::create(&path, overwrite).unwrap();
    let result = dump(memory, &mut sink, options);
    drop(sink);
    if result.is_err() {
        assert_eq!(fs::read(&path).unwrap(), b"yesterday");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
    result
}

#[derive(Debug, thiserror::Error)]
#[error("the memory cannot be read")]
struct Wrapped(#[source] io::Error);

#[test]
fn a_source_that_is_gone_fails_under_every_policy() {
    let errors: [fn() -> io::Error; 7] = [
        || io::Error::from_raw_os_error(3),
        || io::Error::from_raw_os_error(9),
        // ENOMEM, EACCES.
        || io::Error::from_raw_os_error(12),
        || io::Error::from_raw_os_error(13),
        || io::ErrorKind::BrokenPipe.into(),
        || io::ErrorKind::ConnectionReset.into(),
        || io::Error::other(Wrapped(io::Error::from_raw_os_error(3))),
    ];
    for (format, policy) in pairs() {
        for error in errors {
            for good in [0, 2] {
                let reads = AtomicU64::new(0);
                let memory = Failing { good, reads, error };
                let error = over_yesterdays(&memory, &options(format, policy)).unwrap_err();
                assert!(
                    matches!(error, Error::Failed(Fault::Read { .. })),
                    "{format} {policy:?}: {error}"
                );
            }
        }
    }
}

fn pairs() -> impl Iterator<Item = (Format, OnReadError)> {
    let all = FORMATS.into_iter().flat_map(|f| POLICIES.map(|p| (f, p)));
    all.filter(|(format, policy)| *format != Format::Elf || *policy == OnReadError::Zero)
}

#[test]
fn bad_pages_are_tolerated_if_any_page_can_be_read() {
    for (format, policy) in pairs() {
        // EPERM as /dev/mem gives it, EIO, EFAULT, EHWPOISON, a truncated file.
        let errors: [fn() -> io::Error; 5] = [
            || io::Error::from_raw_os_error(1),
            || io::Error::from_raw_os_error(5),
            || io::Error::from_raw_os_error(14),
            || io::Error::from_raw_os_error(133),
            || io::ErrorKind::UnexpectedEof.into(),
        ];
        for error in errors {
            let memory = |good| Failing {
                good,
                reads: AtomicU64::new(0),
                error,
            };
            let options = options(format, policy);
            let dumped = over_yesterdays(&memory(1), &options).unwrap();
            let bytes = dumped.unreadable.unwrap().bytes;
            assert!(bytes > 0 && bytes < SIZE, "{format} {bytes}");
            let nothing = over_yesterdays(&memory(0), &options).unwrap_err();
            let text = guestdump::error_chain(&nothing);
            assert!(text.contains("no page of the guest's memory"), "{text}");
        }
    }
}

/// Memory that gives slices which are too short or too long.
struct Slices {
    bytes: Vec<u8>,
    wrong_by: isize,
}

impl GuestMemory for Slices {
    fn ranges(&self) -> Vec<MemoryRange> {
        vec![MemoryRange::new(0, SIZE).unwrap()]
    }
    fn read(&self, _: u64, buf: &mut [u8]) -> io::Result<()> {
        buf.fill(7);
        Ok(())
    }
    fn as_slice(&self, range: MemoryRange) -> Option<&[u8]> {
        let len = range.size() as usize;
        Some(&self.bytes[..len.checked_add_signed(self.wrong_by).unwrap()])
    }
}

#[test]
fn slices_of_a_wrong_length_are_an_error() {
    let slices = |wrong_by| Slices {
        bytes: vec![7; SIZE as usize + 4096],
        wrong_by,
    };
    for policy in OnReadError::ALL {
        for format in FORMATS {
            if policy == OnReadError::Skip && format == Format::Elf {
                continue;
            }
            let options = options(format, policy);
            for wrong_by in [-4096, -1, 1, 4096] {
                let error = over_yesterdays(&slices(wrong_by), &options).unwrap_err();
                assert!(
                    matches!(error, Error::Failed(Fault::SliceLength { .. })),
                    "{format} {wrong_by}: {error}"
                );
            }
            over_yesterdays(&slices(0), &options).unwrap();
        }
    }
}

/// One page at a high address.
struct High(u64);

impl GuestMemory for High {
    fn ranges(&self) -> Vec<MemoryRange> {
        vec![MemoryRange::new(self.0, 4096).unwrap()]
    }
    fn read(&self, _: u64, buf: &mut [u8]) -> io::Result<()> {
        buf.fill(9);
        Ok(())
    }
}

#[test]
fn a_buffer_is_read_in_place_without_its_holes() {
    for format in [Format::Elf, Format::KDUMP_RAW_ZLIB] {
        let mut sink = BufferSink::new();
        let gpa = 1 << 46;
        dump(&High(gpa), &mut sink, &options(format, OnReadError::Fail)).unwrap();
        let size = sink.size();
        let vmcore = Vmcore::open(sink).unwrap();
        let mut page = [0; 4096];
        vmcore.read(gpa, &mut page).unwrap();
        assert_eq!((page, vmcore.raw_len()), ([9; 4096], size));
    }
}

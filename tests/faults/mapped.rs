//! Mappings of files that are cut short: to a plain copy, SIGBUS.
#![allow(unsafe_code)]

use std::fs::File;

use guestdump::memory::{MappedMemory, MemoryRange, RangeError};
use guestdump::sink::BufferSink;
use guestdump::{Error, Format, GuestMemory, OnReadError, Progress, dump};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::support::{PAGE, Page, range};
use super::{open, options, page_of};

const PAGES: u64 = 64;

/// A mapping of a file; the address.
fn map(file: &File) -> usize {
    let len = (PAGES * PAGE) as usize;
    // SAFETY: a new mapping, which only the kernel reads.
    let at = unsafe {
        mmap(
            std::ptr::null_mut(),
            len,
            ProtFlags::READ,
            MapFlags::SHARED,
            file,
            0,
        )
    };
    at.unwrap() as usize
}

fn unmap(address: usize) {
    // SAFETY: the mapping of `map`, of which there are no references.
    unsafe { munmap(address as *mut _, (PAGES * PAGE) as usize) }.unwrap();
}

#[test]
fn a_mapping_of_a_file_that_is_cut_short_is_an_error_and_no_signal() {
    use std::os::unix::fs::FileExt;
    let file = tempfile::tempfile().unwrap();
    for page in 0..PAGES {
        file.write_all_at(&Page::Text(page as u8).bytes(), page * PAGE)
            .unwrap();
    }
    let address = map(&file);
    let gpa = 0;
    let memory = MappedMemory::new([(range(gpa, PAGES * PAGE), address)]).unwrap();
    let mut page = vec![0; 4096];
    memory.read(gpa + 5 * PAGE, &mut page).unwrap();
    assert_eq!(page, Page::Text(5).bytes());
    assert!(memory.read(gpa + PAGES * PAGE - 8, &mut page).is_err());

    file.set_len(40 * PAGE).unwrap();
    let lost = range(gpa + 40 * PAGE, 24 * PAGE);
    for format in Format::available() {
        let error = dump(&memory, &mut BufferSink::new(), &options(format).threads(1));
        let error = error.unwrap_err();
        let named = matches!(error, Error::ReadMemory { gpa, .. } if gpa == lost.start());
        assert!(named, "{format}: {error}");
        let options = options(format).on_read_error(OnReadError::Zero);
        let mut sink = BufferSink::new();
        let summary = dump(&memory, &mut sink, &options).unwrap();
        assert_eq!(summary.unreadable.unwrap().ranges, [lost], "{format}");
        let dump = open(&sink.into_bytes());
        dump.check(&Progress::new()).unwrap();
        let last = page_of(&dump, gpa + 39 * PAGE).unwrap();
        assert!(last == Page::Text(39).bytes(), "{format}");
    }
    unmap(address);
    // Nor is it one where nothing can be mapped.
    let memory = MappedMemory::new([(range(0, PAGE), 4096)]).unwrap();
    assert!(memory.read(0, &mut page).is_err());
}

#[test]
fn addresses_that_cannot_be_are_refused() {
    let all = range(0, PAGE);
    let refused = MappedMemory::new([(all, usize::MAX - 8)]).unwrap_err();
    assert!(matches!(refused, RangeError::Overflow { .. }), "{refused}");
    let none: [(MemoryRange, usize); 0] = [];
    assert!(MappedMemory::new(none).is_err());
}

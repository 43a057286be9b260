//! Mappings of files that are cut short, and of memory with a hardware error:
//! to a plain copy, SIGBUS.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use guestdump::memory::{FileMemory, MappedMemory, MemoryRange, RangeError};
use guestdump::sink::BufferSink;
use guestdump::{Error, Fault, Format, GuestMemory, OnReadError, Progress, dump};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use rustix::mm::{
    Advice, MapFlags, ProtFlags, UserfaultfdFlags, madvise, mmap, munmap, userfaultfd,
};
use testkit::{PAGE, Page, open, range};

use super::memory::can_skip;
use super::{options, page_of};

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

/// A file in memory, of different pages.
fn pages() -> File {
    let file: File = memfd_create("pages", MemfdFlags::CLOEXEC).unwrap().into();
    for page in 0..PAGES {
        file.write_all_at(&Page::Text(page as u8).bytes(), page * PAGE)
            .unwrap();
    }
    file
}

/// What each policy makes of guest memory from address 0 on that has lost
/// `lost`.
fn check_policies(memory: &dyn GuestMemory, lost: MemoryRange) {
    for format in Format::available() {
        let error = dump(memory, &mut BufferSink::new(), &options(format).threads(1));
        let error = error.unwrap_err();
        let named = matches!(error, Error::Failed(Fault::Read { gpa, .. }) if gpa == lost.start());
        assert!(named, "{format}: {error}");
        for policy in [OnReadError::Zero, OnReadError::Skip] {
            if policy == OnReadError::Skip && !can_skip(format) {
                continue;
            }
            let options = options(format).on_read_error(policy);
            let mut sink = BufferSink::new();
            let summary = dump(memory, &mut sink, &options).unwrap();
            assert_eq!(summary.unreadable.unwrap().ranges, [lost], "{format}");
            let dump = open(&sink.into_bytes());
            dump.check(&Progress::new()).unwrap();
            for page in 0..PAGES {
                let gpa = page * PAGE;
                let expected = match (lost.contains(gpa, PAGE), policy) {
                    (false, _) => Some(Page::Text(page as u8).bytes()),
                    (true, OnReadError::Skip) => None,
                    (true, _) => Some(Page::Zero.bytes()),
                };
                assert!(page_of(&dump, gpa) == expected, "{format}, page {page}");
            }
        }
    }
}

#[test]
fn a_mapping_of_a_file_that_is_cut_short_is_an_error_and_no_signal() {
    let file = pages();
    let address = map(&file);
    let memory = MappedMemory::new([(range(0, PAGES * PAGE), address)]).unwrap();
    let mut page = vec![0; 4096];
    memory.read(5 * PAGE, &mut page).unwrap();
    assert_eq!(page, Page::Text(5).bytes());
    assert!(memory.read(PAGES * PAGE - 8, &mut page).is_err());

    file.set_len(40 * PAGE).unwrap();
    check_policies(&memory, range(40 * PAGE, 24 * PAGE));
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

/// The page of every test with a hardware error.
const BROKEN: u64 = 5;

fn skipped(what: &str, error: &io::Error) {
    eprintln!("skipped: this kernel gives no {what}: {error}");
}

/// A page that the kernel takes for broken in this mapping alone.
#[test]
fn a_page_that_is_poisoned_in_the_mapping_is_an_error_and_no_signal() {
    let file = pages();
    let address = map(&file);
    match poison_by_userfaultfd(address) {
        Err(error) => skipped("page poisoned by userfaultfd", &error),
        Ok(_keeps_it) => {
            let memory = MappedMemory::new([(range(0, PAGES * PAGE), address)]).unwrap();
            check_policies(&memory, range(BROKEN * PAGE, PAGE));
        }
    }
    unmap(address);
}

/// `UFFDIO_POISON`, of Linux 6.6 and later: `ioctl_userfaultfd(2)`.
fn poison_by_userfaultfd(address: usize) -> io::Result<OwnedFd> {
    /// Linux `include/uapi/linux/userfaultfd.h`.
    const GROUP: u8 = 0xaa;
    const API: Opcode = opcode::read_write::<[u64; 3]>(GROUP, 0x3f);
    const REGISTER: Opcode = opcode::read_write::<[u64; 4]>(GROUP, 0);
    const POISON: Opcode = opcode::read_write::<[u64; 4]>(GROUP, 8);
    const FEATURE_POISON: u64 = 1 << 14;
    const MODE_MISSING: u64 = 1;
    // So that nobody needs a right for it.
    const USER_MODE_ONLY: UserfaultfdFlags = UserfaultfdFlags::from_bits_retain(1);
    // SAFETY: a new descriptor; it is told of no faults.
    let fd = unsafe { userfaultfd(UserfaultfdFlags::CLOEXEC | USER_MODE_ONLY) }?;
    let at = address as u64;
    // SAFETY: the structures that these calls take: API and features; start,
    // length and mode of a range of this test's own mapping.
    unsafe {
        let mut api = [GROUP.into(), FEATURE_POISON, 0];
        ioctl(&fd, Updater::<API, _>::new(&mut api))?;
        let mut all = [at, PAGES * PAGE, MODE_MISSING, 0];
        ioctl(&fd, Updater::<REGISTER, _>::new(&mut all))?;
        let mut page = [at + BROKEN * PAGE, PAGE, 0, 0];
        ioctl(&fd, Updater::<POISON, _>::new(&mut page))?;
        // The others are faults as usual from now on.
        let mut all = [at, PAGES * PAGE];
        const UNREGISTER: Opcode = opcode::read::<[u64; 2]>(GROUP, 1);
        ioctl(&fd, Updater::<UNREGISTER, _>::new(&mut all))?;
    }
    Ok(fd)
}

/// A page that the kernel takes for broken, for good: only on a machine that is
/// thrown away, as in CI, since that takes it out of use.
#[test]
fn a_page_with_a_hardware_error_is_an_error_and_no_signal() {
    if std::env::var_os("CI").is_none() {
        eprintln!("skipped: a page of the machine's would be lost; set CI to have it");
        return;
    }
    let early = std::fs::read_to_string("/proc/sys/vm/memory_failure_early_kill");
    if early.is_ok_and(|early| early.trim() != "0") {
        eprintln!("skipped: the kernel would kill this process");
        return;
    }
    let file = pages();
    let address = map(&file);
    let memory = MappedMemory::new([(range(0, PAGES * PAGE), address)]).unwrap();
    memory
        .read(0, &mut vec![0; (PAGES * PAGE) as usize])
        .unwrap();
    let page = (address + (BROKEN * PAGE) as usize) as *mut c_void;
    // SAFETY: a page of this test's own mapping, which only the kernel reads.
    match unsafe { madvise(page, PAGE as usize, Advice::LinuxHwPoison) } {
        Err(error) => skipped("hardware errors on request", &error.into()),
        Ok(()) => {
            let lost = range(BROKEN * PAGE, PAGE);
            check_policies(&memory, lost);
            check_policies(&FileMemory::flat(file).unwrap(), lost);
        }
    }
    unmap(address);
}

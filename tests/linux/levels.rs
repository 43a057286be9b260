//! Dumps with a dump level: what is in them, and what is never read.

use std::collections::BTreeSet;
use std::io;

use guestdump::elf::PT_LOAD;
use guestdump::guest::linux::{DumpLevel, KernelError};
use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::read::{Headers, Vmcore};
use guestdump::sink::{BufferSink, FileSink, FileSinkOptions, StreamSink};
use guestdump::{
    DumpOptions, Error, Format, FormatOptions, GuestMemory, Machine, MemoryRange, NotInFormat,
    OnReadError, OnUnknownKernel, Progress, Refusal, dump,
};
use testkit::options::With;
use testkit::{PAGE, open, to_buffer};

use super::pages::{BUDDY, Generation, HWPOISON, Kern, LRU, Model, PRIVATE, RAM, SWAPBACKED};

const FRAMES: u64 = RAM as u64 / PAGE;

/// A guest that keeps every kind of pages.
fn kernel() -> Kern {
    let mut kern = Kern::new(Machine::Ppc64le, Model::Flat, Generation::Destructor);
    // Behind the `struct page`s, in frames 16 to 31.
    for frame in 40..FRAMES {
        let at = (frame * PAGE) as usize;
        kern.guest.ram[at..at + 8].copy_from_slice(&frame.to_le_bytes());
    }
    kern.put(300, LRU, 0, -1, 0, 0);
    kern.put(301, LRU | PRIVATE, 0, -1, 0, 0);
    kern.put(303, LRU | SWAPBACKED, 1, 0, 0, 0);
    kern.put(305, HWPOISON, 0, -1, 0, 0);
    kern.put(512, 0, 0, BUDDY, 8, 0);
    // Every second page: as many runs as there can be.
    for frame in (800..1000).step_by(2) {
        kern.put(frame, LRU, 0, -1, 0, 0);
    }
    kern
}

/// What level 31 leaves out of it.
fn left_out() -> BTreeSet<u64> {
    let mut frames: BTreeSet<u64> = (512..768).chain([300, 301, 303, 305]).collect();
    frames.extend((800..1000).step_by(2));
    frames
}

/// Memory of which some pages must not be read.
struct Forbidden<'a> {
    kern: &'a Kern,
    frames: &'a BTreeSet<u64>,
}

impl GuestMemory for Forbidden<'_> {
    fn ranges(&self) -> Vec<MemoryRange> {
        self.kern.guest.ranges()
    }
    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        let end = gpa + buf.len() as u64;
        if let Some(frame) = self.frames.range(gpa / PAGE..end.div_ceil(PAGE)).next() {
            return Err(io::Error::other(format!("page frame {frame} was read")));
        }
        self.kern.guest.read(gpa, buf)
    }
}

fn options(kern: &Kern, format: Format, level: u8) -> DumpOptions {
    let level = DumpLevel::new(level).unwrap();
    let format = FormatOptions::from(format).dump_level(level, OnUnknownKernel::Fail);
    DumpOptions::new(kern.guest.info(), format.unwrap())
}

fn to_stream(memory: &dyn GuestMemory, options: &DumpOptions) -> Vec<u8> {
    let mut bytes = Vec::new();
    dump(memory, &mut StreamSink::new(&mut bytes), options).unwrap();
    bytes
}

/// The page frames that a dump lists.
fn frames_in(core: &Vmcore) -> BTreeSet<u64> {
    let ranges = core.ranges();
    let frames = ranges.iter().map(|r| r.start() / PAGE..r.end() / PAGE);
    frames.flatten().collect()
}

fn check_pages(core: &Vmcore, kern: &Kern, frames: &BTreeSet<u64>) {
    let mut page = [0; PAGE as usize];
    for frame in frames {
        core.read(frame * PAGE, &mut page).unwrap();
        let at = (frame * PAGE) as usize;
        assert!(page == kern.guest.ram[at..at + PAGE as usize], "{frame}");
    }
}

fn linux_formats() -> impl Iterator<Item = Format> {
    Format::available().filter(|format| !format.is_windows())
}

#[test]
fn pages_that_are_left_out_are_neither_read_nor_dumped() {
    let kern = kernel();
    let left_out = left_out();
    let memory = Forbidden {
        kern: &kern,
        frames: &left_out,
    };
    let all: BTreeSet<u64> = (0..FRAMES).collect();
    let kept: BTreeSet<u64> = all.difference(&left_out).copied().collect();
    for format in linux_formats() {
        let what = options(&kern, format, 31);
        let (bytes, summary) = to_buffer(&memory, &what);
        let (again, _) = to_buffer(&memory, &what.clone().threads(3));
        assert!(bytes == again, "{format}");
        let core = open(&bytes);
        check_pages(&core, &kern, &kept);
        match core.headers() {
            Headers::Elf {
                program_headers, ..
            } => {
                // For readers that do not know the section, excluded pages are zeroes.
                let load = program_headers.iter().find(|h| h.kind == PT_LOAD).unwrap();
                assert_eq!((load.paddr, load.filesz), (0, FRAMES * PAGE));
                for frame in &left_out {
                    let at = (load.offset + frame * PAGE) as usize;
                    let page = &bytes[at..at + PAGE as usize];
                    assert!(page.iter().all(|byte| *byte == 0), "{frame}");
                }
            }
            Headers::Kdump { sub, .. } => assert_eq!(sub.dump_level, 31, "{format}"),
            _ => panic!("{format}"),
        }
        assert_eq!(frames_in(&core), kept, "{format}");
        let coverage = core.coverage();
        assert_eq!(coverage.dump_level, 31, "{format}");
        let absent = coverage.absent_bytes() / PAGE;
        assert_eq!(absent, left_out.len() as u64, "{format}");
        assert_eq!(summary.pages, kept.len() as u64, "{format}");
        let zero = kept.iter().filter(|frame| {
            let at = (**frame * PAGE) as usize;
            kern.guest.ram[at..at + PAGE as usize]
                .iter()
                .all(|b| *b == 0)
        });
        assert_eq!(summary.zero_pages, zero.count() as u64, "{format}");
        let excluded = summary.excluded.unwrap();
        assert_eq!(excluded.level, DumpLevel::new(31).unwrap());
        assert_eq!(excluded.not_understood, None);
        assert_eq!(excluded.pages.total(), left_out.len() as u64);
        let pages = excluded.pages;
        assert_eq!((pages.cache, pages.cache_private), (101, 1));
        assert_eq!((pages.user, pages.free, pages.hwpoison), (1, 256, 1));
        core.check(&Progress::new()).unwrap();
        if !format.needs_positions() {
            let streamed = open(&to_stream(&memory, &what));
            check_pages(&streamed, &kern, &kept);
            assert_eq!(frames_in(&streamed), frames_in(&core), "{format}");
        }
    }
}

#[test]
fn without_a_level_nothing_is_left_out_nor_said() {
    let kern = kernel();
    for format in linux_formats() {
        let (bytes, summary) = to_buffer(&kern.guest, &options(&kern, format, 0));
        assert_eq!(summary.excluded, None);
        let core = open(&bytes);
        assert_eq!(core.pages(), FRAMES, "{format}");
        if let Headers::Kdump { sub, .. } = core.headers() {
            assert_eq!(sub.dump_level, 0, "{format}");
        }
    }
}

#[test]
fn only_what_was_asked_for_is_counted() {
    let kern = kernel();
    // From the middle of the free block on.
    let some = options(&kern, Format::KDUMP_RAW_ZLIB, 16).filter(600 * PAGE, 200 * PAGE);
    let (bytes, summary) = to_buffer(&kern.guest, &some);
    assert_eq!(frames_in(&open(&bytes)), (768..800).collect());
    assert_eq!(summary.excluded.unwrap().pages.free, 168);
    assert_eq!(summary.pages, 32);
    for format in linux_formats() {
        let none = options(&kern, format, 16).filter(600 * PAGE, PAGE);
        let mut sink = BufferSink::new();
        let refused = dump(&kern.guest, &mut sink, &none).unwrap_err();
        assert!(
            matches!(refused, Error::Refused(Refusal::NothingLeft { .. })),
            "{refused}"
        );
        assert!(refused.is_refusal() && sink.into_bytes().is_empty());
    }
}

#[test]
fn a_page_that_cannot_be_read_is_left_out_as_well() {
    let kern = kernel();
    let bad = BTreeSet::from([100, 101, 303, 700]);
    let memory = Forbidden {
        kern: &kern,
        frames: &bad,
    };
    let mut gone = left_out();
    gone.extend(&bad);
    for format in linux_formats().filter(|format| format.codec().is_some()) {
        let skip = options(&kern, format, 31).on_read_error(OnReadError::Skip);
        let (bytes, summary) = to_buffer(&memory, &skip);
        let kept: BTreeSet<u64> = (0..FRAMES).filter(|frame| !gone.contains(frame)).collect();
        let core = open(&bytes);
        assert_eq!(frames_in(&core), kept, "{format}");
        check_pages(&core, &kern, &kept);
        // What is left out is not read, so it is not counted here.
        assert_eq!(summary.unreadable.unwrap().bytes, 2 * PAGE);
        assert_eq!(summary.pages, kept.len() as u64);
    }
}

#[test]
fn unknown_kernel_is_refused_or_dumped_whole() {
    let mut kern = kernel();
    kern.guest.info = kern.guest.info.replace("SIZE(page)=64\n", "");
    for format in linux_formats() {
        for level in [2, 31] {
            let what = options(&kern, format, level);
            let mut sink = BufferSink::new();
            let refused = dump(&kern.guest, &mut sink, &what).unwrap_err();
            assert!(refused.is_refusal() && sink.into_bytes().is_empty());
            match &refused {
                Error::Refused(Refusal::DumpLevel { level: asked, .. }) => {
                    assert_eq!(asked.number(), level)
                }
                other => panic!("{other}"),
            }
            let level = DumpLevel::new(level).unwrap();
            let anyway = what.with_format(|f| f.dump_level(level, OnUnknownKernel::DumpAll));
            let level = level.number();
            let (bytes, summary) = to_buffer(&kern.guest, &anyway);
            let excluded = summary.excluded.unwrap();
            let why = excluded.not_understood.unwrap();
            assert!(why.contains("no SIZE(page)"), "{why}");
            assert_eq!(excluded.level.number(), level & 1);
            assert_eq!(excluded.pages.total(), 0);
            let core = open(&bytes);
            assert_eq!(core.pages(), FRAMES, "{format}");
            if let Headers::Kdump { sub, .. } = core.headers() {
                assert_eq!(sub.dump_level, u32::from(level & 1));
            }
        }
        // Zero pages need no kernel; broken ones would.
        let (_, summary) = to_buffer(&kern.guest, &options(&kern, format, 1));
        let excluded = summary.excluded.unwrap();
        assert_eq!(excluded.level, DumpLevel::ZERO);
        assert!(excluded.not_understood.unwrap().contains("SIZE(page)"));
        assert_eq!(summary.pages, FRAMES);
    }
}

#[test]
fn page_structs_that_cannot_be_read_are_not_understood() {
    let kern = kernel();
    let frames = BTreeSet::from([20]);
    let memory = Forbidden {
        kern: &kern,
        frames: &frames,
    };
    for policy in OnReadError::ALL {
        let what = options(&kern, Format::KDUMP_RAW_ZLIB, 31).on_read_error(policy);
        let refused = dump(&memory, &mut BufferSink::new(), &what).unwrap_err();
        assert!(
            matches!(refused, Error::Refused(Refusal::DumpLevel { .. })),
            "{refused}"
        );
    }
}

/// Memory that is read far into it when the dump is cancelled.
struct Cancels<'a> {
    kern: &'a Kern,
    at: u64,
    progress: &'a Progress,
}

impl GuestMemory for Cancels<'_> {
    fn ranges(&self) -> Vec<MemoryRange> {
        self.kern.guest.ranges()
    }
    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        if gpa >= self.at {
            self.progress.cancel();
        }
        self.kern.guest.read(gpa, buf)
    }
}

#[test]
fn cancelled_dump_keeps_its_first_pages() {
    let kern = kernel();
    let left_out = left_out();
    let progress = Progress::new();
    let memory = Cancels {
        kern: &kern,
        at: 400 * PAGE,
        progress: &progress,
    };
    let what = options(&kern, Format::KDUMP_RAW_ZLIB, 31)
        .with_format(FormatOptions::keep_partial)
        .progress(progress.clone());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("part");
    let mut sink = FileSink::create(&path, FileSinkOptions::default()).unwrap();
    let error = dump(&memory, &mut sink, &what).unwrap_err();
    drop(sink);
    let Error::Incomplete { pages, of, .. } = error else {
        panic!("{error}");
    };
    let kept: BTreeSet<u64> = (0..FRAMES).filter(|f| !left_out.contains(f)).collect();
    assert_eq!(of, kept.len() as u64);
    assert!((1..of).contains(&pages), "{pages}");
    let core = open(&std::fs::read(&path).unwrap());
    let first = kept.into_iter().take(pages as usize).collect();
    assert_eq!(frames_in(&core), first);
    check_pages(&core, &kern, &first);
}

#[test]
fn a_guest_without_vmcoreinfo_is_not_understood() {
    let kern = kernel();
    let what = options(&kern, Format::Elf, 31)
        .with_guest(|guest| guest.vmcoreinfo(VmcoreinfoSource::None));
    let refused = dump(&kern.guest, &mut BufferSink::new(), &what).unwrap_err();
    let Error::Refused(Refusal::DumpLevel { level, source }) = &refused else {
        panic!("{refused}");
    };
    assert_eq!(level.number(), 31);
    assert!(matches!(source, KernelError::NoVmcoreinfo), "{source}");
}

#[test]
fn a_dump_with_larger_pages_than_the_kernels_is_refused() {
    let kern = kernel();
    let what =
        options(&kern, Format::KDUMP_RAW_ZLIB, 16).with_guest(|guest| guest.page_size(65536));
    let refused = dump(&kern.guest, &mut BufferSink::new(), &what).unwrap_err();
    let Error::Refused(Refusal::DumpLevel { source, .. }) = &refused else {
        panic!("{refused}");
    };
    assert!(
        matches!(
            source,
            KernelError::PageSize {
                kernel: 4096,
                dump: 65536
            }
        ),
        "{source}"
    );
}

#[test]
fn windows_formats_have_no_levels() {
    for format in [Format::WIN_DMP, Format::WIN_DMP_BITMAP] {
        let with = |level| FormatOptions::from(format).dump_level(level, OnUnknownKernel::Fail);
        assert_eq!(
            with(DumpLevel::ZERO).unwrap_err(),
            NotInFormat::DumpLevel(format)
        );
        assert_eq!(with(DumpLevel::NONE).unwrap().format(), format);
    }
}

/// RAM without its last 4 KiB, of a guest with pages of 64 KiB.
struct Odd<'a>(&'a Kern);

impl GuestMemory for Odd<'_> {
    fn ranges(&self) -> Vec<MemoryRange> {
        vec![MemoryRange::new(0, RAM as u64 - PAGE).unwrap()]
    }
    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        self.0.guest.read(gpa, buf)
    }
}

#[test]
fn elf_dump_of_ram_with_a_partial_page_ends_with_ram() {
    let mut kern = kernel();
    kern.guest.info = kern.guest.info.replace("PAGESIZE=4096", "PAGESIZE=65536");
    // Page frames of 64 KiB: the last one, and the one before.
    for frame in 0..FRAMES {
        kern.put(frame, 0, 0, -1, 0, 0);
    }
    kern.put(62, LRU, 0, -1, 0, 0);
    kern.put(63, LRU, 0, -1, 0, 0);
    let (bytes, summary) = to_buffer(&Odd(&kern), &options(&kern, Format::Elf, 2));
    assert_eq!(summary.page_size, PAGE);
    assert_eq!(summary.pages, FRAMES - 32);
    assert_eq!(summary.excluded.unwrap().pages.cache, 2);
    let core = open(&bytes);
    check_pages(&core, &kern, &(0..FRAMES - 32).collect());
    assert_eq!(frames_in(&core), (0..FRAMES - 32).collect());
}

//! Pages that a dump has twice already are not stored again, and the dump is the same
//! for every number of threads all the same.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::Write;

use guestdump::codec::Codec;
use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::memory::{MemoryRange, SliceMemory};
use guestdump::read::Vmcore;
use guestdump::sink::BufferSink;
use guestdump::{DumpOptions, Format, GuestInfo, GuestMemory, Machine, dump};
use testkit::Page;

const PAGE: usize = 4096;

/// A page that only has this number: of text, or each fourth of what no codec
/// shrinks.
fn page(number: usize) -> Vec<u8> {
    if number % 4 == 3 {
        let mut page = Page::Random(1).bytes();
        page[..8].copy_from_slice(&number.to_le_bytes());
        return page;
    }
    let line = format!("{number} is the number of this page. ").into_bytes();
    line.into_iter().cycle().take(PAGE).collect()
}

fn to_buffer(bytes: &[u8], format: Format, threads: usize) -> Vec<u8> {
    let range = MemoryRange::new(0, bytes.len() as u64).unwrap();
    let memory = Copying(SliceMemory::new(vec![(range.start(), bytes)]).unwrap());
    let options = DumpOptions::new(
        GuestInfo::new(Machine::X86_64).vmcoreinfo(VmcoreinfoSource::None),
        format,
    )
    .threads(threads);
    let mut sink = BufferSink::new();
    dump(&memory, &mut sink, &options).unwrap();
    sink.into_bytes()
}

/// Memory that has to be copied.
struct Copying<'a>(SliceMemory<'a>);

impl GuestMemory for Copying<'_> {
    fn ranges(&self) -> Vec<MemoryRange> {
        self.0.ranges()
    }
    fn read(&self, gpa: u64, buf: &mut [u8]) -> std::io::Result<()> {
        self.0.read(gpa, buf)
    }
}

fn compressed() -> impl Iterator<Item = Format> {
    Format::available().filter(|f| f.codec().is_some())
}

fn read_back(dump: &[u8], len: usize) -> Vec<u8> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(dump).unwrap();
    let mut bytes = vec![0; len];
    Vmcore::open(file).unwrap().read(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn two_copies_at_most_are_stored_of_pages_that_are_the_same() {
    // Neighbours, in one chunk, and in chunks far from each other.
    let kinds = [1, 1, 2, 3, 2];
    let repeated: Vec<u8> = (0..4000).flat_map(|n| page(kinds[n % 5])).collect();
    let alone: Vec<u8> = [1, 2, 3].into_iter().flat_map(page).collect();
    for format in compressed() {
        for threads in [1, 4] {
            let dump = to_buffer(&repeated, format, threads);
            let least = to_buffer(&alone, format, 1);
            // A descriptor of 24 bytes each, and bitmaps.
            let descriptors = 24 * (4000 - 3);
            let more = dump.len() - least.len();
            assert!(more < descriptors + 4 * PAGE, "{format}: {more} bytes more");
            assert!(read_back(&dump, repeated.len()) == repeated, "{format}");
        }
    }
}

#[test]
fn pages_that_nearly_agree_are_told_apart() {
    // They differ in one byte, each in another.
    let pages: Vec<u8> = (0..600)
        .flat_map(|n| {
            let mut page = page(0);
            page[n * 6] ^= 0x20;
            page
        })
        .collect();
    let twice = pages.repeat(2);
    for format in compressed() {
        let dump = to_buffer(&twice, format, 2);
        assert!(read_back(&dump, twice.len()) == twice, "{format}");
    }
}

#[test]
fn threads_make_no_difference_when_pages_make_room_for_others() {
    // More kinds of pages than are kept: whether one is still known changes
    // from chunk to chunk, also between looking and placing.
    let bytes: Vec<u8> = (0..6000)
        .flat_map(|n| page([n % 1100, n % 7][usize::from(n % 3 == 0)]))
        .collect();
    for format in compressed().filter(|f| f.codec() != Some(Codec::Zlib)) {
        let one = to_buffer(&bytes, format, 1);
        assert!(read_back(&one, bytes.len()) == bytes, "{format}");
        for threads in [2, 3, 8] {
            let more = to_buffer(&bytes, format, threads);
            assert!(one == more, "{format} on {threads} threads");
        }
    }
}

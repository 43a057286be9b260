//! kdump files whose headers and page descriptors point everywhere.

use guestdump::codec::Codec;
use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::kdump::{PageDescriptor, codec_flag};
use guestdump::read::{Headers, Vmcore, VmcoreError};
use guestdump::sink::BufferSink;
use guestdump::{ByteOrder, DumpOptions, Format, GuestInfo, GuestMemory, Machine, Progress, dump};

use crate::meter::{Counted, alone, file};

const PAGES: u64 = 1024;
const PAGE: usize = 4096;

/// A good dump of pages that are all other ones, and where its descriptors
/// begin.
fn good() -> (Vec<u8>, usize) {
    let guest = Counted::new(PAGES * PAGE as u64, |gpa, buf: &mut [u8]| {
        for (page, buf) in (gpa / PAGE as u64..).zip(buf.chunks_mut(PAGE)) {
            buf.fill(page as u8 | 1);
            buf[0] = (page >> 8) as u8;
        }
    });
    let options = DumpOptions::new(
        GuestInfo::new(Machine::X86_64).vmcoreinfo(VmcoreinfoSource::None),
        Format::KDUMP_RAW_ZLIB,
    );
    let mut sink = BufferSink::new();
    dump(&guest, &mut sink, &options).unwrap();
    let bytes = sink.into_bytes();
    let vmcore = Vmcore::open(file(&bytes, 0)).unwrap();
    let Headers::Kdump { main, .. } = vmcore.headers() else {
        panic!("no kdump");
    };
    let blocks = 1 + main.sub_hdr_size + main.bitmap_blocks;
    (bytes, blocks as usize * PAGE)
}

/// With each descriptor made by `descriptor`, and `more` behind the dump.
fn with(descriptor: impl Fn(u64, u64) -> PageDescriptor, more: &[u8]) -> Vec<u8> {
    let (mut bytes, at) = good();
    let end = bytes.len() as u64;
    for page in 0..PAGES {
        let mut new = Vec::new();
        descriptor(page, end).encode(ByteOrder::Little, &mut new);
        let at = at + page as usize * PageDescriptor::SIZE;
        bytes[at..at + new.len()].copy_from_slice(&new);
    }
    bytes.extend(more);
    bytes
}

/// Every page is read, and fails or not; the check ends at the first.
fn read_all(vmcore: &Vmcore) -> u64 {
    let mut page = vec![0; PAGE];
    (0..PAGES)
        .filter(|n| vmcore.read(n * PAGE as u64, &mut page).is_ok())
        .count() as u64
}

#[test]
fn descriptors_that_point_anywhere_give_errors_in_bounded_memory() {
    let Some(meter) = alone!() else {
        return;
    };
    let zlib = codec_flag(Codec::Zlib);
    /// Offset and size of the n-th, by n and the file's length.
    type Kind = fn(u64, u64) -> (u64, u32);
    let kinds: [(&str, Kind); 5] = [
        ("at the headers", |n, _| (n * 8, 4096)),
        ("at the end of the world", |n, _| (u64::MAX - n, 4096)),
        ("past the end", |n, end| (end + n * 4096, 4096)),
        ("with sizes of 4 GiB", |n, _| (n * 4096 + 1, u32::MAX)),
        ("with sizes of 64 KiB", |n, _| (n * 64 + 1, 65536)),
    ];
    for (name, kind) in kinds {
        for flags in [0, zlib, u32::MAX] {
            let bytes = with(
                |page, end| {
                    let (offset, size) = kind(page, end);
                    PageDescriptor {
                        offset,
                        size,
                        flags,
                        page_flags: 0,
                    }
                },
                &[],
            );
            let file = file(&bytes, 0);
            let name = format!("descriptors {name}, flags {flags:#x}");
            let (read, cost) = meter.measure(&name, || {
                let vmcore = Vmcore::open(file).unwrap();
                let error = vmcore.check(&Progress::new()).unwrap_err();
                assert!(!error.to_string().is_empty());
                read_all(&vmcore)
            });
            // Only what is stored as it is can be anything in the file.
            assert!(read == 0 || flags == 0, "{name}: {read}");
            assert!(cost.heap < 1 << 20, "{name}: {cost:?}");
            assert!(cost.read < 8 << 20, "{name}: {cost:?}");
        }
    }
}

/// A page of a few bytes that would be 64 MiB.
#[test]
fn decompression_bomb_is_an_error_in_bounded_memory() {
    let Some(meter) = alone!() else {
        return;
    };
    for &codec in Codec::ALL {
        // The most whose compressed form is not larger than a page.
        let bombs = (16..27).map_while(|shift| {
            let mut out = Vec::new();
            let mut compressor = codec.compressor().ok()?;
            compressor.compress(&vec![0; 1 << shift], &mut out).unwrap();
            (out.len() <= PAGE).then_some((out, 1u64 << shift))
        });
        let Some((bomb, size)) = bombs.last() else {
            continue;
        };
        let flags = codec_flag(codec);
        let bytes = with(
            |_, end| PageDescriptor {
                offset: end,
                size: bomb.len() as u32,
                flags,
                page_flags: 0,
            },
            &bomb,
        );
        let file = file(&bytes, 0);
        let name = format!("{codec:?}: {} bytes that are {size}", bomb.len());
        let (error, cost) = meter.measure(&name, || {
            let vmcore = Vmcore::open(file).unwrap();
            assert_eq!(read_all(&vmcore), 0);
            vmcore.check(&Progress::new()).unwrap_err()
        });
        assert!(matches!(error, VmcoreError::Decompress { .. }), "{error}");
        assert!(cost.heap < 1 << 20, "{name}: {cost:?}");
    }
}

/// Every second page is in the dump: as many runs as the bitmap has bits.
#[test]
fn bitmap_of_many_runs_takes_bounded_memory() {
    let Some(meter) = alone!() else {
        return;
    };
    let (good, descriptors) = good();
    // The bitmap's block, all of it; descriptors in a hole of the file.
    let mut bytes = good[..descriptors].to_vec();
    let bitmaps = descriptors - 2 * PAGE;
    bytes[bitmaps..].fill(0x55);
    let bits = PAGE as u64 * 8;
    for (at, len) in [(440, 4), (PAGE + 96, 8)] {
        bytes[at..at + len].copy_from_slice(&bits.to_le_bytes()[..len]);
    }
    let pages = bits / 2;
    let given = descriptors as u64 + pages * PageDescriptor::SIZE as u64;
    let short = file(&bytes, given - 1);
    let (result, cost) = meter.measure("too few descriptors", || Vmcore::open(short));
    let error = result.unwrap_err();
    assert!(matches!(error, VmcoreError::Truncated { .. }), "{error}");
    assert!(cost.heap < 4 * given, "{cost:?}");
    let whole = file(&bytes, given);
    let (result, cost) = meter.measure("a run for each page", || Vmcore::open(whole));
    let vmcore = result.unwrap();
    assert_eq!(vmcore.pages(), pages);
    assert_eq!(vmcore.ranges().len() as u64, pages);
    assert!(cost.heap < 4 * given, "{cost:?} of {given}");
    let mut page = vec![0; PAGE];
    assert!(vmcore.read(0, &mut page).is_err());
}

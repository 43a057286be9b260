//! Parts of a dump that makedumpfile split.

use guestdump::kdump::DumpHeaders;
use guestdump::memory::Lack;
use guestdump::read::{Vmcore, VmcoreError};
use guestdump::{DumpOptions, Format, GuestMemory, Progress};

use super::source::{PAGE, Page, Source};
use super::{assert_refused, bytes, converted};

fn source() -> Source {
    Source {
        ram: vec![
            (1, (1..=20).map(Page::Filled).collect()),
            (100, vec![Page::Hole, Page::Absent, Page::Filled(9)]),
        ],
        level: 1,
        ..Source::default()
    }
}

/// One part of a dump, as makedumpfile writes it: the whole dump's headers and bitmaps, and the
/// descriptors of its own pages. Descriptors of other pages are cut out.
fn part(whole: &[u8], start: u64, end: u64) -> Vec<u8> {
    let mut headers = DumpHeaders::decode(whole).unwrap();
    headers.sub.split = 1;
    (headers.sub.start_pfn, headers.sub.end_pfn) = (start, end);
    (headers.sub.start_pfn_64, headers.sub.end_pfn_64) = (start, end);
    headers.main.written_blocks = 0;
    let mut part = whole.to_vec();
    let mut main = Vec::new();
    headers
        .main
        .encode(headers.abi.encoding(), &mut main)
        .unwrap();
    part[..main.len()].copy_from_slice(&main);
    let mut sub = Vec::new();
    headers.sub.encode(headers.abi, &mut sub).unwrap();
    let block = headers.main.block_size as usize;
    part[block..block + sub.len()].copy_from_slice(&sub);
    let [_, second] = headers.bitmaps().unwrap();
    let second = &whole[second.start as usize..second.end as usize];
    let frames = guestdump::bitmap::runs(second).flatten();
    let skipped = frames.take_while(|frame| *frame < start).count();
    let at = headers.descriptors() as usize;
    part.copy_within(at + 24 * skipped..whole.len() - 24, at);
    // Data stays where the descriptors say, since they are only moved.
    let data = at + 24 * guestdump::bitmap::runs(second).flatten().count();
    part[data..].copy_from_slice(&whole[data..]);
    part
}

fn parts() -> Vec<Vec<u8>> {
    let options = DumpOptions::new(Source::guest(), Format::KDUMP_RAW_ZLIB);
    let whole = bytes(&source(), &options);
    let max_mapnr = DumpHeaders::decode(&whole).unwrap().max_mapnr();
    [(0, 8), (8, 50), (50, max_mapnr)]
        .map(|(start, end)| part(&whole, start, end))
        .to_vec()
}

#[test]
fn a_part_alone_is_incomplete_and_knows_all_ram() {
    let vmcore = Vmcore::open(parts()[1].clone()).unwrap();
    assert_eq!(vmcore.coverage().lacks, [Lack::Part { start: 8, end: 50 }]);
    assert_eq!(vmcore.pages(), 13);
    assert_eq!(vmcore.coverage().absent_bytes(), 10 * PAGE);
    assert_refused(&vmcore);
    let kept = converted(&vmcore, Format::KDUMP_ZLIB);
    assert_eq!(kept.coverage().lacks, [Lack::Marked]);
    assert_eq!(kept.coverage().absent_bytes(), 10 * PAGE);
    assert_eq!(kept.coverage().dump_level, 1);
}

#[test]
fn all_parts_in_any_order_are_one_dump() {
    let mut parts = parts();
    parts.rotate_left(1);
    let vmcore = Vmcore::open_parts(parts).unwrap();
    source().assert_same(&vmcore);
    assert!(vmcore.is_complete());
    vmcore.check(&Progress::new()).unwrap();
    source().assert_same(&converted(&vmcore, Format::Elf));
}

#[test]
fn a_missing_part_is_named() {
    let mut parts = parts();
    parts.remove(1);
    let vmcore = Vmcore::open_parts(parts).unwrap();
    let lack = Lack::MissingPart { start: 8, end: 50 };
    assert_eq!(vmcore.coverage().lacks, [lack]);
    assert_refused(&vmcore);
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let parts = parts();
    let whole = bytes(
        &source(),
        &DumpOptions::new(Source::guest(), Format::KDUMP_RAW_ZLIB),
    );
    let mut other = Source::guest();
    other = other.timestamp(std::time::Duration::from_secs(500));
    let other = bytes(&source(), &DumpOptions::new(other, Format::KDUMP_RAW_ZLIB));
    let other = part(&other, 8, 50);
    for set in [
        vec![parts[0].clone(), parts[0].clone()],
        vec![parts[0].clone(), whole],
        vec![parts[0].clone(), other],
        vec![parts[0].clone(), vec![0; 4096]],
        vec![],
    ] {
        let error = Vmcore::open_parts(set).unwrap_err();
        assert!(matches!(error, VmcoreError::Parts(_)), "{error}");
    }
}

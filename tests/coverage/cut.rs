//! Dumps that were cut short: by a full disk, or by a copy that was aborted.

use guestdump::memory::Lack;
use guestdump::read::{Vmcore, VmcoreError};
use guestdump::{DumpOptions, Format, GuestMemory, Progress};

use super::source::{PAGE, Page, Source};
use super::{FORMATS, assert_refused, bytes, converted};

/// 64 pages, each with another byte, so that none is stored for two.
fn source() -> Source {
    Source {
        ram: vec![(1, (1..=64).map(Page::Filled).collect())],
        ..Source::default()
    }
}

/// Frames of the pages that `vmcore` contains.
fn frames(vmcore: &Vmcore) -> Vec<u64> {
    let ranges = vmcore.ranges();
    let frames = ranges.iter().flat_map(|r| r.start() / PAGE..r.end() / PAGE);
    frames.collect()
}

#[test]
fn every_dump_that_is_cut_in_its_pages_is_incomplete_and_has_what_is_left() {
    for format in FORMATS {
        let whole = bytes(&source(), &DumpOptions::new(Source::guest(), format));
        let mut seen = 0;
        for lost in (1..whole.len()).step_by(97) {
            let cut = whole[..whole.len() - lost].to_vec();
            let Ok(vmcore) = Vmcore::open(cut) else {
                break;
            };
            let lacks = vmcore.coverage().lacks;
            assert!(
                lacks
                    .iter()
                    .any(|lack| matches!(lack, Lack::CutShort { .. })),
                "{format}, {lost} bytes lost: {lacks:?}"
            );
            let there = frames(&vmcore);
            let absent = vmcore.coverage().absent_bytes() / PAGE;
            assert_eq!(
                there.len() as u64 + absent,
                64,
                "{format}, {lost} bytes lost"
            );
            for frame in &there {
                let mut byte = [0];
                vmcore.read(frame * PAGE + 5, &mut byte).unwrap();
                assert_eq!(u64::from(byte[0]), *frame, "{format}, {lost} bytes lost");
            }
            assert!(matches!(
                vmcore.check(&Progress::new()),
                Err(VmcoreError::Incomplete { .. })
            ));
            if !there.is_empty() && seen % 16 == 0 {
                assert_refused(&vmcore);
                let kept = converted(&vmcore, Format::KDUMP_RAW_ZLIB);
                assert_eq!(kept.coverage().lacks, [Lack::Marked]);
                assert_eq!(frames(&kept), there);
                assert_eq!(kept.coverage().absent_bytes() / PAGE, absent);
            }
            seen += 1;
        }
        assert!(seen > 2, "{format}: {seen}");
    }
}

#[test]
fn a_filtered_elf_that_is_cut_short_keeps_its_level_and_its_excluded_pages() {
    let page = |n: u8| {
        if n.is_multiple_of(2) {
            Page::Absent
        } else {
            Page::Filled(n)
        }
    };
    let source = Source {
        ram: vec![(1, (1..=64).map(page).collect())],
        level: 31,
        ..Source::default()
    };
    let options = DumpOptions::new(Source::guest(), Format::Elf);
    let whole = bytes(&source, &options);
    for lost in [1, 5 * PAGE as usize, 30 * PAGE as usize + 7] {
        let vmcore = Vmcore::open(whole[..whole.len() - lost].to_vec()).unwrap();
        for memory in [&vmcore, &converted(&vmcore, Format::KDUMP_ZLIB)] {
            assert!(!memory.is_complete());
            assert_eq!(memory.coverage().dump_level, 31);
            let there = frames(memory);
            assert!(!there.is_empty());
            assert!(there.iter().all(|frame| frame % 2 == 1), "{there:?}");
            assert_eq!(
                there.len() as u64 + memory.coverage().absent_bytes() / PAGE,
                64
            );
        }
    }
}

#[test]
fn a_hole_at_the_end_of_a_cut_elf_is_not_zeroes() {
    let source = Source {
        ram: vec![(0, [vec![Page::Filled(1)], vec![Page::Hole; 15]].concat())],
        ..Source::default()
    };
    let whole = bytes(&source, &DumpOptions::new(Source::guest(), Format::Elf));
    let cut = whole[..whole.len() - 8 * PAGE as usize].to_vec();
    let vmcore = Vmcore::open(cut).unwrap();
    assert_eq!(vmcore.pages(), 8);
    assert_eq!(vmcore.coverage().absent_bytes(), 8 * PAGE);
}

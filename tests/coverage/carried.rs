//! Pages, holes, marks and levels survive every way from format to format.

use guestdump::memory::Lack;
use guestdump::{DumpOptions, Format, GuestMemory};
use proptest::prelude::*;

use super::source::{Page, Source};
use super::{FORMATS, assert_refused, bytes, converted, written};

fn page() -> impl Strategy<Value = Page> {
    prop_oneof![
        Just(Page::Absent),
        Just(Page::Hole),
        (1u8..).prop_map(Page::Filled),
    ]
}

/// Up to three ranges, of which at least one page is there.
fn source() -> impl Strategy<Value = Source> {
    let range = (1u64..40, prop::collection::vec(page(), 1..40));
    let marked = prop_oneof![Just(Vec::new()), Just(vec![Lack::Marked])];
    (prop::collection::vec(range, 1..4), 0u32..32, marked)
        .prop_map(|(ranges, level, lacks)| {
            let mut next = 0;
            let ram = ranges.into_iter().map(|(gap, pages)| {
                let start = next + gap;
                next = start + pages.len() as u64;
                (start, pages)
            });
            Source {
                ram: ram.collect(),
                level,
                lacks,
            }
        })
        .prop_filter("a page is there", |source| !source.ranges().is_empty())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pages_marks_and_levels_survive_there_and_back(source in source()) {
        for first in FORMATS {
            let options = DumpOptions::new(Source::guest(), first).keep_incomplete(true);
            let dump = written(&source, &options);
            source.assert_same(&dump);
            prop_assert_eq!(dump.coverage().lacks, source.lacks.clone());
            for second in FORMATS {
                let other = converted(&dump, second);
                source.assert_same(&other);
                prop_assert_eq!(other.coverage().lacks, source.lacks.clone());
                let back = converted(&other, first);
                source.assert_same(&back);
                prop_assert_eq!(back.coverage().lacks, source.lacks.clone());
            }
        }
    }
}

fn filled(count: usize) -> Source {
    Source {
        ram: vec![(1, vec![Page::Filled(7); count])],
        ..Source::default()
    }
}

#[test]
fn an_incomplete_source_is_refused_unless_it_is_kept() {
    let source = Source {
        lacks: vec![Lack::Marked],
        ..filled(3)
    };
    for format in FORMATS {
        let options = DumpOptions::new(Source::guest(), format).keep_incomplete(true);
        let dump = written(&source, &options);
        assert!(!dump.is_complete());
        assert_refused(&dump);
        let error = dump.check(&guestdump::Progress::new()).unwrap_err();
        assert!(
            matches!(error, guestdump::read::VmcoreError::Incomplete { .. }),
            "{error}"
        );
    }
}

#[test]
fn a_complete_dump_has_neither_mark_nor_section() {
    for format in FORMATS {
        let dump = written(&filled(3), &DumpOptions::new(Source::guest(), format));
        assert_eq!(dump.coverage(), guestdump::memory::Coverage::complete());
    }
    let elf = bytes(&filled(3), &DumpOptions::new(Source::guest(), Format::Elf));
    assert!(!elf.windows(10).any(|part| part == b".guestdump"));
}

#[test]
fn what_makedumpfile_erased_and_the_count_of_cpus_survive_every_way() {
    let text = b"erase modules size 16\n".to_vec();
    let guest = Source::guest().erase_info(text.clone()).kdump_cpus(4, 3);
    for first in FORMATS {
        let dump = written(&filled(3), &DumpOptions::new(guest.clone(), first));
        for second in FORMATS {
            let other = converted(&dump, second);
            let last = bytes(&other, &other.options(Format::KDUMP_RAW_ZLIB).unwrap());
            let headers = guestdump::kdump::DumpHeaders::decode(&last).unwrap();
            assert_eq!((headers.main.nr_cpus, headers.main.current_cpu), (4, 3));
            let at = headers.sub.offset_eraseinfo as usize;
            let erased = &last[at..at + headers.sub.size_eraseinfo as usize];
            assert_eq!(erased, text, "{first} {second}");
        }
    }
}

//! What a build can write is what its features bring.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;
#[path = "support/windows.rs"]
mod windows;

use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::{DumpOptions, Error, Format, dump};
use guestdump::{GuestInfo, Machine, Refusal};
use support::{FaultySink, Page, PageMemory};

fn expected(format: Format) -> bool {
    match format.name().rsplit('-').next().unwrap() {
        "zlib" => cfg!(feature = "zlib"),
        "lzo" => cfg!(feature = "lzo"),
        "snappy" => cfg!(feature = "snappy"),
        "zstd" => cfg!(feature = "zstd"),
        _ => true,
    }
}

#[test]
fn a_format_without_its_codec_is_absent_and_refused_by_name() {
    let guest = PageMemory::new([(0, vec![Page::Text(1); 4])]);
    for &format in Format::ALL {
        assert_eq!(format.is_available(), expected(format), "{format}");
        assert_eq!(Format::available().any(|f| f == format), expected(format));
        let mut sink = FaultySink::default();
        let options = windows::given(&*windows::header_64(0)).options(
            GuestInfo::new(Machine::X86_64).vmcoreinfo(VmcoreinfoSource::None),
            format,
        );
        match dump(&guest, &mut sink, &options) {
            Ok(summary) => {
                assert!(expected(format));
                assert_eq!(summary.pages, 4);
            }
            Err(error @ Error::Refused(Refusal::CodecMissing { .. })) => {
                assert!(!expected(format));
                assert!(error.to_string().contains(format.name()), "{error}");
                assert!(error.is_refusal());
                assert_eq!(sink.len(), 0);
            }
            Err(other) => panic!("{other}"),
        }
    }
}

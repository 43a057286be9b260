//! What a build can write is what its features bring.
#![allow(missing_docs, clippy::unwrap_used)]

use guestdump::codec::Engine;
use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::sink::BufferSink;
use guestdump::{
    DumpOptions, Error, Format, FormatOptions, GuestInfo, Machine, NotInFormat, Refusal, Result,
    dump,
};
use testkit::windows::{given, header_64};
use testkit::{FaultySink, Page, PageMemory};

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
        let options = given(&*header_64(0)).options(info(), format);
        match dump(&guest, &mut sink, &options) {
            Ok(summary) => {
                assert!(expected(format));
                assert_eq!(summary.pages, 4);
            }
            Err(error @ Error::Refused(Refusal::CodecMissing { format: f, .. })) => {
                assert!(f == format && !expected(format));
                assert!(error.to_string().contains(format.name()), "{error}");
                assert!(error.is_refusal());
                assert_eq!(sink.len(), 0);
            }
            Err(other) => panic!("{other}"),
        }
    }
}

fn info() -> GuestInfo {
    GuestInfo::new(Machine::X86_64).vmcoreinfo(VmcoreinfoSource::None)
}

fn compressed_by(format: Format, engine: Option<Engine>) -> Result<Vec<u8>> {
    let guest = PageMemory::new([(0, (0..16).map(Page::Text).collect())]);
    let mut options = FormatOptions::from(format);
    if let Some(engine) = engine {
        options = options.compressor(engine).unwrap();
    }
    let mut sink = BufferSink::new();
    dump(&guest, &mut sink, &DumpOptions::new(info(), options))?;
    Ok(sink.into_bytes())
}

#[test]
fn a_dump_that_chooses_no_compressor_has_the_bytes_of_the_default_engine() {
    for format in Format::available() {
        let Some(codec) = format.codec() else {
            continue;
        };
        let default = codec.default_engine();
        let bytes = compressed_by(format, None).unwrap();
        assert!(compressed_by(format, Some(default)).unwrap() == bytes);
        for other in codec.engines().skip(1).filter(|e| e.is_available()) {
            let others = compressed_by(format, Some(other)).unwrap();
            assert!(others != bytes, "{other} writes what {default} writes");
        }
    }
}

#[test]
fn an_engine_of_another_codec_or_not_in_the_build_is_refused_by_name() {
    let guest = PageMemory::new([(0, vec![Page::Text(1); 4])]);
    let formats = Format::available().filter(|format| !format.is_windows());
    for (format, &engine) in formats.flat_map(|f| Engine::ALL.iter().map(move |e| (f, e))) {
        let mut sink = FaultySink::default();
        let fits = format.codec() == Some(engine.codec());
        let options = match FormatOptions::from(format).compressor(engine) {
            Ok(options) => DumpOptions::new(info(), options),
            Err(error) => {
                assert!(!fits, "{error}");
                assert_eq!(error, NotInFormat::Compressor { engine, format });
                assert!(error.to_string().contains(engine.name()), "{error}");
                continue;
            }
        };
        assert!(fits, "{format} {engine}");
        match dump(&guest, &mut sink, &options) {
            Ok(_) => assert!(engine.is_available(), "{format} {engine}"),
            Err(error) => {
                assert!(!engine.is_available(), "{error}");
                assert!(
                    matches!(error, Error::Refused(Refusal::EngineMissing { engine: e }) if e == engine)
                );
                assert!(error.is_refusal());
                assert!(error.to_string().contains(engine.name()), "{error}");
                assert_eq!(sink.len(), 0);
            }
        }
    }
}

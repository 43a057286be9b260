#![allow(clippy::unwrap_used)]
use super::*;
use crate::testing::Random;

fn pages() -> Vec<Vec<u8>> {
    let mut random = Random::new(1);
    let text: Vec<u8> = b"the quick brown fox "
        .iter()
        .copied()
        .cycle()
        .take(4096)
        .collect();
    let mut mixed = random.bytes(4096);
    mixed[1000..].fill(7);
    vec![
        vec![0; 4096],
        text,
        random.bytes(4096),
        mixed,
        vec![0xff; 65536],
        random.bytes(65536),
        Vec::new(),
        vec![1],
    ]
}

fn available() -> impl Iterator<Item = Engine> {
    let all = Engine::ALL.iter().copied();
    all.filter(|engine| engine.is_available())
}

#[test]
fn names_are_parsed_back_and_others_refused() {
    for &engine in Engine::ALL {
        assert_eq!(engine.name().parse(), Ok(engine));
        assert_eq!(engine.to_string(), engine.name());
    }
    let error = "zlib".parse::<Engine>().unwrap_err();
    assert_eq!(error, UnknownEngine("zlib".to_owned()));
}

#[test]
fn the_default_engine_comes_first_and_with_its_codec() {
    for &codec in Codec::ALL {
        let default = codec.default_engine();
        assert_eq!(codec.engines().next(), Some(default));
        assert_eq!(default.feature(), codec.feature());
        assert_eq!(default.is_available(), codec.is_available());
        for engine in codec.engines() {
            assert!(codec.is_available() || !engine.is_available(), "{engine}");
        }
    }
    let of_codecs = Codec::ALL.iter().flat_map(|codec| codec.engines());
    assert_eq!(of_codecs.count(), Engine::ALL.len());
}

#[test]
fn an_engine_that_is_not_in_the_build_is_unsupported_by_name() {
    for &engine in Engine::ALL {
        let compressor = engine.compressor();
        assert_eq!(compressor.is_ok(), engine.is_available(), "{engine}");
        if let Err(error) = compressor {
            assert_eq!(error.kind(), io::ErrorKind::Unsupported);
            let text = error.to_string();
            assert!(text.contains(engine.name()) && text.contains(engine.feature()));
        }
    }
    for codec in Codec::ALL.iter().filter(|codec| !codec.is_available()) {
        let error = codec.decompress(&[0; 8], &mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        assert!(error.to_string().contains(codec.feature()));
    }
}

#[test]
fn every_engine_round_trips_and_never_grows_a_page() {
    for engine in available() {
        let mut compressor = engine.compressor().unwrap();
        assert_eq!(compressor.engine(), engine);
        for page in pages() {
            let mut out = b"before".to_vec();
            let shrunk = compressor.compress(&page, &mut out).unwrap();
            assert!(out.starts_with(b"before"));
            if !shrunk {
                assert_eq!(out.len(), 6);
                continue;
            }
            assert!(out.len() - 6 < page.len());
            let mut back = vec![0xa5; page.len()];
            engine.codec().decompress(&out[6..], &mut back).unwrap();
            assert!(back == page, "{engine}");
        }
    }
}

proptest::proptest! {
    /// The pages are longer than LZO's copies reach.
    #[test]
    fn pages_of_repeated_pieces_are_read_back(
        pieces in proptest::collection::vec(
            (proptest::collection::vec(proptest::arbitrary::any::<u8>(), 1..500), 1usize..4, 0usize..40_000),
            1..60,
        ),
    ) {
        let mut page = Vec::new();
        for (piece, times, before) in &pieces {
            for _ in 0..*times {
                page.extend_from_slice(piece);
            }
            let from = page.len().saturating_sub(*before);
            page.extend_from_within(from..(from + piece.len()).min(page.len()));
        }
        for engine in available() {
            let mut out = Vec::new();
            if engine.compressor().unwrap().compress(&page, &mut out).unwrap() {
                let mut back = vec![0; page.len()];
                engine.codec().decompress(&out, &mut back).unwrap();
                assert!(back == page, "{engine}");
            }
        }
    }
}

#[test]
fn earlier_pages_do_not_change_the_bytes_of_a_page() {
    for engine in available() {
        let (mut used, mut fresh) = (engine.compressor().unwrap(), engine.compressor().unwrap());
        for page in pages() {
            used.compress(&page, &mut Vec::new()).unwrap();
        }
        let page = &pages()[3];
        let (mut a, mut b) = (Vec::new(), Vec::new());
        used.compress(page, &mut a).unwrap();
        fresh.compress(page, &mut b).unwrap();
        assert!(a == b, "{engine}");
    }
}

/// The demo guest's pages that are not zero, compressed one after the other. The
/// engine's output must not depend on the features of the build, which feature
/// unification changes for the whole program.
#[cfg(feature = "demo")]
#[test]
fn default_engines_give_the_same_bytes_in_every_build() {
    use crate::memory::{GuestMemory, is_zero};
    let guest = crate::demo::DemoGuest::new(16 << 20).unwrap();
    let mut pages = Vec::new();
    for range in guest.ranges() {
        for gpa in (range.start()..range.end()).step_by(4096) {
            let mut page = [0; 4096];
            guest.read(gpa, &mut page).unwrap();
            if !is_zero(&page) {
                pages.push(page);
            }
        }
    }
    assert!(pages.len() > 1000);
    let of_codec = |codec: Codec| {
        let mut compressor = codec.compressor().unwrap();
        let mut all = Vec::new();
        for page in &pages {
            compressor.compress(page, &mut all).unwrap();
        }
        (codec, all.len(), fnv_1a(&all))
    };
    // By the libraries' versions in Cargo.lock.
    let mut expected = vec![
        (Codec::Zlib, 4_241_553, 7_010_776_294_905_453_923),
        (Codec::Lzo, 4_869_351, 2_168_188_357_152_127_145),
        (Codec::Snappy, 4_664_601, 12_201_658_292_182_388_643),
    ];
    expected.retain(|(codec, ..)| codec.is_available());
    let found: Vec<_> = expected
        .iter()
        .map(|(codec, ..)| of_codec(*codec))
        .collect();
    assert_eq!(found, expected);
}

#[cfg(feature = "demo")]
fn fnv_1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[test]
fn damaged_input_or_a_page_of_another_length_is_invalid_data() {
    for engine in available() {
        let page = &pages()[1];
        let mut good = Vec::new();
        let mut compressor = engine.compressor().unwrap();
        assert!(compressor.compress(page, &mut good).unwrap());
        let kind = |input: &[u8], len: usize| {
            let mut page = vec![0; len];
            let result = engine.codec().decompress(input, &mut page);
            result.unwrap_err().kind()
        };
        for (input, len) in [
            (&good[..], 4095),
            (&good[..], 4097),
            (&good[..good.len() - 1], 4096),
            (&good[..1], 4096),
            (&[][..], 4096),
            (&[0xff; 64][..], 4096),
        ] {
            assert_eq!(kind(input, len), io::ErrorKind::InvalidData, "{engine}");
        }
    }
}

//! The formats' bytes alone: decoding an encoded header gives the header.
//!
//! Nothing here opens a file or makes a dump, so a fuzzer tries many inputs.

use std::fmt::Debug;

use guestdump::abi::{Abi, U64Align};
use guestdump::elf::{FileHeader, Note, Notes, ProgramHeader, SectionHeader};
use guestdump::kdump::{MainHeader, PageDescriptor, SubHeader, flattened};
use guestdump::windmp::{BitmapHeader, Header};
use guestdump::{ByteOrder, Class, bitmap};

/// The first byte chooses the ABI, the second one the header.
pub fn headers(input: &[u8]) {
    let [abi, kind, bytes @ ..] = input else {
        return;
    };
    let abi = Abi {
        class: [Class::Bits32, Class::Bits64][usize::from(abi & 1)],
        order: [ByteOrder::Little, ByteOrder::Big][usize::from(abi >> 1 & 1)],
        u64_align: [U64Align::Four, U64Align::Eight][usize::from(abi >> 2 & 1)],
    };
    let encoding = abi.encoding();
    match kind % 11 {
        0 => comes_back(FileHeader::decode, bytes, |header, out| {
            header.encode(out).is_ok()
        }),
        1 => comes_back(
            |bytes| ProgramHeader::decode(encoding, bytes),
            bytes,
            |header, out| header.encode(encoding, out).is_ok(),
        ),
        2 => comes_back(
            |bytes| SectionHeader::decode(encoding, bytes),
            bytes,
            |header, out| header.encode(encoding, out).is_ok(),
        ),
        3 => comes_back(
            |bytes| MainHeader::decode(encoding, bytes),
            bytes,
            |header, out| header.encode(encoding, out).is_ok(),
        ),
        4 => comes_back(
            |bytes| SubHeader::decode(abi, bytes),
            bytes,
            |header, out| header.encode(abi, out).is_ok(),
        ),
        5 => comes_back(
            |bytes| PageDescriptor::decode(abi.order, bytes),
            bytes,
            |descriptor, out| {
                descriptor.encode(abi.order, out);
                true
            },
        ),
        6 => comes_back(BitmapHeader::decode, bytes, |header, out| {
            header.encode(out);
            true
        }),
        7 => windows(bytes),
        8 => records(bytes),
        9 => notes(abi.order, bytes),
        _ => runs(bytes),
    }
}

/// What was decoded fits into its fields, so encoding it succeeds, and decoding
/// that gives the same.
fn comes_back<T: PartialEq + Debug>(
    decode: impl Fn(&[u8]) -> Option<T>,
    bytes: &[u8],
    encode: impl Fn(&T, &mut Vec<u8>) -> bool,
) {
    let Some(header) = decode(bytes) else {
        return;
    };
    let mut out = Vec::new();
    assert!(encode(&header, &mut out), "{header:?}");
    assert_eq!(decode(&out).as_ref(), Some(&header));
}

/// A Windows header keeps all bytes, also those that it does not name.
fn windows(bytes: &[u8]) {
    let Ok(header) = Header::decode(bytes) else {
        return;
    };
    let mut out = Vec::new();
    header.encode(&mut out);
    assert_eq!(out, bytes);
    assert!(header.runs().count() <= out.len());
}

fn records(bytes: &[u8]) {
    comes_back(flattened::RecordHeader::decode, bytes, |header, out| {
        header.encode(out);
        true
    });
    comes_back(flattened::FileHeader::decode, bytes, |header, out| {
        header.encode(out);
        true
    });
    // Pieces at the offsets that the input gives come out as they went in.
    let mut writer = flattened::FlattenedWriter::begin(Vec::new()).unwrap();
    let mut written = Vec::new();
    for piece in bytes.chunks(9).filter(|piece| piece.len() > 1) {
        let offset = u64::from(piece[0]) << (piece[1] % 48);
        writer.write_at(offset, &piece[1..]).unwrap();
        written.push((offset, &piece[1..]));
    }
    let stream = writer.finish().unwrap();
    let records = flattened::Records::new(&stream).unwrap();
    let found: Vec<_> = records
        .map(|record| record.unwrap())
        .map(|record| (record.offset, record.data.to_vec()))
        .collect();
    assert_eq!(found.len(), written.len());
    for ((offset, data), (at, piece)) in found.iter().zip(written) {
        assert_eq!((*offset, &data[..]), (at, piece));
    }
}

fn notes(order: ByteOrder, bytes: &[u8]) {
    let found: Vec<Note<'_>> = Notes::new(bytes, order)
        .map_while(Result::ok)
        .map(|(_, note)| note)
        .collect();
    let mut out = Vec::new();
    for note in &found {
        note.encode(order, &mut out).unwrap();
    }
    let again: Vec<_> = Notes::new(&out, order)
        .map(|note| note.unwrap().1)
        .collect();
    assert_eq!(again, found);
}

fn runs(bytes: &[u8]) {
    let mut again = vec![0; bytes.len()];
    let mut end = None;
    for run in bitmap::runs(bytes) {
        assert!(!run.is_empty() && end.is_none_or(|end| end < run.start));
        end = Some(run.end);
        bitmap::set(&mut again, run);
    }
    assert_eq!(again, bytes);
}

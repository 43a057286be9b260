//! Flattened files whose records overlap, or are of any size.

use std::io::Read;

use guestdump::kdump::flattened::{FileHeader, RecordHeader};
use guestdump::read::Vmcore;
use guestdump::read::{RearrangeError, rearrange};
use guestdump::sink::{FileSink, FileSinkOptions};
use guestdump::{Fault, Progress};

use crate::meter::{alone, file};

fn flattened(records: impl Iterator<Item = (i64, Vec<u8>)>) -> Vec<u8> {
    let mut bytes = Vec::new();
    FileHeader::CURRENT.encode(&mut bytes);
    for (offset, data) in records {
        let len = data.len() as i64;
        bytes.extend(RecordHeader { offset, len }.to_bytes());
        bytes.extend(data);
    }
    bytes.extend(RecordHeader::END.to_bytes());
    bytes
}

/// The smallest records that there can be, apart, backwards, and each inside
/// the one before it.
#[test]
fn as_many_records_as_fit_take_bounded_memory() {
    const COUNT: i64 = 100_000;
    let Some(meter) = alone!() else {
        return;
    };
    let kinds: [fn(i64) -> i64; 4] = [
        |n| n * 2,
        |n| (COUNT - n) * 4096,
        |n| (n * 7919) % COUNT,
        |_| i64::MAX - 1,
    ];
    for kind in kinds {
        let bytes = flattened((0..COUNT).map(|n| (kind(n), vec![1])));
        let given = bytes.len() as u64;
        let file = file(&bytes, 0);
        drop(bytes);
        let (result, cost) = meter.measure("100,000 records of a byte", || Vmcore::open(file));
        assert!(result.is_err(), "it is no dump");
        assert!(cost.heap < 6 * given, "{cost:?} of {given}");
        assert!(cost.read < 2 * given, "{cost:?} of {given}");
    }
}

/// Each covers all that was before, and is cut by the next.
#[test]
fn overlapping_records_take_bounded_memory() {
    const COUNT: i64 = 1_000;
    let Some(meter) = alone!() else {
        return;
    };
    let nested = flattened((0..COUNT).map(|n| (n, vec![n as u8; (2 * (COUNT - n)) as usize])));
    let growing = flattened((0..COUNT).map(|n| (COUNT - n, vec![n as u8; (2 * n + 1) as usize])));
    for bytes in [nested, growing] {
        let file = file(&bytes, 0);
        let (result, cost) = meter.measure("records that overlap", || Vmcore::open(file));
        assert!(result.is_err(), "it is no dump");
        assert!(cost.heap < 1 << 20, "{cost:?}");
    }
}

#[test]
fn records_of_impossible_sizes_are_errors_and_leave_no_file() {
    let Some(meter) = alone!() else {
        return;
    };
    for (offset, len) in [
        (0, i64::MAX),
        (i64::MAX, 1),
        (i64::MAX - 1, 1 << 40),
        (1, i64::MIN),
        (-2, 1),
        (0, 0),
        (4096, 1 << 40),
    ] {
        let mut bytes = Vec::new();
        FileHeader::CURRENT.encode(&mut bytes);
        bytes.extend(RecordHeader { offset, len }.to_bytes());
        let file = file(&bytes, 0);
        let (result, cost) = meter.measure("a record of any size", || Vmcore::open(file));
        assert!(result.unwrap_err().offset().is_some());
        assert!(cost.heap < 64 << 10, "{cost:?}");

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("raw");
        let mut sink = FileSink::create(&path, FileSinkOptions::default()).unwrap();
        let mut stream = bytes.chain(std::io::repeat(7).take(1 << 20));
        let (result, cost) = meter.measure("the same as a stream", || {
            rearrange(&mut stream, &mut sink, &Progress::new())
        });
        let error = result.unwrap_err();
        let expected = matches!(
            error,
            RearrangeError::Damaged { .. }
                | RearrangeError::Truncated { .. }
                | RearrangeError::Fault(Fault::Write { .. })
        );
        assert!(expected, "{error}");
        assert!(cost.heap < 1 << 20, "{cost:?}");
        drop(sink);
        assert!(!path.exists());
    }
}

trait Chain {
    fn chain(self, more: impl Read) -> impl Read;
}

impl Chain for Vec<u8> {
    fn chain(self, more: impl Read) -> impl Read {
        Read::chain(std::io::Cursor::new(self), more)
    }
}

//! What a source lacks reaches every dump that is made of it: excluded pages, the dump level, marks
//! of incomplete dumps, and facts of headers.
#![allow(clippy::unwrap_used)]

mod carried;
mod cut;
mod elf;
mod source;
mod split;

use guestdump::read::Vmcore;
use guestdump::sink::BufferSink;
use guestdump::{DumpOptions, Error, Format, GuestMemory, Refusal, dump};
use testkit::written as bytes;

/// Formats of every kind that can say that they are incomplete.
const FORMATS: [Format; 3] = [Format::Elf, Format::KDUMP_RAW_ZLIB, Format::KDUMP_ZLIB];

/// Writes a dump of `memory` and opens it again.
fn written(memory: &dyn GuestMemory, options: &DumpOptions) -> Vmcore {
    Vmcore::open(bytes(memory, options)).unwrap()
}

/// Converts a dump to `format`, whatever it lacks.
fn converted(vmcore: &Vmcore, format: Format) -> Vmcore {
    let options = vmcore.options(format).unwrap().keep_incomplete(true);
    written(vmcore, &options)
}

/// Asserts that a conversion to any format is refused because the source is incomplete.
fn assert_refused(vmcore: &Vmcore) {
    for format in FORMATS {
        let options = vmcore.options(format).unwrap();
        let result = dump(vmcore, &mut BufferSink::new(), &options);
        assert!(
            matches!(
                result,
                Err(Error::Refused(Refusal::IncompleteSource { .. }))
            ),
            "{format}: {result:?}"
        );
    }
}

//! VMCOREINFO of any size, and with lines that are not lines.

use guestdump::guest::vmcoreinfo::{VmcoreinfoError, VmcoreinfoSource};
use guestdump::read::Vmcore;
use guestdump::sink::BufferSink;
use guestdump::vmcoreinfo::{MAX_SIZE, Vmcoreinfo};
use guestdump::{DumpOptions, Error, Format, GuestInfo, Machine, Refusal, dump};

use crate::meter::{Counted, alone, file};

#[test]
fn a_note_of_4_gib_is_refused_unread() {
    let Some(meter) = alone!() else {
        return;
    };
    let guest = Counted::new(8 << 30, |_, buf: &mut [u8]| buf.fill(b'x'));
    let mut entry = [0; 16];
    entry[2] = 1;
    entry[4..8].fill(0xff);
    for source in [
        VmcoreinfoSource::FwCfg(entry),
        VmcoreinfoSource::NoteAt {
            gpa: 0,
            size: 4 << 30,
        },
        VmcoreinfoSource::NoteAt {
            gpa: 1,
            size: u64::MAX,
        },
        VmcoreinfoSource::NoteAt {
            gpa: 0,
            size: MAX_SIZE as u64 + 1,
        },
    ] {
        let options = DumpOptions::new(
            GuestInfo::new(Machine::X86_64).vmcoreinfo(source),
            Format::Elf,
        );
        let (result, cost) = meter.measure("a note of 4 GiB", || {
            dump(&guest, &mut BufferSink::new(), &options)
        });
        let error = result.unwrap_err();
        assert!(
            matches!(
                error,
                Error::Refused(Refusal::Vmcoreinfo(VmcoreinfoError::TooLarge { .. }))
            ),
            "{error}"
        );
        assert_eq!(guest.count(), (0, 0));
        assert!(cost.heap < 64 << 10, "{cost:?}");
    }
}

/// The largest that is believed, all lines of one byte or one line of all
/// bytes, through a dump and back.
#[test]
fn the_largest_text_costs_a_few_times_its_size() {
    let Some(meter) = alone!() else {
        return;
    };
    let guest = Counted::new(1 << 20, |_, buf: &mut [u8]| buf.fill(0));
    for filler in [b'\n', b'x', b'=', b'\r', b'('] {
        let mut text = b"OSRELEASE=6.1.0\n".to_vec();
        text.resize(MAX_SIZE, filler);
        let options = DumpOptions::new(
            GuestInfo::new(Machine::X86_64).vmcoreinfo(VmcoreinfoSource::Bytes(text.clone())),
            Format::KDUMP_RAW_ZLIB,
        );
        let mut sink = BufferSink::new();
        let (summary, cost) = meter.measure("VMCOREINFO of 1 MiB", || {
            dump(&guest, &mut sink, &options).unwrap()
        });
        assert!(cost.heap < 16 << 20, "{cost:?}");
        assert_eq!(summary.vmcoreinfo.unwrap().info.text(), text);
        let bytes = sink.into_bytes();
        let vmcore = Vmcore::open(file(&bytes, 0)).unwrap();
        assert_eq!(vmcore.vmcoreinfo().unwrap().text(), text);
    }
}

/// Text, release, and the value of `NUMBER(n)`.
type Trick = (&'static str, Option<&'static str>, Option<i64>);

#[test]
fn first_line_with_the_key_counts_whatever_the_line_breaks() {
    let Some(_meter) = alone!() else {
        return;
    };
    const TRICKS: &[Trick] = &[
        // No line break at the end, or nothing but line breaks.
        ("OSRELEASE=a\nNUMBER(n)=1", Some("a"), Some(1)),
        ("\n\nOSRELEASE=a\n\n\nNUMBER(n)=1\n\n", Some("a"), Some(1)),
        ("\n", None, None),
        // The ends of other systems' lines.
        ("OSRELEASE=a\r\nNUMBER(n)=1\r\n", Some("a\u{fffd}"), Some(1)),
        (
            "OSRELEASE=a\rNUMBER(n)=1\r",
            Some("a\u{fffd}NUMBER(n)=1\u{fffd}"),
            None,
        ),
        (
            "OSRELEASE=a\u{2028}NUMBER(n)=1\n",
            Some("a\u{2028}NUMBER(n)=1"),
            None,
        ),
        (
            "OSRELEASE=a\u{b}NUMBER(n)=1\n",
            Some("a\u{fffd}NUMBER(n)=1"),
            None,
        ),
        // A key that is not at the beginning of a line.
        ("OSRELEASE=a NUMBER(n)=1\n", Some("a NUMBER(n)=1"), None),
        ("OSRELEASE=a\n NUMBER(n)=1\n", Some("a"), None),
        ("OSRELEASE=a\nXNUMBER(n)=1\n", Some("a"), None),
        ("OSRELEASE=a\nNUMBER(n)\n=1\n", Some("a"), None),
        ("OSRELEASE=a\nNUMBER(n=1)=2\n", Some("a"), None),
        // Twice: the first counts, also if it has no number.
        (
            "OSRELEASE=a\nNUMBER(n)=1\nNUMBER(n)=2\n",
            Some("a"),
            Some(1),
        ),
        ("OSRELEASE=a\nNUMBER(n)=\nNUMBER(n)=2\n", Some("a"), None),
        ("OSRELEASE=a\nOSRELEASE=b\n", Some("a"), None),
        ("OSRELEASE=\nOSRELEASE=b\n", None, None),
        // Nothing behind a NUL.
        ("OSRELEASE=a\0\nNUMBER(n)=1\n", Some("a"), None),
        ("OSRELEASE=a\nNUMBER(n)=1\x00000\n", Some("a"), Some(1)),
        ("\0OSRELEASE=a\n", None, None),
        // Numbers that are none.
        ("OSRELEASE=a\nNUMBER(n)=+-1\n", Some("a"), None),
        ("OSRELEASE=a\nNUMBER(n)=0x-1\n", Some("a"), None),
        (
            "OSRELEASE=a\nNUMBER(n)=99999999999999999999\n",
            Some("a"),
            None,
        ),
        ("OSRELEASE=a\nNUMBER(n)= 7 \n", Some("a"), Some(7)),
    ];
    for (text, release, number) in TRICKS {
        let info = Vmcoreinfo::parse(text.as_bytes());
        let info = match release {
            None => {
                assert!(info.is_err(), "{text:?}");
                continue;
            }
            Some(_) => info.unwrap(),
        };
        assert_eq!(Some(&*info.osrelease()), *release, "{text:?}");
        assert_eq!(info.number("n"), *number, "{text:?}");
        // What goes into a dump is the same text.
        let guest = Counted::new(1 << 20, |_, buf: &mut [u8]| buf.fill(0));
        for format in [Format::Elf, Format::KDUMP_RAW_ZLIB] {
            let options = DumpOptions::new(
                GuestInfo::new(Machine::X86_64)
                    .vmcoreinfo(VmcoreinfoSource::Bytes(text.as_bytes().to_vec())),
                format,
            );
            let mut sink = BufferSink::new();
            dump(&guest, &mut sink, &options).unwrap();
            let vmcore = Vmcore::open(file(&sink.into_bytes(), 0)).unwrap();
            let back = vmcore.vmcoreinfo().unwrap();
            assert_eq!(back.text(), info.text(), "{text:?}");
            vmcore.check(&guestdump::Progress::new()).unwrap();
        }
    }
}

/// A release is no longer than the kernel's own, whatever the line is.
#[test]
fn a_long_release_is_cut() {
    let Some(_meter) = alone!() else {
        return;
    };
    for (line, expected) in [
        ("x".repeat(1 << 16), "x".repeat(64)),
        ("ä".repeat(1000), "ä".repeat(32)),
        // Cut within a character.
        (
            format!("x{}", "ä".repeat(1000)),
            format!("x{}\u{fffd}", "ä".repeat(31)),
        ),
    ] {
        let info = Vmcoreinfo::parse(format!("OSRELEASE={line}\n").as_bytes()).unwrap();
        assert_eq!(info.osrelease(), expected);
    }
}

/// Strings of a kernel that have no end are no strings of a kernel.
#[test]
fn utsname_without_nul_is_not_taken() {
    let Some(_meter) = alone!() else {
        return;
    };
    let text = "OSRELEASE=6.1.0\nSYMBOL(init_uts_ns)=ffffffff80001000\n\
                OFFSET(uts_namespace.name)=0\nNUMBER(phys_base)=0\n";
    let uts = |fill: [u8; 6]| {
        let strings = ["Linux", "host", "6.1.0", "#1", "x86_64", "(none)"];
        let fields = strings.iter().zip(fill).flat_map(|(s, fill)| {
            let mut field = s.as_bytes().to_vec();
            field.resize(65, fill);
            field
        });
        fields.collect::<Vec<u8>>()
    };
    for broken in 0..7 {
        let mut fill = [0; 6];
        if let Some(fill) = fill.get_mut(broken) {
            *fill = b'x';
        }
        let uts = uts(fill);
        let guest = Counted::new(1 << 20, move |gpa, buf: &mut [u8]| {
            for (at, byte) in (gpa..).zip(buf) {
                let inside = at.checked_sub(0x1000).map(|n| n as usize);
                *byte = inside.and_then(|n| uts.get(n)).copied().unwrap_or(0);
            }
        });
        let options = DumpOptions::new(
            GuestInfo::new(Machine::X86_64)
                .vmcoreinfo(VmcoreinfoSource::Bytes(text.as_bytes().to_vec())),
            Format::KDUMP_RAW_ZLIB,
        );
        let mut sink = BufferSink::new();
        dump(&guest, &mut sink, &options).unwrap();
        let vmcore = Vmcore::open(file(&sink.into_bytes(), 0)).unwrap();
        let header = vmcore.utsname().unwrap();
        let node = guestdump::abi::Utsname::text(&header.nodename).into_owned();
        let whole = broken == 6;
        assert_eq!(node, if whole { "host" } else { "(none)" }, "{broken}");
        for field in [&header.release, &header.version, &header.machine] {
            assert!(field.contains(&0));
        }
    }
}

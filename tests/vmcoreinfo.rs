//! Finding VMCOREINFO in guest memory: notes, the fw_cfg entry, the scan, and
//! guests that lie.
#![allow(missing_docs, clippy::unwrap_used)]

use guestdump::elf::Note;
use guestdump::guest::vmcoreinfo::{Located, Origin, VmcoreinfoError, VmcoreinfoSource};
use guestdump::memory::SliceMemory;
use guestdump::sink::BufferSink;
use guestdump::{ByteOrder, DumpOptions, Error, Fault, Format, GuestInfo, Machine, Refusal, dump};

const PAGE: usize = 4096;

/// A guest of 64 pages from address 0.
struct Guest(Vec<u8>);

impl Guest {
    fn new() -> Self {
        Self(vec![0; 64 * PAGE])
    }

    fn put(mut self, gpa: usize, bytes: &[u8]) -> Self {
        self.0[gpa..gpa + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn locate(&self, source: VmcoreinfoSource) -> Result<Option<Located>, Error> {
        let memory = SliceMemory::new([(0, &self.0[..])]).unwrap();
        let options = DumpOptions::new(
            GuestInfo::new(Machine::X86_64).vmcoreinfo(source),
            Format::Elf,
        );
        dump(&memory, &mut BufferSink::new(), &options).map(|summary| summary.vmcoreinfo)
    }

    fn scan(&self) -> Option<Located> {
        self.locate(VmcoreinfoSource::Scan).unwrap()
    }
}

fn note(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    Note {
        name: b"VMCOREINFO",
        kind: 0,
        desc: text.as_bytes(),
    }
    .encode(ByteOrder::Little, &mut bytes)
    .unwrap();
    bytes
}

/// VMCOREINFO of a kernel whose image begins at guest-physical address 0
/// with its `init_uts_ns.name` at `uts`.
fn text(release: &str, uts: usize) -> String {
    format!(
        "OSRELEASE={release}\nPAGESIZE=4096\nSYMBOL(init_uts_ns)={:x}\n\
         OFFSET(uts_namespace.name)=0\nNUMBER(phys_base)=0\n",
        0xffff_ffff_8000_0000u64 + uts as u64
    )
}

fn utsname(release: &str) -> Vec<u8> {
    ["Linux", "host", release, "#1", "x86_64", "(none)"]
        .iter()
        .flat_map(|s| {
            let mut field = s.as_bytes().to_vec();
            field.resize(65, 0);
            field
        })
        .collect()
}

fn fw_cfg(format: u16, size: u32, gpa: u64) -> [u8; 16] {
    let mut entry = [0; 16];
    entry[..2].copy_from_slice(&1u16.to_le_bytes());
    entry[2..4].copy_from_slice(&format.to_le_bytes());
    entry[4..8].copy_from_slice(&size.to_le_bytes());
    entry[8..].copy_from_slice(&gpa.to_le_bytes());
    entry
}

#[test]
fn a_note_is_found_by_address_by_fw_cfg_and_by_scan() {
    let note = note(&text("6.1.0", 0));
    let (gpa, size) = (5 * PAGE as u64, note.len() as u64);
    let guest = Guest::new().put(5 * PAGE, &note);
    let entry = fw_cfg(1, size as u32, gpa);
    for (source, origin) in [
        (VmcoreinfoSource::NoteAt { gpa, size }, Origin::Note { gpa }),
        (VmcoreinfoSource::FwCfg(entry), Origin::FwCfg { gpa }),
        (VmcoreinfoSource::FwCfgOrScan(entry), Origin::FwCfg { gpa }),
        (
            VmcoreinfoSource::FwCfgOrScan([0xff; 16]),
            Origin::Scan { gpa },
        ),
        (VmcoreinfoSource::Scan, Origin::Scan { gpa }),
        (VmcoreinfoSource::Bytes(note.clone()), Origin::Given),
    ] {
        let located = guest.locate(source).unwrap().unwrap();
        assert_eq!(located.info.osrelease(), "6.1.0");
        assert_eq!(located.origin, origin);
    }
}

#[test]
fn text_and_note_of_one_kernel_are_one_candidate() {
    let text = text("6.1.0", 40 * PAGE);
    let guest = Guest::new()
        .put(9 * PAGE, text.as_bytes())
        .put(20 * PAGE, &note(&text))
        .put(40 * PAGE, &utsname("6.1.0"));
    let located = guest.scan().unwrap();
    assert_eq!(located.candidates.len(), 1);
    assert!(located.candidates[0].verified);
    assert_eq!(
        located.origin,
        Origin::Scan {
            gpa: 9 * PAGE as u64
        }
    );
}

#[test]
fn text_in_the_last_page_of_memory_is_found() {
    let text = text("6.1.0", 0);
    let guest = Guest::new().put(63 * PAGE, text.as_bytes());
    assert_eq!(guest.scan().unwrap().info.text(), text.as_bytes());
}

#[test]
fn the_crashed_kernel_is_told_from_its_capture_kernel() {
    let main = text("6.1.0-main", 40 * PAGE) + "CRASHTIME=1700000000\n";
    let capture = text("6.1.0-capture", 41 * PAGE);
    let guest = Guest::new()
        .put(3 * PAGE, &note(&capture))
        .put(30 * PAGE, &note(&main))
        .put(40 * PAGE, &utsname("6.1.0-main"))
        .put(41 * PAGE, &utsname("6.1.0-capture"));
    let located = guest.scan().unwrap();
    assert_eq!(located.info.osrelease(), "6.1.0-main");
    let releases: Vec<_> = located
        .candidates
        .iter()
        .map(|c| (c.osrelease.as_str(), c.crash_time, c.verified))
        .collect();
    assert_eq!(
        releases,
        [
            ("6.1.0-main", Some(1_700_000_000), true),
            ("6.1.0-capture", None, true)
        ]
    );
}

#[test]
fn a_kernel_from_before_a_reboot_loses_to_the_one_in_memory() {
    let stale = text("5.10.0", 40 * PAGE) + "CRASHTIME=1600000000\n";
    let guest = Guest::new()
        .put(3 * PAGE, &note(&stale))
        .put(30 * PAGE, &note(&text("6.1.0", 41 * PAGE)))
        .put(41 * PAGE, &utsname("6.1.0"));
    let located = guest.scan().unwrap();
    assert_eq!(located.info.osrelease(), "6.1.0");
    assert_eq!(located.candidates.len(), 2);
    assert!(!located.candidates[1].verified);
}

#[test]
fn nothing_to_find_is_no_error_for_a_scan() {
    assert!(Guest::new().scan().is_none());
    let almost = Guest::new()
        // Not at the beginning of a page.
        .put(5 * PAGE + 8, text("6.1.0", 0).as_bytes())
        .put(7 * PAGE, b"OSRELEASE=\n")
        .put(8 * PAGE, &note("PAGESIZE=4096\n"));
    assert!(almost.scan().is_none());
}

#[test]
fn notes_that_lie_about_their_size_are_passed_over() {
    let mut note = note(&text("6.1.0", 0));
    for len in [u32::MAX, 65 << 10, 1 << 30] {
        note[4..8].copy_from_slice(&len.to_le_bytes());
        assert!(Guest::new().put(PAGE, &note).scan().is_none(), "{len}");
    }
    // A little too long is cut at the NUL behind the text.
    note[4..8].copy_from_slice(&2000u32.to_le_bytes());
    let located = Guest::new().put(PAGE, &note).scan().unwrap();
    assert_eq!(located.info.text(), text("6.1.0", 0).as_bytes());
}

#[test]
fn a_scan_finds_the_same_on_any_number_of_threads_and_beside_unreadable_bytes() {
    use guestdump::GuestMemory;
    use guestdump::memory::MemoryRange;

    /// 100 MiB of zeroes, and some pages with a kernel's text. The end of
    /// every 16th page may be unreadable.
    struct Large {
        unreadable: bool,
    }
    const FINDS: [u64; 4] = [0x5000, 33 << 20, (64 << 20) - 0x2000, 99 << 20];
    impl GuestMemory for Large {
        fn ranges(&self) -> Vec<MemoryRange> {
            vec![MemoryRange::new(0, 100 << 20).unwrap()]
        }
        fn read(&self, gpa: u64, buf: &mut [u8]) -> std::io::Result<()> {
            let end = gpa + buf.len() as u64;
            let bad = (gpa | 0xffff) - 0x10;
            if self.unreadable && bad < end && bad >= gpa {
                return Err(std::io::ErrorKind::PermissionDenied.into());
            }
            buf.fill(0);
            for (n, at) in FINDS.into_iter().enumerate() {
                if let Some(at) = at.checked_sub(gpa).filter(|at| *at < buf.len() as u64) {
                    let text = text(&format!("6.1.{n}"), 0);
                    let room = &mut buf[at as usize..];
                    let n = room.len().min(text.len());
                    room[..n].copy_from_slice(&text.as_bytes()[..n]);
                }
            }
            Ok(())
        }
    }

    for unreadable in [false, true] {
        for threads in [1, 2, 5] {
            // The dump itself is short.
            let options = DumpOptions::new(GuestInfo::new(Machine::X86_64), Format::Elf)
                .filter(0, 4096)
                .threads(threads);
            let memory = Large { unreadable };
            let summary = dump(&memory, &mut BufferSink::new(), &options).unwrap();
            let located = summary.vmcoreinfo.unwrap();
            let found: Vec<_> = located.candidates.iter().map(|c| c.gpa).collect();
            assert_eq!(found, FINDS, "{threads} threads");
        }
    }
}

#[test]
fn a_bad_fw_cfg_entry_is_a_clear_error() {
    let guest = Guest::new().put(PAGE, &note(&text("6.1.0", 0)));
    let locate = |entry| match guest.locate(VmcoreinfoSource::FwCfg(entry)) {
        Err(Error::Refused(Refusal::Vmcoreinfo(error))) => error,
        other => panic!("{other:?}"),
    };
    use VmcoreinfoError::{FwCfgEmpty, NotVmcoreinfo, TooLarge, Unreadable};
    assert!(matches!(locate(fw_cfg(0, 100, 4096)), FwCfgEmpty));
    assert!(matches!(locate(fw_cfg(1, 0, 4096)), FwCfgEmpty));
    assert!(matches!(locate(fw_cfg(1, u32::MAX, 4096)), TooLarge { .. }));
    assert!(matches!(locate(fw_cfg(1, 100, 1 << 40)), Unreadable { .. }));
    assert!(matches!(
        locate(fw_cfg(1, 100, u64::MAX - 10)),
        TooLarge { .. }
    ));
    assert!(matches!(locate(fw_cfg(1, 100, 0)), NotVmcoreinfo(_)));
}

#[test]
fn nonsense_from_the_guest_does_not_keep_it_from_being_dumped() {
    let guest = Guest::new();
    for text in [
        "OSRELEASE=1\nPAGESIZE=3\n",
        "OSRELEASE=1\nPAGESIZE=65536\n",
        "OSRELEASE=1\nPAGESIZE=18446744073709551616\n",
        "OSRELEASE=1\nSYMBOL(init_uts_ns)=ffffffffffffffff\nOFFSET(uts_namespace.name)=18446744073709551615\nNUMBER(phys_base)=-9223372036854775808\n",
        "OSRELEASE=\x1b]0;x\x07\nNUMBER(phys_base)=x\nCRASHTIME=18446744073709551615\n",
    ] {
        for format in Format::available().filter(|format| !format.is_windows()) {
            let memory = SliceMemory::new([(0, &guest.0[..])]).unwrap();
            let source = VmcoreinfoSource::Bytes(text.as_bytes().to_vec());
            let options =
                DumpOptions::new(GuestInfo::new(Machine::X86_64).vmcoreinfo(source), format);
            let summary = dump(&memory, &mut BufferSink::new(), &options).unwrap();
            assert_eq!(summary.page_size, 4096);
        }
    }
}

#[test]
fn the_guests_uname_is_in_the_header_but_for_its_machine() {
    use guestdump::abi::Utsname;
    use guestdump::read::Vmcore;
    use std::os::unix::fs::FileExt;

    let Some(format) = Format::available().find(|f| f.needs_positions()) else {
        return;
    };
    let mut uts = utsname("6.1.0");
    uts[4 * 65..4 * 65 + 6].copy_from_slice(b"s390x\0");
    let guest = Guest::new()
        .put(PAGE, &note(&text("6.1.0", 40 * PAGE)))
        .put(40 * PAGE, &uts);
    let memory = SliceMemory::new([(0, &guest.0[..])]).unwrap();
    let mut sink = BufferSink::new();
    dump(
        &memory,
        &mut sink,
        &DumpOptions::new(GuestInfo::new(Machine::X86_64), format),
    )
    .unwrap();
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&sink.into_bytes(), 0).unwrap();
    let uts = Vmcore::open(file).unwrap().utsname().unwrap();
    assert_eq!(Utsname::text(&uts.nodename), "host");
    assert_eq!(Utsname::text(&uts.version), "#1");
    assert_eq!(Utsname::text(&uts.machine), "x86_64");
}

#[test]
fn a_scan_can_be_cancelled() {
    let guest = Guest::new();
    let memory = SliceMemory::new([(0, &guest.0[..])]).unwrap();
    let progress = guestdump::Progress::new();
    progress.cancel();
    // The filter would be refused after the scan.
    let options = DumpOptions::new(GuestInfo::new(Machine::X86_64), Format::Elf)
        .filter(0, 0)
        .progress(progress);
    let error = dump(&memory, &mut BufferSink::new(), &options).unwrap_err();
    assert!(matches!(error, Error::Failed(Fault::Cancelled)));
}

//! VMCOREINFO that is given is compared with the kernel in guest memory.
#![cfg(all(feature = "demo", feature = "zlib"))]
#![allow(missing_docs, clippy::unwrap_used)]

use guestdump::demo::DemoGuest;
use guestdump::guest::vmcoreinfo::{Located, Origin, VmcoreinfoSource};
use guestdump::memory::SliceMemory;
use guestdump::read::Vmcore;
use guestdump::sink::BufferSink;
use guestdump::vmcoreinfo::Vmcoreinfo;
use guestdump::{DumpOptions, Format, GuestInfo, GuestMemory, Machine, dump};

/// Where the demo guest's kernel keeps the text alone, below the note.
const BEFORE_THE_NOTE: u64 = 0x1000;

fn demo() -> DemoGuest {
    DemoGuest::new(16 << 20).unwrap()
}

/// The text of the demo guest's kernel, with `change` made to each line.
fn text(change: impl Fn(&str) -> String) -> Vec<u8> {
    let guest = demo();
    let (gpa, _) = guest.vmcoreinfo_note();
    let mut page = [0; 4096];
    guest.read(gpa - BEFORE_THE_NOTE, &mut page).unwrap();
    let info = Vmcoreinfo::parse(&page).unwrap();
    let text = String::from_utf8(info.text().to_vec()).unwrap();
    text.lines()
        .flat_map(|line| (change(line) + "\n").into_bytes())
        .collect()
}

/// As case 24: KASLR put the kernel 32 MiB further on in another boot.
fn of_another_boot(line: &str) -> String {
    let moved = |hex: &str| u64::from_str_radix(hex, 16).unwrap() + 0x200_0000;
    match line.split_once('=') {
        Some((key, value)) if key.starts_with("SYMBOL(") && value.starts_with("ffffffff") => {
            format!("{key}={:x}", moved(value))
        }
        Some((key @ "KERNELOFFSET", value)) => format!("{key}={:x}", moved(value)),
        _ => line.to_owned(),
    }
}

/// The same physical place, and virtual addresses of another boot: only the page tables differ.
fn of_another_boot_at_the_same_place(line: &str) -> String {
    match line.strip_prefix("NUMBER(phys_base)=") {
        Some(base) => format!(
            "NUMBER(phys_base)={}",
            base.parse::<i64>().unwrap() - 0x200_0000
        ),
        None => of_another_boot(line),
    }
}

fn locate(memory: &dyn GuestMemory, source: VmcoreinfoSource) -> Located {
    let guest = GuestInfo::new(Machine::X86_64).vmcoreinfo(source);
    let options = DumpOptions::new(guest, Format::Elf);
    let summary = dump(memory, &mut BufferSink::new(), &options).unwrap();
    summary.vmcoreinfo.unwrap()
}

#[test]
fn of_the_kernel_in_memory_it_is_kept_whatever_its_source() {
    let text = text(str::to_owned);
    let (gpa, size) = demo().vmcoreinfo_note();
    for (source, origin) in [
        (VmcoreinfoSource::Bytes(text.clone()), Origin::Given),
        (VmcoreinfoSource::Dump(text.clone()), Origin::Dump),
        (VmcoreinfoSource::Qemu(text.clone()), Origin::Qemu),
        (VmcoreinfoSource::NoteAt { gpa, size }, Origin::Note { gpa }),
        (VmcoreinfoSource::At(gpa), Origin::Note { gpa }),
        (
            VmcoreinfoSource::At(gpa - BEFORE_THE_NOTE),
            Origin::Note {
                gpa: gpa - BEFORE_THE_NOTE,
            },
        ),
        (
            VmcoreinfoSource::FwCfg(demo().fw_cfg_entry()),
            Origin::FwCfg { gpa },
        ),
    ] {
        let located = locate(&demo(), source);
        assert_eq!((located.origin, located.verified), (origin, true));
        assert!(located.rejected.is_none());
        assert_eq!(located.info.text(), text);
    }
}

#[test]
fn of_another_boot_it_is_replaced_by_the_one_in_memory() {
    for change in [of_another_boot, of_another_boot_at_the_same_place] {
        let wrong = text(change);
        let located = locate(&demo(), VmcoreinfoSource::Bytes(wrong.clone()));
        assert!(located.verified);
        assert!(matches!(located.origin, Origin::Scan { .. }));
        assert_eq!(located.info.text(), text(str::to_owned));
        let rejected = located.rejected.unwrap();
        assert_eq!(rejected.origin, Origin::Given);
        assert_eq!(rejected.info.text(), wrong);
    }
}

#[test]
fn where_nothing_can_be_verified_it_is_kept_and_said_so() {
    // No kernel at all.
    let ram = vec![1; 1 << 20];
    let memory = SliceMemory::new([(0, &ram[..])]).unwrap();
    let wrong = text(of_another_boot);
    let located = locate(&memory, VmcoreinfoSource::Bytes(wrong.clone()));
    assert_eq!((located.origin, located.verified), (Origin::Given, false));
    assert!(located.rejected.is_none() && located.candidates.is_empty());
    assert_eq!(located.info.text(), wrong);
    // VMCOREINFO is found, and its kernel is not in memory either.
    let mut ram = vec![0; 1 << 20];
    let found = b"OSRELEASE=5.10.0\n";
    ram[0x3000..0x3000 + found.len()].copy_from_slice(found);
    let memory = SliceMemory::new([(0, &ram[..])]).unwrap();
    let located = locate(&memory, VmcoreinfoSource::Dump(wrong));
    assert_eq!((located.origin, located.verified), (Origin::Dump, false));
    assert_eq!(located.candidates[0].osrelease, "5.10.0");
    let scanned = locate(&memory, VmcoreinfoSource::Scan);
    assert!(!scanned.verified && !scanned.candidates[0].verified);
}

#[test]
fn a_dump_with_a_wrong_note_gets_the_right_one() {
    let mut first = BufferSink::new();
    // Nothing verifies the wrong one while a single page of memory is dumped.
    let guest = demo();
    let mut page = [0; 4096];
    guest.read(0, &mut page).unwrap();
    for format in [Format::Elf, Format::KDUMP_RAW_ZLIB] {
        let wrong = text(of_another_boot);
        let mut sink = BufferSink::new();
        let info = GuestInfo::new(Machine::X86_64).vmcoreinfo(VmcoreinfoSource::None);
        dump(&guest, &mut sink, &DumpOptions::new(info, format)).unwrap();
        let vmcore = Vmcore::open(sink.into_bytes()).unwrap();
        let located = locate(&vmcore, VmcoreinfoSource::Dump(wrong));
        assert_eq!(located.rejected.unwrap().origin, Origin::Dump);
        assert!(located.verified);
    }
    let info =
        GuestInfo::new(Machine::X86_64).vmcoreinfo(VmcoreinfoSource::FwCfg(guest.fw_cfg_entry()));
    dump(&guest, &mut first, &DumpOptions::new(info, Format::Elf)).unwrap();
    let vmcore = Vmcore::open(first.into_bytes()).unwrap();
    let options = vmcore.options(Format::Elf).unwrap();
    let summary = dump(&vmcore, &mut BufferSink::new(), &options).unwrap();
    let located = summary.vmcoreinfo.unwrap();
    assert_eq!((located.origin, located.verified), (Origin::Dump, true));
}

/// VMCOREINFO that does not say where its kernel is costs no scan.
#[test]
fn without_the_place_of_init_uts_ns_it_is_kept() {
    let text = b"OSRELEASE=6.1.0\nPAGESIZE=4096\n".to_vec();
    let located = locate(&demo(), VmcoreinfoSource::Bytes(text.clone()));
    assert_eq!((located.origin, located.verified), (Origin::Given, false));
    assert!(located.rejected.is_none() && located.candidates.is_empty());
    assert_eq!(located.info.text(), text);
}

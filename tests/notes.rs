//! CPU notes of other writers' dumps, decoded into registers and encoded
//! again.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::path::Path;

use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::memory::SliceMemory;
use guestdump::read::Vmcore;
use guestdump::sink::{FileSink, FileSinkOptions};
use guestdump::{DumpOptions, Format, GuestInfo, dump};

/// The variable that names a dump by another writer.
const DUMP: &str = "GUESTDUMP_QEMU_ELF";

/// Notes by name and type.
type Notes = Vec<(String, u32, Vec<u8>)>;

/// All but VMCOREINFO.
fn cpu_notes(vmcore: &Vmcore) -> Notes {
    vmcore
        .notes()
        .map(|note| note.unwrap().1)
        .filter(|note| note.name != b"VMCOREINFO")
        .map(|note| {
            let name = String::from_utf8_lossy(note.name).into_owned();
            (name, note.kind, note.desc.to_vec())
        })
        .collect()
}

/// The notes of a dump by this crate whose CPUs are those in `vmcore`.
fn encoded_again(vmcore: &Vmcore) -> Notes {
    let machine = vmcore.machine().expect("a known architecture");
    let cpus = machine.decode_notes(vmcore.notes());
    let ram = vec![0; 64 << 10];
    let memory = SliceMemory::new([(0, &ram[..])]).unwrap();
    let options = DumpOptions::new(
        GuestInfo::new(machine)
            .vmcoreinfo(VmcoreinfoSource::None)
            .cpus(cpus),
        Format::Elf,
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dump");
    let mut sink = FileSink::create(&path, FileSinkOptions::default()).unwrap();
    dump(&memory, &mut sink, &options).unwrap();
    cpu_notes(&Vmcore::open(File::open(path).unwrap()).unwrap())
}

/// Run with `--ignored`, for the dump of each architecture.
#[test]
#[ignore = "needs the variable GUESTDUMP_QEMU_ELF: the path of a dump by QEMU"]
fn notes_of_qemu_decoded_and_encoded_again_are_the_same_bytes() {
    let path = std::env::var_os(DUMP).unwrap_or_else(|| panic!("{DUMP} is not set"));
    let vmcore = Vmcore::open(File::open(Path::new(&path)).unwrap()).unwrap();
    let expected = cpu_notes(&vmcore);
    let ours = encoded_again(&vmcore);
    assert!(vmcore.cpus() > 0, "the dump has no CPUs");
    let shape = |notes: &Notes| -> Vec<_> {
        let one = |(name, kind, desc): &(String, u32, Vec<u8>)| (name.clone(), *kind, desc.len());
        notes.iter().map(one).collect()
    };
    assert_eq!(shape(&ours), shape(&expected));
    for (index, (ours, expected)) in ours.iter().zip(&expected).enumerate() {
        let differ = ours.2.iter().zip(&expected.2).position(|(a, b)| a != b);
        let (name, kind, _) = expected;
        assert_eq!(differ, None, "offset in note {index}, {name} {kind:#x}");
    }
}

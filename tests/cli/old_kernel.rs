//! An x86_64 kernel before Linux 4.10, whose VMCOREINFO does not tell where it was loaded.

use guestdump::Machine;
use guestdump::abi::Utsname;
use guestdump::elf::note::{Note, VMCOREINFO};
use zerocopy::IntoBytes;

use testkit::Folder;
use testkit::elf::Elf;

/// Where the kernel's image is, 256 MiB above the address for which it was linked.
const IMAGE: u64 = 0x1100_0000;
const IMAGE_VADDR: u64 = 0xffff_ffff_8100_0000;
const UTS_AT: usize = 0x3000;

/// The ELF dump of such a guest, whose image has the guest-virtual address `vaddr`.
fn dump(vaddr: u64) -> Vec<u8> {
    let uts = Utsname {
        sysname: Utsname::field("Linux"),
        release: Utsname::field("3.10.0-old"),
        machine: Utsname::field("x86_64"),
        ..Utsname::default()
    };
    let mut image = vec![0; 0x8000];
    image[UTS_AT..][..size_of::<Utsname>()].copy_from_slice(uts.as_bytes());
    // The table of the kernel at 0x4000, which maps 2 MiB of the image.
    for (at, entry) in [
        (0x4000 + 511 * 8, IMAGE + 0x5003),
        (0x5000 + 510 * 8, IMAGE + 0x6003),
        (0x6000 + 8 * 8, IMAGE + 0x83),
    ] {
        image[at..at + 8].copy_from_slice(&entry.to_le_bytes());
    }
    let text = format!(
        "OSRELEASE=3.10.0-old\nPAGESIZE=4096\nSYMBOL(init_uts_ns)={:x}\n\
         OFFSET(uts_namespace.name)=0\nSYMBOL(init_level4_pgt)={:x}\n",
        IMAGE_VADDR + UTS_AT as u64,
        IMAGE_VADDR + 0x4000
    );
    let encoding = Machine::X86_64.encoding();
    let mut elf = Elf::new(encoding, &[(IMAGE, image)]);
    let note = Note {
        name: VMCOREINFO,
        kind: 0,
        desc: text.as_bytes(),
    };
    elf.notes.clear();
    note.encode(encoding.order, &mut elf.notes).unwrap();
    let mut bytes = elf.build();
    // p_vaddr of the PT_LOAD, which follows one section header and the PT_NOTE.
    let at = 64 + 64 + 56 + 16;
    bytes[at..at + 8].copy_from_slice(&vaddr.to_le_bytes());
    bytes
}

#[test]
fn the_segment_of_its_image_tells_where_it_is() {
    let folder = Folder::new();
    folder.write("vmcore", dump(IMAGE_VADDR));
    let json = folder.run("dump --from vmcore --to x --json").json();
    assert_eq!(json["vmcoreinfo"]["verified"], true);
    assert!(json["vmcoreinfo"].get("rejected").is_none());
    let header = folder.run("info x --json").json()["header"].clone();
    assert_eq!(header["phys_base"], 0x1000_0000);
    // The header of the kdump tells it as well.
    let json = folder.run("dump --from x --to y --json").json();
    assert_eq!(json["vmcoreinfo"]["verified"], true);
    assert!(folder.read("x") == folder.read("y"));
}

#[test]
fn if_nothing_tells_where_it_is_that_is_said() {
    let folder = Folder::new();
    folder.write("vmcore", dump(0));
    let run = folder.run("dump --from vmcore --to x");
    run.ok();
    let words = "does not tell where such an old kernel is";
    assert!(run.stderr().contains(words), "{}", run.stderr());
    assert!(!run.stderr().contains("another"), "{}", run.stderr());
}
